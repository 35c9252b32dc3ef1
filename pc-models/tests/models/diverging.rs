//! What runs away is an error, and never a result: learning that diverges, draws and weights that
//! are no numbers, and a filter that keeps what it was.

use std::fmt::Debug;

use pc_core::{
    Activation, Clamps, Gradients, Graph, ParamId, Result, Schedule, Tensor,
    host::{HostTensor, Init, Sgd},
};
use pc_models::{
    AssociativeMemory, AssociativeSettings, Bidirectional, BidirectionalSettings, Causal,
    Covariance, CovarianceMemory, Generative, GenerativeSettings, Hold, Host, Kalman, Known,
    Langevin, MonteCarloPc, PcGraph, StructureSearch, Variable, Wiring, acyclicity, classes,
    hopfield,
};

type T = HostTensor<f64>;

fn tensor(shape: &[usize], numbers: &[f64]) -> T {
    T::new(shape, numbers.to_vec()).unwrap()
}

fn wild() -> Schedule {
    Schedule::standard(1e4, 200).unwrap()
}

fn never(_: &mut Graph<T>, _: &Gradients<T>) -> Result<()> {
    panic!("it learns from what has diverged")
}

#[track_caller]
fn fails<R: Debug>(found: Result<R>, words: &str) {
    let error = found.unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn nothing_learns_from_what_has_diverged() {
    let (host, init) = (Host::<f64>::new(), || Init::new(1));
    let picture = Known::picture(tensor(&[2, 4], &[0.5, -1.0, 2.0, 0.3, 1.0, 0.2, -0.4, 0.9]));
    let widths = [4, 5, 3];

    let mut settings = BidirectionalSettings::new(&widths).unwrap();
    settings.learning = wild();
    let mut net = Bidirectional::new(&host, &settings, &mut init()).unwrap();
    fails(net.train(&picture, never), "learning diverged");

    let mut settings = GenerativeSettings::new(&widths).unwrap();
    settings.learning = wild();
    let mut net = Generative::new(&host, &settings, &mut init()).unwrap();
    fails(net.train(&picture, never), "learning diverged");

    let wiring = Wiring::layered(&[("a", 3), ("b", 4), ("c", 3)]).unwrap();
    let mut net =
        PcGraph::new(&host, &wiring, Activation::Tanh, true, wild(), &mut init()).unwrap();
    let seen = tensor(&[1, 10], &[1.0; 10]);
    let holds: Vec<Hold> =
        (0..10).map(|k| if (3..7).contains(&k) { Hold::Free } else { Hold::Seen }).collect();
    let clamps = net.hold(&seen, &holds).unwrap();
    fails(net.learn(&clamps, never), "learning diverged");

    let settings = AssociativeSettings::new(4, &[5, 3]).unwrap().learning(wild());
    let mut memory = AssociativeMemory::new(&host, &settings, &mut init()).unwrap();
    let pictures = tensor(&[2, 4], &[0.5, -1.0, 2.0, 0.3, 1.0, 0.2, -0.4, 0.9]);
    fails(memory.store(&pictures, None, never), "learning diverged");

    let diagram = [Variable::new("x", 1, &[]), Variable::new("y", 1, &["x"])];
    let mut model =
        Causal::new(&host, &diagram, Activation::Identity, wild(), &mut init()).unwrap();
    let weights: Vec<ParamId> = (0..model.graph().parameters().len()).map(ParamId::new).collect();
    for id in weights {
        let shape = model.graph().parameters()[id.index()].dims().to_vec();
        let all = shape.iter().product();
        model.graph_mut().set_parameter(id, tensor(&shape, &vec![2.0; all])).unwrap();
    }
    let effect = model.graph().vertex("y").unwrap();
    let clamps = Clamps::new().hold(effect, tensor(&[1, 1], &[3.0]));
    fails(model.learn(&clamps, never), "learning diverged");
}

/// Covariances that learn at too large a rate run away until a relaxation says so.
#[test]
fn a_covariance_that_runs_away_is_an_error() {
    let recall = Schedule::standard(0.1, 10).unwrap();
    let mut memory =
        CovarianceMemory::new(&Host::<f64>::new(), Covariance::Explicit, 2, recall).unwrap();
    let mut sgd = Sgd::new(0.5).unwrap();
    let pictures = tensor(&[3, 2], &[1.0, 1.0, 0.5, 0.5, -1.0, -1.0]);
    let mut ended = None;
    for _ in 0..2000 {
        let stored = memory.store(&pictures, |graph, g| sgd.step(graph.parameters_mut(), g));
        match stored {
            Ok(outcome) => assert!(outcome.energy.total().is_finite()),
            Err(error) => {
                ended = Some(error);
                break;
            }
        }
    }
    assert!(ended.is_some(), "it never says that it has run away");
}

#[test]
fn draws_are_numbers() {
    let langevin = Langevin { rate: 0.01, burn_in: 1, every: 1, samples: 2, seed: 0 };
    let host = Host::<f64>::new();
    let new = |variance: f64, langevin| {
        MonteCarloPc::new(&host, &[2, 3], Activation::Tanh, variance, langevin, &mut Init::new(0))
    };
    for variance in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        fails(new(variance, langevin).map(|_| ()), "variance must be a positive number");
    }
    let mut model = new(0.1, langevin).unwrap();
    for parameter in model.graph_mut().parameters_mut() {
        parameter.fill(1e308);
    }
    assert!(model.generate(2, false).is_err());
}

