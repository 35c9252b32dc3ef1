//! What changes between steps, and what must move once within one.

use std::cell::{Cell, RefCell};

use pc_tch::{
    LossReduction, PredictiveCoding, named_vertex,
    pc_core::{Schedule, Start, Status},
    vertex,
};
use tch::{
    Kind, Reduction, Tensor,
    nn::{self, Module, ModuleT, OptimizerConfig, VarStore},
};

use crate::common::{cross_entropy, device, parameters, seeded, take_gradients, worst};

/// A chain of three layers, and a batch of any size.
struct Net {
    store: VarStore,
    layers: Vec<nn::Linear>,
}

impl Net {
    fn new() -> Self {
        let mut store = VarStore::new(device());
        store.set_kind(Kind::Double);
        let widths = [5, 8, 7, 3];
        let layer = |(k, pair): (usize, &[i64])| {
            nn::linear(store.root() / format!("l{k}"), pair[0], pair[1], Default::default())
        };
        let layers = widths.windows(2).enumerate().map(layer).collect();
        Self { store, layers }
    }

    fn batch(&self, size: i64) -> (Tensor, Tensor) {
        let x = Tensor::randn([size, 5], (Kind::Double, device()));
        (x, Tensor::randint(3, [size], (Kind::Int64, device())))
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let h = vertex(&self.layers[0].forward(x).tanh());
        let h = vertex(&self.layers[1].forward(&h).tanh());
        vertex(&self.layers[2].forward(&h))
    }

    /// The same marks, with a way past the second layer.
    fn forward_past(&self, x: &Tensor) -> Tensor {
        let h = vertex(&self.layers[0].forward(x).tanh());
        let past = h.narrow(1, 0, 7);
        let h = vertex(&(self.layers[1].forward(&h).tanh() + past));
        vertex(&self.layers[2].forward(&h))
    }

    fn loss(&self, (x, y): &(Tensor, Tensor)) -> Tensor {
        cross_entropy(&self.forward(x), y)
    }
}

fn standard() -> Schedule {
    Schedule::standard(0.1, 8).unwrap()
}

/// Gradients of one step.
fn step(
    pc: &mut PredictiveCoding,
    net: &Net,
    loss: impl FnMut() -> Tensor,
) -> Vec<(String, Option<Tensor>)> {
    pc.backward(loss).unwrap();
    take_gradients(&net.store)
}

/// A relaxation that has seen other programs finds what a new one does.
fn as_new(net: &Net, used: &mut PredictiveCoding, mut loss: impl FnMut() -> Tensor) {
    let ours = step(used, net, &mut loss);
    let theirs = step(&mut PredictiveCoding::new(used.schedule().clone()), net, &mut loss);
    assert!(theirs.iter().any(|(_, gradient)| gradient.is_some()));
    let (off, whose) = worst(&ours, &theirs);
    assert!(off == 0.0, "{whose} is off by {off:e}");
    for ((name, a), (_, b)) in ours.iter().zip(&theirs) {
        assert_eq!(a.is_some(), b.is_some(), "{name}");
    }
}

