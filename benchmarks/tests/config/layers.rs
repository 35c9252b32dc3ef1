//! Nets of layers: each kind is built and learns, and what does not fit is told by its line.

use super::{learned, plan};
use pc_bench::commands::train::{Dataset, Learner};

fn small(layers: &str) -> String {
    format!("batch = 8\n[data]\nsamples = 16\n[schedule]\nrule = \"standard\"\nsteps = 3\n{layers}")
}

/// What building a net of digits says is wrong with it.
fn misfit(layers: &str) -> String {
    let text = small(layers);
    let (_folder, path) = super::file(&text);
    let args = ["--config", path.to_str().unwrap(), "--no-report"];
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_pc-bench"))
        .arg("train")
        .args(args)
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(2), "{text}");
    String::from_utf8(ran.stderr).unwrap()
}

const HEAD: &str = "[[layers]]\nkind = \"dense\"\n";

#[test]
fn every_kind_of_layer_learns() {
    for below in [
        "kind = \"dense\"\nwidth = 5\nactivation = \"relu\"\nactivation-at = \"before\"",
        "kind = \"conv\"\nchannels = 2\nkernel = 3\nactivation = \"relu\"\n\
         pool = \"average\"\nsize = 2",
        "kind = \"average-pool\"\nsize = 4\nstride = 2",
        "kind = \"flatten\"",
        "kind = \"activation\"\nactivation = \"silu\"",
        "kind = \"rnn\"\nwidth = 4\nstart = \"xavier-normal\"",
        "kind = \"lstm\"\nwidth = 4\n[[layers]]\nkind = \"rnn\"\nwidth = 3",
        "kind = \"dense\"\nwidth = 4\n[[layers]]\nkind = \"positions\"\n[[layers]]\n\
         kind = \"attention\"\nheads = 2\n[[layers]]\nkind = \"layer-norm\"",
    ] {
        let text = small(&format!("[[layers]]\n{below}\n{HEAD}"));
        let plan = plan(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let found = learned(&plan, 2);
        assert!(found[0].0.iter().all(|energy| *energy > 0.0), "{text}: {found:?}");
    }
    let whole = "[[layers]]\nkind = \"mupc\"\nwidth = 8\ndepth = 5\nactivation = \"tanh\"\n\
        skips = true\n";
    assert_eq!(learned(&plan(&small(whole)).unwrap(), 1)[0].1.len(), 5, "a weight a layer");
}

/// The mlp as layers is the mlp.
#[test]
fn a_named_model_written_as_layers_is_the_same_net() {
    let dense = |name: &str, rest: &str| {
        format!("[[layers]]\nkind = \"dense\"\nname = \"{name}\"\n{rest}\n")
    };
    let hidden = "width = 64\nactivation = \"relu\"";
    let layers = [dense("dense1", hidden), dense("dense2", hidden), dense("head", "")].concat();
    let named = format!("model = \"mlp\"\n{}", small(""));
    assert_eq!(learned(&plan(&small(&layers)).unwrap(), 2), learned(&plan(&named).unwrap(), 2));
}

#[test]
fn what_does_not_fit_is_named_by_its_line() {
    let dense = "[[layers]]\nkind = \"dense\"\nwidth = 4\nname = \"a\"\n";
    for (layers, line, words) in [
        (format!("[[layers]]\nkind = \"conv\"\nchannels = 2\nkernel = 9\n{HEAD}"), 7, "window"),
        (format!("{dense}{dense}{HEAD}"), 14, "there is a layer a already"),
        (format!("{dense}[[layers]]\nkind = \"residual\"\nfrom = \"b\"\n{HEAD}"), 13, "no layer b"),
        (format!("{dense}[[layers]]\nkind = \"rnn\"\nwidth = 2\n{HEAD}"), 12, "reads steps"),
        (dense.to_owned(), 9, "10 classes"),
        ("[[layers]]\nkind = \"flatten\"\n".to_owned(), 7, "10 classes"),
        (format!("[[layers]]\nkind = \"dense\"\n{HEAD}"), 7, "width is missing"),
    ] {
        let said = misfit(&layers);
        assert!(
            said.contains(&format!("run.toml:{line}: ")) && said.contains(words),
            "not line {line} with `{words}`: {said}{layers}"
        );
    }
}

#[test]
fn entries_that_a_kind_does_not_have_are_refused() {
    let kinds = ["dense", "max-pool", "flatten", "rnn", "attention", "layer-norm", "mupc"];
    let entries = [
        ("width = 3", vec!["dense", "rnn", "mupc"]),
        ("channels = 3", vec![]),
        ("kernel = 3", vec![]),
        ("padding = 1", vec![]),
        ("stride = 2", vec!["max-pool"]),
        ("size = 2", vec!["max-pool"]),
        ("bias = true", vec!["dense"]),
        ("scale = 2.0", vec!["dense"]),
        ("precision = 2.0", vec!["dense"]),
        ("pool = \"max\"", vec![]),
        ("heads = 2", vec!["attention"]),
        ("causal = true", vec!["attention"]),
        ("depth = 3", vec!["mupc"]),
        ("skips = true", vec!["mupc"]),
        ("from = \"x\"", vec![]),
        ("start = \"torch\"", vec!["dense", "rnn"]),
        ("parameterisation = \"ntk\"", vec!["dense"]),
        ("activation = \"tanh\"", vec!["dense", "mupc"]),
    ];
    let mut refused = 0;
    for kind in kinds {
        for (entry, has) in &entries {
            if has.contains(&kind) {
                continue;
            }
            let error = plan(&format!("[[layers]]\nkind = \"{kind}\"\n{entry}\n")).unwrap_err();
            let said = error.to_string();
            assert!(said.contains("run.toml:3: ") && said.contains("has none"), "{said}");
            refused += 1;
        }
    }
    assert!(refused > 80, "{refused}");
}

/// With a share for validation the test set makes no difference to anything.
#[test]
fn figures_on_a_validation_part_do_not_see_the_test_set() {
    let text = "[data]\nvalidation = 0.2\n";
    let settings = &plan(text).unwrap().runs[0];
    let data = Dataset::load(settings, None).unwrap();
    // 1438 are for training: of each class a fifth is held out.
    assert_eq!(data.train_len() + data.test_len(), 1438);
    assert!((280..=296).contains(&data.test_len()), "{}", data.test_len());
    assert!(data.description.ends_with("validation"), "{}", data.description);
    let mut learner = Learner::<f32>::new(settings, &data).unwrap();
    super::epoch(&mut learner, &data);
}
