//! The backend `cuda`, with or without a GPU.

use crate::common::{FAILED, pc_bench};

#[test]
fn without_a_gpu_every_command_says_so() {
    let check = ["check", "--backend", "cuda", "--model", "mlp"];
    let ran = pc_bench(&check);
    if ran.status != FAILED {
        // There is one.
        ran.succeeds();
        return;
    }
    let train = ["train", "--backend", "cuda", "--model", "mlp", "--no-report"];
    let speed = ["speed", "--backend", "cuda", "--model", "mlp"];
    for args in [&check[..], &train, &speed] {
        pc_bench(args).refuses(&["--backend cuda cannot run here", "CUDA"]);
    }
}

#[test]
fn all_backends_are_those_that_can_run() {
    let events =
        pc_bench(&["check", "--backend", "all", "--model", "mlp", "--schedule", "zil", "--json"])
            .events();
    assert_eq!(events.last().unwrap()["passed"], true);
}
