//! Pictures that are stored and asked for again: `[recall]`.

use pc_bench::{
    commands::train::{Dataset, Learner, Recalled},
    contract::details::Preparation,
    data::{Data, Kind, load},
};

use super::{epoch, plan};

fn text(recall: &str) -> String {
    format!(
        "target = \"input\"\nbatch = 8\nepochs = 60\n[data]\nsamples = 12\n[[layers]]\n\
         kind = \"latent\"\nwidth = 24\n[[layers]]\nkind = \"dense\"\nwidth = 32\n\
         activation = \"tanh\"\n[[layers]]\nkind = \"dense\"\n[loss]\nkind = \"squared-error\"\n\
         [clamp]\noutput = \"held\"\n[schedule]\nrule = \"standard\"\nrate = 0.1\nsteps = 20\n\
         start = \"zero\"\n[optimiser]\nkind = \"adam\"\nlearning-rate = 0.01\n{recall}"
    )
}

const NOISE: &str = "[recall]\ngiven = \"noise\"\ndeviation = 0.2\nsteps = 200\n";
const PART: &str = "[recall]\ngiven = \"part\"\nknown = 0.5\nsteps = 2000\nrate = 0.2\n";

/// What is recalled after so many epochs.
fn recalled(text: &str, epochs: usize) -> Option<Recalled> {
    let plan = plan(text).unwrap_or_else(|error| panic!("{error}"));
    let back = super::plan(&plan.configuration().unwrap()).unwrap();
    assert_eq!(back.runs, plan.runs);
    let data = Dataset::load(&plan.runs[0], None).unwrap();
    let mut learner = Learner::<f32>::new(&plan.runs[0], &data).unwrap();
    for _ in 0..epochs {
        epoch(&mut learner, &data);
    }
    let found = learner.recall(&data).unwrap();
    // NaN is not equal to itself.
    let again = learner.recall(&data).unwrap();
    assert_eq!(format!("{found:?}"), format!("{again:?}"), "asking has changed something");
    found
}

#[test]
fn what_is_stored_comes_nearer_from_noise_and_from_a_part() {
    for (recall, given) in [(NOISE, 0.02..0.08), (PART, 0.02..0.5)] {
        let (early, late) = (recalled(&text(recall), 0), recalled(&text(recall), 60));
        let (early, late) = (early.unwrap(), late.unwrap());
        assert_eq!((early.pictures, late.pictures), (12, 12));
        assert_eq!(early.given, late.given);
        assert!(given.contains(&late.given), "{late:?}");
        assert!(late.error < 0.7 * late.given && late.error < early.error, "{early:?} {late:?}");
    }
    assert_eq!(recalled(&text(""), 0), None);
}

#[test]
fn the_choices_change_what_is_recalled() {
    let whole = recalled(&text(NOISE), 5).unwrap();
    for (from, to) in
        [("deviation = 0.2", "deviation = 0.3"), ("steps = 200", "steps = 20\nrate = 0.05")]
    {
        let other = recalled(&text(&NOISE.replacen(from, to, 1)), 5).unwrap();
        assert_ne!(other.error, whole.error, "{to}");
    }
    let half = recalled(&text(PART), 5).unwrap();
    let quarter = recalled(&text(&PART.replacen("0.5", "0.25", 1)), 5).unwrap();
    assert!(quarter.given > half.given, "{half:?} {quarter:?}");
}

/// A relaxation that runs away recalls nothing, and says no number.
#[test]
fn what_diverges_is_no_number() {
    let found = recalled(&text(&PART.replacen("rate = 0.2", "rate = 40", 1)), 1).unwrap();
    assert!(found.error.is_nan() && found.given.is_finite(), "{found:?}");
}

/// What is judged in every epoch is what is stored, and nothing else.
#[test]
fn the_pictures_that_are_judged_are_those_that_are_stored() {
    let plan = plan(&text(NOISE)).unwrap();
    let data = Dataset::load(&plan.runs[0], None).unwrap();
    assert_eq!((data.train_len(), data.test_len()), (12, 12));
    assert!(data.description.contains("12 to store"), "{}", data.description);
    let mut learner = Learner::<f32>::new(&plan.runs[0], &data).unwrap();
    epoch(&mut learner, &data);
    let figures = learner.progress().history[0];
    assert_eq!(figures.train_loss, figures.test_loss);
}

#[test]
fn what_makes_no_sense_is_named_with_its_line() {
    let good = text(NOISE);
    plan(&good).unwrap();
    for (from, to, line, words) in [
        ("given = \"noise\"", "given = \"hints\"", 28, "unknown variant"),
        ("deviation = 0.2\n", "", 27, "recall.deviation is missing"),
        ("deviation = 0.2", "known = 0.5", 29, "nothing to act on"),
        ("deviation = 0.2", "deviation = -1.0", 29, "a positive number"),
        ("steps = 200", "steps = 0", 30, "at least 1"),
        ("steps = 200", "steps = 200\nrate = 0", 31, "a positive number"),
        ("samples = 12", "validation = 0.5", 5, "contradicts recall"),
        ("samples = 12", "mean = 0.5", 5, "contradicts recall"),
        ("kind = \"latent\"\nwidth = 24", "kind = \"dense\"\nwidth = 24", 27, "with a latent"),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let error = plan(&text).expect_err(&text).to_string();
        let at = format!("run.toml:{line}: ");
        assert!(error.contains(&at) && error.contains(words), "{error}\n{text}");
    }
    let part = text(&PART.replacen("0.5", "1.5", 1));
    let error = plan(&part).unwrap_err().to_string();
    assert!(error.contains("run.toml:29: ") && error.contains("a share"), "{error}");
}

#[test]
fn pieces_of_pictures_are_learned_and_judged() {
    let text = "[data]\nsamples = 40\nside = 6\n[[layers]]\nkind = \"dense\"\n\
                [schedule]\nrule = \"backprop\"\n";
    let plan = plan(text).unwrap();
    let data = Dataset::load(&plan.runs[0], None).unwrap();
    let features = |batch: pc_bench::contract::train::Batch| match batch.inputs {
        pc_bench::contract::train::Inputs::Pixels(pixels) => pixels.len() / batch.samples,
        other => panic!("{other:?}"),
    };
    assert_eq!(features(data.epoch(8, 0, 0, 0).unwrap().next().unwrap().unwrap()), 36);
    assert_eq!(features(data.test(8).unwrap().next().unwrap().unwrap()), 36);
    assert_eq!(features(data.probe(8, 8, 0).unwrap().remove(0)), 36);
    let mut learner = Learner::<f32>::new(&plan.runs[0], &data).unwrap();
    epoch(&mut learner, &data);
    for (entry, words) in [("side = 9", "8x8 pixels"), ("side = 6\ncrop = 1", "contradicts")] {
        let error = match super::plan(&text.replacen("side = 6", entry, 1)) {
            Err(error) => error.to_string(),
            Ok(plan) => Dataset::load(&plan.runs[0], None).unwrap_err().to_string(),
        };
        assert!(error.contains("data.side") && error.contains(words), "{error}");
    }
    let Data::Images(digits) = load(Kind::Digits, None, 0).unwrap() else { unreachable!() };
    let how = Preparation { side: Some(8), ..Preparation::default() };
    let model = plan.runs[0].model;
    let whole = Dataset::prepared("d", Data::Images(digits), 0, model, None, &how).unwrap();
    assert_eq!(whole.shape, pc_bench::models::InputShape::Image([1, 8, 8]));
}
