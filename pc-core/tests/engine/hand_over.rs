//! Parameters, and an optimiser's state with them, handed from one graph to another.

use pc_core::{
    Clamps, ErrorKind, Graph, GraphBuilder, HandOver, ParamId, Relaxation, Result, Schedule,
    Tensor, VertexId, ZeroDiagonal,
    backend::OptimiserState,
    host::{Activation, Adam, Element, HostLayers, HostTensor, Init, LayerNorm, Sgd},
};

use crate::common::Numbers;

struct Net<F: Element> {
    graph: Graph<HostTensor<F>>,
    x: VertexId,
    y: VertexId,
}

/// A net with a norm, whose gain is a buffer or learns.
fn net_of<F: Element>(seed: u64, width: usize, buffers: bool, last: &str) -> Net<F> {
    let mut init = Init::new(seed);
    let mut b = Graph::<HostTensor<F>>::builder();
    let x = b.input("x", &[4]).unwrap();
    let h = b.dense("h", x, width, Activation::Tanh, &mut init).unwrap();
    let mut own = |b: &mut GraphBuilder<HostTensor<F>>, name: &str| {
        let drawn = init.uniform(&[width], 1.0).unwrap();
        if buffers { b.buffer(name, drawn) } else { b.parameter(name, drawn) }.unwrap()
    };
    let both = [own(&mut b, "n.gain"), own(&mut b, "n.bias")];
    let n = b.vertex("n", Box::new(LayerNorm::default()), &[h], &both).unwrap();
    let y = b.dense(last, n, 3, Activation::Identity, &mut init).unwrap();
    Net { graph: b.build().unwrap(), x, y }
}

fn net<F: Element>(seed: u64) -> Net<F> {
    net_of(seed, 5, true, "y")
}

fn numbers<T: Tensor>(from: &impl HandOver<Tensor = T>) -> Vec<Vec<f64>> {
    from.named().1.iter().map(Tensor::to_vec).collect()
}

/// What arrives is what `F` holds of what was sent, and the buffers arrive with the rest.
fn arrives<E: Element, F: Element>() {
    let (mut from, mut to) = (net::<E>(1).graph, net::<F>(2).graph);
    // Of every size, with signs of zero and numbers that f32 has only below its usual ones.
    let odd = [-0.0, 1e-40, 3.0e38, std::f64::consts::PI, -1.0 / 3.0];
    from.parameters_mut()[1].assign(&odd);
    to.copy_parameters_from(&from).unwrap();
    for (sent, found) in numbers(&from).iter().zip(&numbers(&to)) {
        for (sent, found) in sent.iter().zip(found) {
            assert_eq!(F::of(*sent).value().to_bits(), found.to_bits());
        }
    }
}

#[test]
fn numbers_arrive_as_what_the_receiver_holds_of_them() {
    arrives::<f64, f64>();
    arrives::<f32, f32>();
    arrives::<f64, f32>();
    arrives::<f32, f64>();
}

fn train<F: Element, O>(
    net: &mut Net<F>,
    optimiser: &mut O,
    step: impl Fn(&mut O, &mut [HostTensor<F>], &pc_core::Gradients<HostTensor<F>>) -> Result<()>,
    batches: std::ops::Range<u64>,
) {
    let mut rule = Relaxation::new(&net.graph, Schedule::standard(0.1, 5).unwrap()).unwrap();
    for batch in batches {
        let mut drawn = Numbers::new(batch);
        let (x, y) = (drawn.tensor(&[2, 4], 1.0), drawn.tensor(&[2, 3], 1.0));
        let clamps = Clamps::new().hold(net.x, x).hold(net.y, y);
        rule.train(&mut net.graph, &clamps, |graph, g| step(optimiser, graph.parameters_mut(), g))
            .unwrap();
    }
}

/// Training that is handed over twice on its way comes to the same bits as training in one go.
fn goes_on<F: Element, O: OptimiserState<HostTensor<F>>>(
    make: impl Fn() -> O,
    step: impl Fn(&mut O, &mut [HostTensor<F>], &pc_core::Gradients<HostTensor<F>>) -> Result<()>,
) {
    let (mut whole, mut first) = (net::<F>(1), make());
    let (mut other, mut second) = (net::<F>(2), make());
    train(&mut whole, &mut first, &step, 0..2);
    // The other has learned something else before.
    train(&mut other, &mut second, &step, 50..53);
    other.graph.copy_training_from(&mut second, &whole.graph, &first).unwrap();
    train(&mut other, &mut second, &step, 2..4);
    let (mut third, mut last) = (net::<F>(3), make());
    third.graph.copy_training_from(&mut last, &other.graph, &second).unwrap();
    train(&mut third, &mut last, &step, 4..6);
    train(&mut whole, &mut first, &step, 2..6);
    assert_eq!(numbers(&third.graph), numbers(&whole.graph));
    // Without the state it is another way.
    let (mut without, mut fresh) = (net::<F>(2), make());
    without.graph.copy_parameters_from(&other.graph).unwrap();
    train(&mut without, &mut fresh, &step, 4..6);
    assert_ne!(numbers(&without.graph), numbers(&whole.graph));
}

