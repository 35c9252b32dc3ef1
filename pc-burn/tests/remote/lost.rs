//! A server that is lost while it is trained on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use burn::{
    data::dataloader::batcher::Batcher,
    tensor::Device,
    train::{ExecutionStrategy, MultiDeviceOptim},
};
use pc_burn::{BurnTensor, LossReduction, PcModel, PredictiveCoding};
use pc_core::{ErrorKind, Schedule, Tensor as _};

use crate::{
    model::{Batches, Log, Logged, items},
    servers::{Over, Server},
    support::parameters,
    training::{BATCH, Training, pc_model, standard},
};

const EPOCHS: usize = 3;
/// Of an epoch.
const STEPS: usize = 4;

fn training<'a>(
    directory: &'a std::path::Path,
    devices: Vec<Device>,
    from: Option<usize>,
) -> Training<'a> {
    let strategy = ExecutionStrategy::multi(devices, MultiDeviceOptim::OptimMainDevice);
    Training { directory, strategy, learning_rate: 0.2, epochs: EPOCHS, from }
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_default()
}

/// Says what went wrong: as an error of the training, or as a panic with a message.
fn failure(directory: &std::path::Path, devices: Vec<Device>, model: PcModel<Logged>) -> String {
    let directory = directory.to_owned();
    let (says, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let all = items(STEPS * 2 * BATCH);
        let ran = catch_unwind(AssertUnwindSafe(|| {
            training(&directory, devices, None).of(model, all, BATCH).error.map(|e| e.to_string())
        }));
        let error = match ran {
            Ok(error) => error,
            Err(payload) => Some(message(&*payload)),
        };
        let _ = says.send(error);
    });
    // A thread that hangs cannot be ended, but the test can.
    let said = said.recv_timeout(Duration::from_secs(60)).expect("it hangs");
    said.expect("a server that is lost goes unnoticed")
}

#[test]
fn training_ends_with_an_error_and_goes_on_from_the_last_checkpoint_to_the_same_bits() {
    let start = || [Server::start(Over::WebSocket), Server::start(Over::WebSocket)];
    let devices = |servers: &[Server; 2]| servers.iter().map(Server::device).collect::<Vec<_>>();
    let all = items(STEPS * 2 * BATCH);

    let undisturbed = tempfile::tempdir().unwrap();
    let servers = start();
    let log = Log::default();
    let model = pc_model(&servers[0].device(), standard(), &log);
    let whole = training(undisturbed.path(), devices(&servers), None).of(model, all.clone(), BATCH);
    assert!(whole.error.is_none(), "{:?}", whole.error);
    let whole = parameters(&whole.model);
    assert_eq!(log.0.lock().unwrap().losses.len(), EPOCHS * STEPS * 2);

    // The first or the second server is lost in the second epoch.
    for lost in [0, 1] {
        let directory = tempfile::tempdir().unwrap();
        let servers = start();
        let places = devices(&servers);
        let names = [servers[0].name.clone(), servers[1].name.clone()];
        let log = Log::default();
        let model = pc_model(&places[0], standard(), &log);
        let mut servers: Vec<Option<Server>> = servers.into_iter().map(Some).collect();
        log.0.lock().unwrap().doomed = servers[lost].take().map(|server| (STEPS * 2 + 4, server));
        let said = failure(directory.path(), places, model);
        println!("server {lost} lost: {said}");
        let (_, port) = names[lost].rsplit_once(':').unwrap();
        assert!(said.contains(port), "it does not say which server ({port}): {said}");

        let servers = start();
        let again = Log::default();
        let model = pc_model(&servers[0].device(), standard(), &again);
        let resumed =
            training(directory.path(), devices(&servers), Some(1)).of(model, all.clone(), BATCH);
        assert!(resumed.error.is_none(), "{:?}", resumed.error);
        assert_eq!(again.0.lock().unwrap().losses.len(), (EPOCHS - 1) * STEPS * 2);
        assert_eq!(parameters(&resumed.model), whole, "server {lost}");
    }
}

/// Not a relaxation that diverged: nobody would learn of it.
#[test]
fn a_step_on_a_lost_server_is_an_error_by_every_rule() {
    for schedule in [
        Schedule::backprop(),
        Schedule::fixed_prediction(0.1, 20).unwrap(),
        Schedule::zil(),
        Schedule::standard(0.1, 5).unwrap(),
        Schedule::epc(0.1, 5).unwrap(),
    ] {
        let mut server = Server::start(Over::WebSocket);
        let device = server.device();
        let model = Logged::new(&device, Log::default());
        let batch = Batches.batch(items(4), &device);
        let mut pc = PredictiveCoding::new(schedule.clone(), LossReduction::Mean);
        pc.learn(&model, |model| model.loss(batch.clone())).unwrap();
        server.kill();
        let error = pc
            .learn(&model, |model| model.loss(batch.clone()))
            .expect_err("a server that is lost goes unnoticed");
        println!("{schedule}: {error}");
        assert_eq!(error.kind(), ErrorKind::Backend, "{schedule}: {error}");
        assert!(error.to_string().contains("could not be read"), "{schedule}: {error}");
        // The next step, of another device, is not blamed.
        let here = Device::flex().autodiff();
        let (model, batch) = (Logged::new(&here, Log::default()), Batches.batch(items(4), &here));
        pc.learn(&model, |model| model.loss(batch.clone())).unwrap();
    }
}

#[test]
fn an_explicit_graph_on_a_lost_server_is_an_error() {
    use burn::tensor::DType;
    use pc_burn::explicit::Linear;
    use pc_core::{Clamps, Graph, Relaxation};

    let mut server = Server::start(Over::WebSocket);
    let device = server.device();
    let tensor = |shape: &[usize], values: &[f64]| {
        BurnTensor::from_values(shape, values, &device, DType::F32).unwrap()
    };
    let mut b = Graph::<BurnTensor>::builder();
    let w = b.parameter("w", tensor(&[2, 2], &[0.5, -0.2, 0.3, 0.8])).unwrap();
    let x = b.input("x", &[2]).unwrap();
    let h = b.vertex("h", Box::new(Linear::without_bias()), &[x], &[w]).unwrap();
    let y = b.vertex("y", Box::new(Linear::without_bias()), &[h], &[w]).unwrap();
    let mut graph = b.build().unwrap();
    let clamps =
        Clamps::new().hold(x, tensor(&[1, 2], &[1.0, 2.0])).hold(y, tensor(&[1, 2], &[0.0, 1.0]));
    let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 5).unwrap()).unwrap();
    relaxation.run(&mut graph, &clamps).unwrap();
    server.kill();
    let error = relaxation.run(&mut graph, &clamps).expect_err("unnoticed");
    assert_eq!(error.kind(), ErrorKind::Backend, "{error}");
    assert!(error.to_string().contains("could not be read"), "{error}");
    assert!(tensor(&[1], &[1.0]).to_vec()[0].is_nan());
}