#[test]
fn programs_may_change_between_steps() {
    let _turn = seeded();
    for schedule in [
        standard(),
        Schedule::zil(),
        Schedule::backprop(),
        Schedule::fixed_prediction(0.3, 5).unwrap(),
        Schedule::epc(0.05, 5).unwrap(),
        standard().starting(Start::Carried),
    ] {
        let net = Net::new();
        let carries = schedule.start() == Start::Carried;
        let mut pc = PredictiveCoding::new(schedule);
        let (small, large) = (net.batch(4), net.batch(9));
        as_new(&net, &mut pc, || net.loss(&small));
        if !carries {
            as_new(&net, &mut pc, || net.loss(&small));
        }
        // Another batch size, another graph behind equal marks.
        as_new(&net, &mut pc, || net.loss(&large));
        if !carries {
            as_new(&net, &mut pc, || cross_entropy(&net.forward_past(&large.0), &large.1));
        }
        // A parameter frozen, and thawed again.
        for frozen in [true, false] {
            let _frozen = net.layers[0].ws.shallow_clone().set_requires_grad(!frozen);
            as_new(&net, &mut pc, || net.loss(&small));
        }
        // States are carried on where names, shapes and wiring agree.
        if carries {
            continue;
        }
        // A layer more, under a condition.
        for deep in [false, true, false] {
            as_new(&net, &mut pc, || {
                let mut h = vertex(&net.layers[0].forward(&small.0).tanh());
                if deep {
                    h = vertex(&h.sin());
                }
                let h = vertex(&net.layers[1].forward(&h));
                cross_entropy(&net.layers[2].forward(&h), &small.1)
            });
        }
        // A loop of varying length.
        let square = nn::linear(net.store.root() / "square", 8, 8, Default::default());
        for length in [1, 4, 2] {
            as_new(&net, &mut pc, || {
                let mut h = net.layers[0].forward(&small.0).tanh();
                for _ in 0..length {
                    h = vertex(&square.forward(&vertex(&h)).tanh());
                }
                cross_entropy(&net.layers[2].forward(&net.layers[1].forward(&h)), &small.1)
            });
        }
    }
}

#[test]
fn freezing_is_what_it_is_in_a_graph() {
    let _turn = seeded();
    let net = Net::new();
    let batch = net.batch(6);
    let mut pc = PredictiveCoding::new(standard());
    let all = step(&mut pc, &net, || net.loss(&batch));
    let _frozen = net.layers[1].ws.shallow_clone().set_requires_grad(false);
    let rest = step(&mut pc, &net, || net.loss(&batch));
    // A frozen weight still predicts: the others learn what they learned.
    for (name, gradient) in &rest {
        let (_, before) = all.iter().find(|(own, _)| own == name).unwrap();
        assert_eq!(gradient, before, "{name}");
    }
    assert_eq!(rest.len() + 1, all.len());
}

#[test]
fn dropout_is_drawn_once_in_a_step() {
    let _turn = seeded();
    let net = Net::new();
    let batch = net.batch(6);
    let masks = RefCell::new(Vec::new());
    let forward = || {
        let h = vertex(&net.layers[0].forward(&batch.0).tanh());
        let kept = Tensor::ones_like(&h).dropout(0.5, true);
        masks.borrow_mut().push(kept.shallow_clone());
        let h = vertex(&net.layers[1].forward(&(h * kept)).tanh());
        cross_entropy(&vertex(&net.layers[2].forward(&h)), &batch.1)
    };
    tch::manual_seed(3);
    drop(forward());
    let expected = Tensor::rand([3], (Kind::Double, tch::Device::Cpu));
    masks.borrow_mut().clear();
    let mut pc = PredictiveCoding::new(standard());
    tch::manual_seed(3);
    let learned = pc.backward(forward).unwrap();
    let drawn = Tensor::rand([3], (Kind::Double, tch::Device::Cpu));
    assert_eq!(drawn, expected, "the generator moved as by one pass");
    let first = masks.borrow()[0].shallow_clone();
    assert_eq!(masks.borrow().len(), learned.passes);
    assert!(learned.passes == 9 && masks.borrow().iter().all(|mask| *mask == first));
    pc.backward(forward).unwrap();
    assert!(masks.borrow()[learned.passes] != first, "the next step draws anew");
}

#[test]
fn running_statistics_and_buffers_move_once() {
    let _turn = seeded();
    for frozen in [false, true] {
        let mut store = VarStore::new(device());
        let norm = nn::batch_norm1d(store.root() / "norm", 5, Default::default());
        store.double();
        let net = Net::new();
        if frozen {
            // No gradient passes it, so that autograd knows nothing of it.
            store.freeze();
        }
        let batch = net.batch(6);
        let count = Tensor::zeros([1], (Kind::Double, device()));
        let forward = || {
            let _ = count.shallow_clone().f_add_scalar_(1.0).unwrap();
            let x = norm.forward_t(&batch.0, true);
            net.loss(&(x, batch.1.shallow_clone()))
        };
        let statistics = || norm.running_mean.copy();
        let before = statistics();
        drop(forward());
        let after = statistics();
        assert!(before != after);
        tch::no_grad(|| norm.running_mean.shallow_clone().copy_(&before));
        let mut pc = PredictiveCoding::new(standard());
        let learned = pc.backward(forward).unwrap();
        assert_eq!(statistics(), after, "frozen: {frozen}");
        assert_eq!(learned.passes, 9);
        assert_eq!(count.double_value(&[0]), 2.0, "a plain pass and a step");
    }
}

