//! What must not grow, and what must not meet.

use pc_tch::{Pc, pc_core::Evaluation};
use tch::{Kind, Tensor, nn::OptimizerConfig};

use crate::{
    common::{backprop, device, seeded, take_gradients, worst},
    models,
};

/// The memory that the process holds, in KiB; not under a sanitizer, which holds freed memory back
/// and looks for leaks itself.
fn resident() -> Option<u64> {
    if std::env::var_os("PC_TCH_SANITIZE").is_some() {
        return None;
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// From the 200th step to the 2,000th the process grows by less than 1 MiB, and the shim holds
/// nothing.
#[test]
fn steps_do_not_leak() {
    let _turn = seeded();
    let model = models::lstm(Kind::Float);
    let small = models::tied(Kind::Double);
    let mut opt = tch::nn::Sgd::default().build(&model.store, 1e-3).unwrap();
    let mut at_first = None;
    for step in 0..2000 {
        if step == 200 {
            at_first = resident();
        }
        pc_tch::PcOptimizer::pc_step(&mut opt, &model.loss(), &Pc::exact());
        let pc = [
            Pc::exact().evaluated_by(Evaluation::Simulate),
            Pc::fixed_prediction(0.5, 3).unwrap().even_shallow().keep_graph(),
        ];
        pc[step % 2].backward(&small.loss());
        // An error on the way must not leak either.
        let x = Tensor::ones([2], (Kind::Double, device())).set_requires_grad(true);
        assert!(Pc::exact().f_backward(&x.tanh()).is_err());
    }
    let grown = resident().zip(at_first).map(|(last, first)| last.saturating_sub(first));
    println!(
        "steps 200 to 2,000: grown by {grown:?} KiB; {} graphs are held",
        pc_tch::live_graphs()
    );
    assert!(grown.is_none_or(|kib| kib < 1024), "grown by {grown:?} KiB");
}

#[test]
fn forwards_without_a_backward_do_not_grow() {
    let _turn = seeded();
    let model = models::lenet(Kind::Float);
    let mut at_first = None;
    for step in 0..1000 {
        if step == 100 {
            at_first = resident();
        }
        let loss = model.loss();
        if step % 100 == 0 {
            assert!(pc_tch::depth(&loss).unwrap() > 10);
        }
    }
    let grown = resident().zip(at_first).map(|(last, first)| last.saturating_sub(first));
    println!("forwards 100 to 1,000: grown by {grown:?} KiB");
    assert!(grown.is_none_or(|kib| kib < 1024), "grown by {grown:?} KiB");
}

/// Two models on two threads.
#[test]
fn threads_do_not_meet() {
    let _turn = seeded();
    let work = |make: fn(Kind) -> crate::common::Model| {
        move || {
            let model = make(Kind::Double);
            let loss = model.loss();
            loss.backward();
            let theirs = take_gradients(&model.store);
            let mut largest = 0.0_f64;
            for round in 0..20 {
                let evaluation =
                    if round % 2 == 0 { Evaluation::Auto } else { Evaluation::Simulate };
                Pc::exact().evaluated_by(evaluation).backward(&model.loss());
                let (off, _) = worst(&take_gradients(&model.store), &theirs);
                largest = if off > largest || off.is_nan() { off } else { largest };
            }
            largest
        }
    };
    let threads =
        [std::thread::spawn(work(models::residual)), std::thread::spawn(work(models::tied))];
    for thread in threads {
        let off = thread.join().unwrap();
        assert!(off <= 1e-12, "off by {off:e}");
    }
    let model = models::residual(Kind::Double);
    assert!(!backprop(&model, 1).is_empty());
}
