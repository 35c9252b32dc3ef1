//! Every rule on a server's device, beside this process's own.

use burn::{
    data::dataloader::batcher::Batcher,
    optim::SgdConfig,
    tensor::{DType, Device, Tensor},
};
use pc_burn::{LossReduction, PredictiveCoding};
use pc_core::{Evaluation, Schedule};

use crate::{
    model::{Batches, Log, Net, apart, items, parameters},
    servers::{Over, Server},
    suite::{passes, passes_composites},
};

/// Two steps by one `PredictiveCoding`.
fn trained(device: &Device, schedule: &Schedule) -> (Vec<Vec<f64>>, Vec<f64>) {
    let mut model = Net::new(device, Log::default());
    let mut optimiser = SgdConfig::new().init();
    let mut pc = PredictiveCoding::new(schedule.clone(), LossReduction::Mean);
    let mut losses = Vec::new();
    for count in [6, 4] {
        let batch = Batches.batch(items(count), device);
        let learned = pc
            .train(&mut model, |m| m.loss(batch.clone()), |m, g| optimiser.step(0.1, m, g))
            .unwrap();
        losses.push(learned.loss);
    }
    (parameters(&model), losses)
}

#[test]
fn marked_programs_learn_by_every_rule_on_a_server() {
    let schedules = [
        Schedule::backprop(),
        Schedule::fixed_prediction(0.1, 20).unwrap(),
        Schedule::fixed_prediction(1.0, 5).unwrap().evaluated_by(Evaluation::Simulate),
        Schedule::zil(),
        Schedule::standard(0.1, 20).unwrap(),
        Schedule::standard(0.05, 10).unwrap().with_momentum(0.5).unwrap(),
        Schedule::standard(0.1, 60).unwrap().until(0.05).unwrap(),
        Schedule::epc(0.1, 10).unwrap(),
        Schedule::ipc(0.1, 5).unwrap(),
    ];
    let before = parameters(&Net::new(&Device::flex().autodiff(), Log::default()));
    for over in [Over::WebSocket, Over::Iroh] {
        let server = Server::start(over);
        for schedule in &schedules {
            let (ours, losses) = trained(&server.device(), schedule);
            let (here, expected) = trained(&Device::flex().autodiff(), schedule);
            let off = apart(&ours, &here);
            println!("{over:?}, {schedule}: off by {off:.1e}");
            assert!(apart(&here, &before) > 1e-3, "{schedule}: training moves the weights");
            // Flex steps states in place and a server by Burn's operations: roundings differ.
            assert!(off <= 2e-6, "{over:?}, {schedule}: {off:e}");
            assert!(apart(&[losses], &[expected]) <= 1e-6, "{over:?}, {schedule}");
        }
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