#[test]
fn noise_is_drawn_anew_at_every_step() {
    let _turn = seeded();
    let net = Net::new();
    let batch = net.batch(6);
    let noisy = standard().with_noise(0.01, 5).unwrap();
    let run = || {
        let mut pc = PredictiveCoding::new(noisy.clone());
        [0; 2].map(|_| step(&mut pc, &net, || net.loss(&batch)))
    };
    let ([a, b], [c, d]) = (run(), run());
    assert!(worst(&a, &b).0 > 1e-3);
    assert_eq!((worst(&a, &c).0, worst(&b, &d).0), (0.0, 0.0), "a seed gives the same numbers");
    let start = standard().starting(Start::Noise { deviation: 0.5, seed: 1 });
    let mut pc = PredictiveCoding::new(start);
    let [a, b] = [0; 2].map(|_| step(&mut pc, &net, || net.loss(&batch)));
    assert!(worst(&a, &b).0 > 1e-3);
}

#[test]
fn marks_that_are_no_part_of_the_loss_are_none() {
    let _turn = seeded();
    let net = Net::new();
    let batch = net.batch(6);
    let plain = step(&mut PredictiveCoding::new(standard()), &net, || net.loss(&batch));
    let idle = step(&mut PredictiveCoding::new(standard()), &net, || {
        // A teacher without gradients, and a value that nothing reads.
        drop(tch::no_grad(|| net.forward(&batch.0)));
        let h = vertex(&net.layers[0].forward(&batch.0).tanh());
        drop(vertex(&h.sin()));
        let h = vertex(&net.layers[1].forward(&h).tanh());
        cross_entropy(&vertex(&net.layers[2].forward(&h)), &batch.1)
    });
    assert_eq!(worst(&idle, &plain).0, 0.0);
    // A mark twice over is a vertex between two: exact rules pass it by.
    let backprop = || PredictiveCoding::new(Schedule::zil());
    let once = step(&mut backprop(), &net, || net.loss(&batch));
    let twice = step(&mut backprop(), &net, || {
        let h = vertex(&vertex(&net.layers[0].forward(&batch.0).tanh()));
        let h = vertex(&vertex(&net.layers[1].forward(&h).tanh()));
        cross_entropy(&vertex(&vertex(&net.layers[2].forward(&h))), &batch.1)
    });
    assert!(worst(&twice, &once).0 < 1e-13);
}

#[test]
fn gradients_accumulate_and_optimisers_step_as_ever() {
    let _turn = seeded();
    let net = Net::new();
    let batch = net.batch(6);
    let mut pc = PredictiveCoding::new(standard());
    let once = step(&mut pc, &net, || net.loss(&batch));
    pc.backward(|| net.loss(&batch)).unwrap();
    let both = step(&mut pc, &net, || net.loss(&batch));
    for ((name, once), (_, both)) in once.iter().zip(&both) {
        let (once, both) = (once.as_ref().unwrap(), both.as_ref().unwrap());
        assert!((both - once * 2.0).abs().max().double_value(&[]) < 1e-14, "{name}");
    }
    let before: Vec<Tensor> = parameters(&net.store).iter().map(|(_, w)| w.copy()).collect();
    let mut opt = nn::Sgd::default().build(&net.store, 0.5).unwrap();
    let learned = pc.learn(&mut opt, || net.loss(&batch)).unwrap();
    assert_eq!((learned.vertices, learned.depth, learned.divided_by), (2, 2, 6.0));
    assert!((learned.loss - net.loss(&batch).double_value(&[])).abs() < 1.0);
    for (((name, after), before), (_, gradient)) in
        parameters(&net.store).iter().zip(before).zip(&once)
    {
        let expected = before - gradient.as_ref().unwrap() * 0.5;
        assert!((after - expected).abs().max().double_value(&[]) < 1e-14, "{name}");
    }
}