#[test]
fn a_search_that_runs_away_says_so() {
    let host = Host::<f64>::new();
    let mut search =
        StructureSearch::new(&host, &["a", "b", "c"], Activation::Identity, 0.0, &mut Init::new(0))
            .unwrap();
    let data = tensor(&[3, 3], &[1.0, 2.0, -1.0, 0.5, -2.0, 1.0, 3.0, 1.0, 2.0]);
    let mut sgd = Sgd::new(50.0).unwrap();
    let mut run = || -> Result<()> {
        for _ in 0..400 {
            let energy = search.learn(&data, |graph, g| sgd.step(graph.parameters_mut(), g))?;
            assert!(energy.is_finite());
        }
        Ok(())
    };
    assert!(run().is_err());
    let mut fresh =
        StructureSearch::new(&host, &["a", "b"], Activation::Identity, 0.0, &mut Init::new(0))
            .unwrap();
    fresh.tighten(1e300).unwrap();
    fails(fresh.tighten(1e300), "the penalty");
    assert!(fresh.edges(-1.0).iter().all(|(cause, effect)| cause != effect));
    fails(acyclicity(usize::MAX, &[0.0]), "square matrix");
    fails(acyclicity(1, &[f64::NAN]), "weight 0 is not finite");
}

#[test]
fn a_filter_takes_covariances_alone_and_keeps_its_state() {
    let one = || vec![vec![1.0]];
    let new =
        |r: f64| Kalman::new(one(), vec![vec![]], one(), one(), vec![vec![r]], vec![0.0], one());
    fails(new(-5.0), "R must be a covariance");
    let empty = Kalman::new(vec![], vec![], vec![vec![]], vec![], one(), vec![], vec![]);
    fails(empty, "one number at least");
    let skewed = vec![vec![1.0, 0.5], vec![0.0, 1.0]];
    let two = || vec![vec![1.0, 0.0], vec![0.0, 1.0]];
    let none = vec![vec![], vec![]];
    let made = Kalman::new(two(), none, vec![vec![1.0, 0.0]], skewed, one(), vec![0.0; 2], two());
    fails(made, "Q must be a covariance");

    let mut filter = new(1.0).unwrap();
    filter.step(&[1.0], &[]).unwrap();
    let before = filter.state().to_vec();
    assert!(filter.step(&[f64::INFINITY], &[]).is_err());
    assert_eq!(filter.state(), before);
}

#[test]
fn similarities_keep_their_range() {
    use hopfield::{Cosine, KullbackLeibler, Max, Memory, Similarity};
    for f in [1e-90, 1e-3, 1e80] {
        let memory = Memory::new(&tensor(&[2, 2], &[f, 0.0, 0.0, f])).unwrap();
        let memory = memory.similarity(Cosine).separation(Max);
        let found = memory.recall(&tensor(&[1, 2], &[0.0, f])).unwrap();
        assert_eq!(found.data(), [0.0, f]);
    }
    assert!(KullbackLeibler.score(&[1e308, 1e308], &[1.0, 0.0]).is_nan());
    let memory = Memory::new(&tensor(&[1, 2], &[1e308, 1e308])).unwrap();
    fails(memory.scores(&tensor(&[1, 2], &[1e308, 0.0])), "scale the patterns");
}

#[test]
fn the_first_of_equal_classes_is_taken_and_nan_never() {
    let label = tensor(&[3, 3], &[0.5, 0.5, 0.5, 0.9, f64::NAN, 0.1, f64::NAN, 0.1, 0.3]);
    assert_eq!(classes(&label), [0, 0, 2]);
}

/// What is held of a part is held exactly, however large the prediction is that it starts from.
#[test]
fn a_part_is_held_to_the_last_bit() {
    let host = Host::<f32>::new();
    let settings = GenerativeSettings::new(&[2, 2]).unwrap();
    let mut net = Generative::new(&host, &settings, &mut Init::new(0)).unwrap();
    let bias = net.graph().parameter("picture.bias").unwrap();
    let large = HostTensor::new(&[2], vec![1e5_f32; 2]).unwrap();
    net.graph_mut().set_parameter(bias, large).unwrap();
    let picture = HostTensor::new(&[1, 2], vec![0.1_f32, 0.0]).unwrap();
    let mask = HostTensor::new(&[1, 2], vec![1.0_f32, 0.0]).unwrap();
    let answer = net.ask(&Known::part(picture, mask)).unwrap();
    assert_eq!(answer.picture.data()[0], 0.1_f32);
}