#[test]
fn training_goes_on_to_the_same_bits() {
    goes_on(|| Adam::<f64>::new(1e-2).unwrap(), Adam::step);
    goes_on(|| Adam::<f32>::new(1e-2).unwrap(), Adam::step);
    goes_on(|| Sgd::<f64>::new(0.05).unwrap().with_momentum(0.9).unwrap(), Sgd::step);
}

#[test]
fn what_does_not_fit_is_named_and_nothing_changes() {
    let good = net::<f64>(1).graph;
    let mut large = net::<f64>(1).graph;
    large.parameters_mut()[0].fill(1e39);
    let mut nan = net::<f64>(1).graph;
    nan.parameters_mut()[5].fill(f64::NAN);
    let fewer = {
        let mut b = Graph::<HostTensor<f64>>::builder();
        let x = b.input("x", &[4]).unwrap();
        b.dense("h", x, 5, Activation::Tanh, &mut Init::new(1)).unwrap();
        b.build().unwrap()
    };
    let cases = [
        (net_of(1, 6, true, "y").graph, ErrorKind::Shape, "`h.weight` has shape [6, 4], and the"),
        (net_of(1, 6, true, "y").graph, ErrorKind::Shape, "graph's has [5, 4]"),
        (net_of(1, 5, true, "z").graph, ErrorKind::Graph, "it lacks y.weight, y.bias"),
        (net_of(1, 5, false, "y").graph, ErrorKind::Graph, "`n.gain` is a parameter that learns"),
        (fewer, ErrorKind::Graph, "it lacks n.gain, n.bias, y.weight, y.bias; it has h.bias, h."),
        (large, ErrorKind::NotFinite, "`h.weight` is too large"),
        (nan, ErrorKind::NotFinite, "a number of `y.bias` is not finite"),
    ];
    let mut to = net::<f32>(2).graph;
    let before = numbers(&to);
    for (from, kind, says) in cases {
        let error = to.copy_parameters_from(&from).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(numbers(&to), before, "{error}");
    }
    // What the receiver has not.
    let mut small = net::<f64>(2).graph;
    let mut b = Graph::<HostTensor<f64>>::builder();
    let x = b.input("x", &[4]).unwrap();
    b.dense("h", x, 5, Activation::Tanh, &mut Init::new(1)).unwrap();
    let mut less = b.build().unwrap();
    let before = numbers(&less);
    let error = less.copy_parameters_from(&good).unwrap_err();
    assert!(error.to_string().contains("it has n.bias, n.gain, y.bias, y.weight too"), "{error}");
    assert_eq!(numbers(&less), before);
    let error =
        small.copy_parameters_renamed(&good, |name| name.replace("n.gain", "n.bias")).unwrap_err();
    assert!(error.to_string().contains("`n.bias`, which is copied once"), "{error}");
    // Optimisers of two kinds.
    let (adam, mut sgd) = (Adam::<f64>::new(0.1).unwrap(), Sgd::<f64>::new(0.1).unwrap());
    let before = numbers(&small);
    let error = small.copy_training_from(&mut sgd, &good, &adam).unwrap_err();
    assert!(error.to_string().contains("it has adam's state, and sgd's is wanted"), "{error}");
    assert_eq!(numbers(&small), before);
    small.copy_parameters_from(&good).unwrap();
    assert_eq!(numbers(&small), numbers(&good));
}

#[test]
fn frozen_parameters_stay_frozen_and_constraints_are_kept() {
    let build = |seed, constrained| {
        let mut b = Graph::<HostTensor<f64>>::builder();
        let x = b.input("x", &[3]).unwrap();
        let y = b.dense("y", x, 3, Activation::Tanh, &mut Init::new(seed)).unwrap();
        if constrained {
            b.constrain(ParamId::new(0), ZeroDiagonal).unwrap();
        }
        (b.build().unwrap(), x, y)
    };
    let ((from, ..), (mut to, x, y)) = (build(1, false), build(2, true));
    to.freeze(ParamId::new(1), true).unwrap();
    to.copy_parameters_from(&from).unwrap();
    let (sent, found) = (numbers(&from), numbers(&to));
    for (k, (sent, found)) in sent[0].iter().zip(&found[0]).enumerate() {
        assert_eq!(*found, if k % 4 == 0 { 0.0 } else { *sent });
    }
    assert_eq!(sent[1], found[1]);
    let of = |x: f64| HostTensor::new(&[1, 3], vec![x; 3]).unwrap();
    let clamps = Clamps::new().hold(x, of(0.5)).hold(y, of(1.0));
    let mut rule = Relaxation::new(&to, Schedule::standard(0.1, 3).unwrap()).unwrap();
    rule.run(&mut to, &clamps).unwrap();
    assert!(rule.gradients().get(ParamId::new(0)).is_some());
    assert!(rule.gradients().get(ParamId::new(1)).is_none());
}

