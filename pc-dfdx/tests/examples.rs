//! The examples do what they say, and differ in what the README shows.

#![allow(clippy::unwrap_used, clippy::duplicate_mod, dead_code)]

#[path = "../examples/digits.rs"]
mod digits;
#[path = "../examples/digits_backprop.rs"]
mod digits_backprop;

#[test]
fn digits_are_read_within_a_point_of_backprop() {
    for seed in 0..5 {
        let (pc, backprop) =
            (digits::train(digits::EPOCHS, seed), digits_backprop::train(digits::EPOCHS, seed));
        let (pc, backprop) = (pc.unwrap(), backprop.unwrap());
        println!("seed {seed}, held out: standard PC {pc:.4}, backprop {backprop:.4}");
        assert!(pc >= 0.96, "{pc}");
        assert!((pc - backprop).abs() <= 0.01, "{pc} {backprop}");
    }
}

#[test]
fn one_line_is_changed() {
    let lines = |text: &'static str| -> Vec<&str> {
        text.lines().skip_while(|line| !line.starts_with("type Net")).collect()
    };
    let by_pc = lines(include_str!("../examples/digits.rs"));
    let by_backprop = lines(include_str!("../examples/digits_backprop.rs"));
    let only = |these: &[&'static str], those: &[&str]| -> Vec<&str> {
        these
            .iter()
            .filter(|line| !those.contains(line) && !line.starts_with("///"))
            .copied()
            .collect()
    };
    assert_eq!(
        only(&by_backprop, &by_pc),
        ["            let gradients = \
             loss(model.forward_mut(pictures.leaky_traced())).backward();",]
    );
    assert_eq!(
        only(&by_pc, &by_backprop),
        [
            "    let mut pc = \
             PredictiveCoding::new(Schedule::standard(0.02, 20)?, LossReduction::Mean);",
            "            let gradients = pc.learn(&mut model, pictures, loss)?.gradients;",
        ]
    );
}
