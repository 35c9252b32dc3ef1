//! Every rule on a server's device, beside this process's own.

use burn::tensor::{DType, Tensor};
use pc_burn::{LossReduction, PredictiveCoding};
use pc_core::{Evaluation, Schedule};

use crate::{
    servers::{Over, Server},
    suite::{passes, passes_composites},
    support::net::learns_by_every_rule,
};

#[test]
fn marked_programs_learn_by_every_rule_on_a_server() {
    for over in [Over::WebSocket, Over::Iroh] {
        println!("{over:?}");
        // Flex steps states in place and a server by Burn's operations: roundings differ.
        learns_by_every_rule(&Server::start(over).device(), 2e-6);
    }
}

/// The whole suite takes many minutes there: it reads numbers one by one, each over the wire.
#[test]
fn explicit_graphs_pass_the_composites_of_the_suite_on_a_server() {
    let server = Server::start(Over::WebSocket);
    for dtype in [DType::F32, DType::F64] {
        passes_composites(&server.device().inner(), dtype);
    }
}

#[test]
#[ignore = "takes many minutes"]
fn explicit_graphs_pass_the_whole_suite_on_a_server() {
    let server = Server::start(Over::WebSocket);
    passes(&server.device().inner(), DType::F32);
}

/// What dropout draws is the server's, and the same in all passes of a step.
#[test]
fn dropout_keeps_one_mask_for_a_step_on_a_server() {
    use burn::{
        module::Module,
        nn::{DropoutConfig, Linear, LinearConfig},
    };
    use pc_burn::vertex;

    #[derive(Module, Debug)]
    struct Dropped {
        first: Linear,
        second: Linear,
        dropout: burn::nn::Dropout,
    }

    let server = Server::start(Over::WebSocket);
    let device = server.device();
    let model = Dropped {
        first: LinearConfig::new(5, 16).init(&device),
        second: LinearConfig::new(16, 2).init(&device),
        dropout: DropoutConfig::new(0.5).init(),
    };
    let x = Tensor::<2>::ones([4, 5], &device);
    let mut losses = Vec::new();
    for _ in 0..6 {
        let mut seen = Vec::new();
        let schedule = Schedule::fixed_prediction(1.0, 4).unwrap();
        let schedule = schedule.evaluated_by(Evaluation::Simulate);
        let mut pc = PredictiveCoding::new(schedule, LossReduction::Mean);
        pc.learn(&model, |model| {
            let hidden = vertex(model.dropout.forward(model.first.forward(x.clone())));
            let loss = vertex(model.second.forward(hidden)).square().mean();
            seen.push(loss.clone().into_scalar::<f64>());
            loss
        })
        .unwrap();
        let last = seen[seen.len() - 1];
        // Predictions are fixed: in all passes that relax the loss is what the first one found.
        assert!(seen[seen.len() - 4..].iter().all(|loss| *loss == last), "{seen:?}");
        losses.push(last);
    }
    assert!(losses.iter().any(|loss| *loss != losses[0]), "a mask for each step: {losses:?}");
}