/// A network whose matrices lie the other way round, with a running mean.
#[derive(Debug)]
struct Turned {
    names: Vec<String>,
    held: Vec<HostTensor<f64>>,
    mean: Option<HostTensor<f64>>,
}

impl HandOver for Turned {
    type Tensor = HostTensor<f64>;
    fn named(&self) -> (&[String], &[HostTensor<f64>]) {
        (&self.names, &self.held)
    }
    fn take_over(
        &mut self,
        parameters: Vec<HostTensor<f64>>,
        mut statistics: Vec<HostTensor<f64>>,
    ) -> Result<()> {
        (self.held, self.mean) = (parameters, statistics.pop());
        Ok(())
    }
    fn inputs_first(&self, parameter: ParamId) -> bool {
        parameter.index() == 0
    }
    fn statistics(&self) -> Vec<(String, HostTensor<f64>)> {
        self.mean.iter().map(|mean| ("n.running_mean".to_owned(), mean.clone())).collect()
    }
}

fn turned(inputs: usize, outputs: usize, mean: Option<f64>) -> Turned {
    let counted = |shape: &[usize], from: f64| {
        let count = shape.iter().product::<usize>();
        HostTensor::new(shape, (0..count).map(|k| from + k as f64).collect()).unwrap()
    };
    Turned {
        names: vec!["y.weight".to_owned(), "y.bias".to_owned()],
        held: vec![counted(&[inputs, outputs], 0.0), counted(&[outputs], 100.0)],
        mean: mean.map(|mean| counted(&[outputs], mean)),
    }
}

fn plain(inputs: usize, outputs: usize) -> Graph<HostTensor<f64>> {
    let mut b = Graph::<HostTensor<f64>>::builder();
    let x = b.input("x", &[inputs]).unwrap();
    b.dense("y", x, outputs, Activation::Tanh, &mut Init::new(3)).unwrap();
    b.build().unwrap()
}

/// Square ones above all, whose shape does not give them away; the optimiser's tensors with them.
#[test]
fn matrices_that_lie_the_other_way_round_are_turned() {
    for (inputs, outputs) in [(3, 3), (2, 3), (1, 4), (4, 1)] {
        let (from, mut to) = (turned(inputs, outputs, None), plain(inputs, outputs));
        to.copy_parameters_from(&from).unwrap();
        let (sent, found) = (from.held[0].to_vec(), to.parameters()[0].to_vec());
        for i in 0..inputs {
            for o in 0..outputs {
                assert_eq!(sent[i * outputs + o], found[o * inputs + i]);
            }
        }
        assert_eq!(to.parameters()[1], from.held[1]);
        let mut again = turned(inputs, outputs, None);
        again.held.iter_mut().for_each(|held| held.fill(7.0));
        again.copy_parameters_from(&to).unwrap();
        assert_eq!(again.held, from.held);
        // Between two of the kind nothing turns.
        let mut third = turned(inputs, outputs, None);
        third.held.iter_mut().for_each(|held| held.fill(7.0));
        third.copy_parameters_from(&from).unwrap();
        assert_eq!(third.held, from.held);

        // One step of momentum from zero leaves the gradient as the velocity.
        let sgd = || Sgd::<f64>::new(0.1).unwrap().with_momentum(0.5).unwrap();
        let (mut theirs, mut own, mut back) = (sgd(), sgd(), sgd());
        let mut gradients = pc_core::Gradients::empty(2);
        gradients.set(ParamId::new(0), from.held[0].clone());
        let mut moved = turned(inputs, outputs, None);
        theirs.step(&mut moved.held, &gradients).unwrap();
        to.copy_training_from(&mut own, &moved, &theirs).unwrap();
        let state = own.parameter_states();
        assert_eq!(state.len(), 1);
        assert_eq!(state[0].tensors[0].to_vec(), found);
        again.copy_training_from(&mut back, &to, &own).unwrap();
        assert_eq!(back.parameter_states()[0].tensors[0], from.held[0]);
    }
}

#[test]
fn running_statistics_go_with_the_parameters_or_are_missed() {
    let (from, mut to) = (turned(2, 3, Some(5.0)), turned(2, 3, Some(9.0)));
    to.copy_parameters_from(&from).unwrap();
    assert_eq!(to.mean, from.mean);
    let error = to.copy_parameters_from(&plain(2, 3)).unwrap_err();
    assert!(error.to_string().contains("it lacks n.running_mean"), "{error}");
    let mut graph = plain(2, 3);
    let before = numbers(&graph);
    let error = graph.copy_parameters_from(&from).unwrap_err();
    assert!(error.to_string().contains("it has n.running_mean too"), "{error}");
    assert_eq!(numbers(&graph), before);
}