#[test]
fn what_diverges_moves_no_weight() {
    let _turn = seeded();
    let net = Net::new();
    let batch = net.batch(6);
    let before: Vec<Tensor> = parameters(&net.store).iter().map(|(_, w)| w.copy()).collect();
    let mut opt = nn::Adam::default().build(&net.store, 0.5).unwrap();
    let wild = Schedule::standard(50.0, 40).unwrap().starting(Start::Carried);
    let mut pc = PredictiveCoding::new(wild);
    for _ in 0..2 {
        let learned = pc.learn(&mut opt, || net.loss(&batch)).unwrap();
        assert_eq!(learned.outcome.status, Status::Diverged);
    }
    for ((name, after), before) in parameters(&net.store).iter().zip(before) {
        assert_eq!(*after, before, "{name}");
    }
}

/// A loss of outputs, labels and targets.
type Loss = Box<dyn Fn(&Tensor, &Tensor, &Tensor) -> Tensor>;

/// Losses of known reduction: what each is divided by.
fn losses(batch: i64) -> Vec<(&'static str, f64, Loss)> {
    let mean = batch as f64;
    vec![
        ("cross-entropy, mean", mean, Box::new(|out, y, _| cross_entropy(out, y))),
        (
            "cross-entropy, sum",
            1.0,
            Box::new(|out, y, _| {
                out.cross_entropy_loss::<Tensor>(y, None, Reduction::Sum, -100, 0.0)
            }),
        ),
        (
            "cross-entropy, sum over the batch size",
            mean,
            Box::new(move |out, y, _| {
                out.cross_entropy_loss::<Tensor>(y, None, Reduction::Sum, -100, 0.0) / mean
            }),
        ),
        (
            "smoothed cross-entropy, mean",
            mean,
            Box::new(|out, y, _| {
                out.cross_entropy_loss::<Tensor>(y, None, Reduction::Mean, -100, 0.1)
            }),
        ),
        ("squares, mean", mean, Box::new(|out, _, t| out.mse_loss(t, Reduction::Mean))),
        ("squares, sum", 1.0, Box::new(|out, _, t| out.mse_loss(t, Reduction::Sum))),
        (
            "half the squares, by hand",
            1.0,
            Box::new(|out, _, t| (out - t).square().sum(Kind::Double) * 0.5),
        ),
        (
            "squares, mean by hand",
            mean,
            Box::new(|out, _, t| (out - t).square().mean(Kind::Double)),
        ),
        (
            "sums of samples, mean",
            mean,
            Box::new(|out, _, t| {
                (out - t).square().sum_dim_intlist(1, false, Kind::Double).mean(Kind::Double)
            }),
        ),
        (
            "means over the batch, sum",
            mean,
            Box::new(|out, _, t| {
                (out - t).square().mean_dim(0, false, Kind::Double).sum(Kind::Double)
            }),
        ),
        (
            "divided before the sum",
            mean,
            Box::new(move |out, _, t| ((out - t).square() / mean).sum(Kind::Double)),
        ),
        (
            "a mean and a penalty",
            mean,
            Box::new(|out, y, _| cross_entropy(out, y) + out.square().mean(Kind::Double) * 0.01),
        ),
        (
            "likelihoods, mean",
            mean,
            Box::new(|out, _, t| {
                out.binary_cross_entropy_with_logits::<Tensor>(
                    &t.sigmoid(),
                    None,
                    None,
                    Reduction::Mean,
                )
            }),
        ),
        ("absolute, mean", mean, Box::new(|out, _, t| out.l1_loss(t, Reduction::Mean))),
        ("smooth, sum", 1.0, Box::new(|out, _, t| out.smooth_l1_loss(t, Reduction::Sum, 1.0))),
    ]
}

