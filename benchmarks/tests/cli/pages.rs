//! `pc-bench completions` and `pc-bench man`.

use crate::common::pc_bench;

#[test]
fn every_shell_has_a_script_with_commands_options_and_choices() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = pc_bench(&["completions", shell]);
        ran.succeeds();
        assert_eq!(ran.stderr, "");
        for word in ["pc-bench", "gradients", "save-every", "quiet", "fixed-prediction"] {
            // PowerShell's and Elvish's complete no choices.
            let choices = !matches!(shell, "elvish" | "powershell");
            assert!(
                ran.stdout.contains(word) || (word == "fixed-prediction" && !choices),
                "{shell}'s script does not have `{word}`"
            );
        }
    }
    pc_bench(&["completions"]).refuses(&["<SHELL>"]);
    pc_bench(&["completions", "tcsh"]).refuses(&["tcsh", "bash", "zsh"]);
    pc_bench(&["completions", "bash", "--json"]).refuses(&["--json", "completions"]);
}

/// Bash itself completes by its script, where there is one.
#[cfg(unix)]
#[test]
fn bash_completes_by_its_script() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, pc_bench(&["completions", "bash"]).stdout).unwrap();
    // By clap's own choices, and by those that it knows nothing of.
    let ask = "source \"$1\"; COMP_WORDS=(pc-bench train --schedule zi); COMP_CWORD=3; \
               _pc__bench pc-bench zi --schedule; echo \"${COMPREPLY[@]}\"; \
               COMP_WORDS[1]=check; _pc__bench pc-bench '' --schedule; \
               echo \"${COMPREPLY[@]}\"";
    let Ok(output) =
        std::process::Command::new("bash").args(["-c", ask, "bash"]).arg(&script).output()
    else {
        return;
    };
    let found = "zil\nbackprop fixed-prediction zil all\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), found, "{output:?}");
}

#[test]
fn the_manual_has_a_page_of_all_and_one_of_each_command() {
    let all = pc_bench(&["man"]);
    all.succeeds();
    assert!(all.stdout.contains(".TH pc-bench 1"), "{}", all.stdout);
    for word in ["predictive coding", "pc\\-bench\\-train(1)", "\\-\\-quiet", "Exit status"] {
        assert!(all.stdout.contains(word), "the page does not speak of `{word}`: {}", all.stdout);
    }
    for (command, word) in [
        ("train", "\\-\\-save\\-every"),
        ("check", "finite differences"),
        ("gradients", "\\-\\-activation"),
        ("speed", "\\-\\-repeats"),
        ("completions", "fish"),
        ("man", "roff"),
    ] {
        let page = pc_bench(&["man", command]);
        page.succeeds();
        assert!(page.stdout.contains(&format!(".TH pc-bench-{command} 1")), "{}", page.stdout);
        let notes = page.stdout.contains(".SH NOTES\n.nf\n") && page.stdout.contains("Example");
        assert!(notes, "{}", page.stdout);
        for word in [word, "\\-\\-json", &format!("pc\\-bench {command}")] {
            assert!(page.stdout.contains(word), "{command}: no `{word}` in {}", page.stdout);
        }
    }
    pc_bench(&["man", "trian"]).refuses(&["trian", "train"]);
    pc_bench(&["--json", "man"]).refuses(&["--json", "man"]);
}