#[test]
fn reductions_are_read_off_the_loss() {
    let _turn = seeded();
    let net = Net::new();
    for size in [3_i64, 8] {
        let (x, y) = net.batch(size);
        let t = Tensor::randn([size, 3], (Kind::Double, device()));
        for (name, divided_by, loss) in losses(size) {
            let forward = || loss(&net.forward(&x), &y, &t);
            let run = |pc: PredictiveCoding| {
                let mut pc = pc;
                let learned = pc.backward(forward);
                (learned, take_gradients(&net.store))
            };
            let (learned, found) = run(PredictiveCoding::new(standard()));
            let learned = learned.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(learned.divided_by, divided_by, "{name}");
            // Said rightly it is the same; said wrongly it is refused.
            let (right, wrong) = if divided_by == 1.0 {
                (LossReduction::Sum, LossReduction::Mean)
            } else {
                (LossReduction::Mean, LossReduction::Sum)
            };
            let (said, same) = run(PredictiveCoding::new(standard()).reduced_by(right));
            assert!(said.is_ok() && worst(&found, &same).0 == 0.0, "{name}");
            let (said, _) = run(PredictiveCoding::new(standard()).reduced_by(wrong));
            let error = said.expect_err(name).to_string();
            assert!(error.contains("it was said to be"), "{name}: {error}");
        }
        // What no operation tells: live rules ask, others need not know.
        let unclear = || net.forward(&x).square().sum(Kind::Double) * 0.03;
        let error = PredictiveCoding::new(standard()).backward(unclear).unwrap_err().to_string();
        assert!(error.contains("reduced_by"), "{error}");
        for schedule in [Schedule::zil(), Schedule::fixed_prediction(0.2, 5).unwrap()] {
            PredictiveCoding::new(schedule).backward(unclear).unwrap();
        }
        take_gradients(&net.store);
        let learned = PredictiveCoding::new(standard())
            .reduced_by(LossReduction::MeanOver(7))
            .backward(unclear)
            .unwrap();
        assert_eq!(learned.divided_by, 7.0);
        take_gradients(&net.store);
    }
}

/// The last batch of an epoch may be of one sample, where a sum is a mean, or of two, where half a
/// sum is one: both are what those before were.
#[test]
fn small_last_batches_are_as_those_before() {
    let _turn = seeded();
    let net = Net::new();
    for mean in [false, true] {
        let mut pc = PredictiveCoding::new(standard());
        for size in [5_i64, 1, 2, 1, 5, 2] {
            let (x, _) = net.batch(size);
            let learned = pc
                .backward(|| {
                    let sum = net.forward(&x).square().sum(Kind::Double) * 0.5;
                    if mean { sum / size as f64 } else { sum }
                })
                .unwrap();
            let wanted = if mean { size as f64 } else { 1.0 };
            assert_eq!(learned.divided_by, wanted, "{size} samples, mean {mean}");
        }
        take_gradients(&net.store);
    }
    // Where nothing came before, one sample is clear and two are not.
    let [one, two] = [1, 2].map(|size| {
        let (x, _) = net.batch(size);
        PredictiveCoding::new(standard())
            .backward(|| net.forward(&x).square().sum(Kind::Double) * 0.5)
    });
    assert_eq!(one.unwrap().divided_by, 1.0);
    let error = two.unwrap_err().to_string();
    assert!(error.contains("half a sum"), "{error}");
    take_gradients(&net.store);
}

#[test]
fn a_panic_leaves_nothing_behind() {
    let _turn = seeded();
    let net = Net::new();
    let batch = net.batch(6);
    let plain = step(&mut PredictiveCoding::new(standard()), &net, || net.loss(&batch));
    for at in [0, 1, 5] {
        let passes = Cell::new(0);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            PredictiveCoding::new(standard()).backward(|| {
                let loss = net.loss(&batch);
                assert!(passes.replace(passes.get() + 1) < at, "as asked");
                loss
            })
        }));
        assert!(caught.is_err());
        let x = Tensor::ones([2], (Kind::Double, device()));
        let same = named_vertex("x", &x);
        assert_eq!(same.data_ptr(), x.data_ptr(), "outside of a step a mark is the identity");
        assert_eq!(pc_tch::live_graphs(), 0);
        let again = step(&mut PredictiveCoding::new(standard()), &net, || net.loss(&batch));
        assert_eq!(worst(&again, &plain).0, 0.0);
    }
}
