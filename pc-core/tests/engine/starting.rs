//! How weights and biases start: the laws, within standard errors; seeds; muPC's scales.

use pc_core::{
    Clamps, Graph, Relaxation, Schedule, SquaredError, Tensor,
    host::{
        Activation, ConvLayer, Dense, Draws, HostLayers, HostTensor, Init, MuPc, Sizes, Starting,
        StartingRule,
    },
};

type T = HostTensor<f64>;

const IN: usize = 60;
const OUT: usize = 140;

/// Weight and bias of a dense layer that starts by a rule of the `Init`, or by one of its own.
fn started(rule: Starting, own: bool, activation: Activation, seed: u64) -> [Vec<f64>; 2] {
    let dense = Dense::new(OUT).activation(activation);
    let (dense, mut init) = if own {
        (dense.start(rule), Init::new(seed))
    } else {
        (dense, Init::new(seed).with_rule(rule))
    };
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[IN]).unwrap();
    b.layer("h", &[x], &dense, &mut init).unwrap();
    let graph = b.build().unwrap();
    [graph.parameters()[0].to_vec(), graph.parameters()[1].to_vec()]
}

fn moment(numbers: &[f64], power: i32) -> f64 {
    numbers.iter().map(|x| x.powi(power)).sum::<f64>() / numbers.len() as f64
}

/// The mean, the variance and the fourth moment are those of the law, each within four of its
/// standard errors (which are those of independent draws); and uniform draws keep their bound.
#[test]
fn weights_follow_their_law() {
    let (fan_in, both) = (IN as f64, (IN + OUT) as f64);
    let relu = Activation::Relu;
    for (rule, activation, uniform, variance) in [
        (Starting::Gain, relu, true, 2.0 / fan_in),
        (Starting::Gain, Activation::LeakyRelu(0.1), true, 2.0 / fan_in),
        (Starting::Gain, Activation::HardTanh, true, 1.0 / fan_in),
        (Starting::Gain, Activation::Identity, true, 1.0 / fan_in),
        (Starting::Uniform(0.3), relu, true, 0.03),
        (Starting::Normal(0.3), relu, false, 0.09),
        (Starting::XavierUniform, relu, true, 2.0 / both),
        (Starting::XavierNormal, relu, false, 2.0 / both),
        (Starting::HeUniform, Activation::Tanh, true, 2.0 / fan_in),
        (Starting::HeNormal, Activation::Tanh, false, 2.0 / fan_in),
        (Starting::Torch, relu, true, 1.0 / (3.0 * fan_in)),
    ] {
        for own in [false, true] {
            let [weights, biases] = started(rule, own, activation, 11);
            // E x^4 and E x^8 in units of the variance.
            let (fourth, eighth) = if uniform { (9.0 / 5.0, 9.0) } else { (3.0, 105.0) };
            let v = |power: i32| f64::powi(variance, power);
            let count = (weights.len() as f64).sqrt();
            for (power, expected, spread) in [
                (1, 0.0, v(1).sqrt()),
                (2, v(1), v(1) * f64::sqrt(fourth - 1.0)),
                (4, fourth * v(2), v(2) * f64::sqrt(eighth - fourth * fourth)),
            ] {
                let off = (moment(&weights, power) - expected).abs() * count / spread;
                assert!(off <= 4.0, "{rule:?}: moment {power} is off by {off} standard errors");
            }
            if uniform {
                let bound = (3.0 * variance).sqrt() * (1.0 + 1e-15);
                assert!(weights.iter().all(|x| x.abs() <= bound), "{rule:?}");
            }
            if rule == Starting::Torch {
                let off = (moment(&biases, 2) - variance).abs() / variance;
                assert!(off <= 4.0 * (0.8 / OUT as f64).sqrt(), "biases: {off}");
                assert!(biases.iter().all(|x| x.abs() <= fan_in.sqrt().recip()));
            } else {
                assert_eq!(biases, [0.0; OUT], "{rule:?}");
            }
        }
    }
}

#[test]
fn seeds_repeat() {
    for rule in [Starting::Gain, Starting::Normal(1.0), Starting::XavierNormal, Starting::Torch] {
        let one = started(rule, true, Activation::Tanh, 5);
        assert_eq!(one, started(rule, false, Activation::Tanh, 5), "{rule:?}");
        assert_ne!(one, started(rule, true, Activation::Tanh, 6), "{rule:?}");
        assert_ne!(one[0][..OUT], one[0][OUT..2 * OUT], "{rule:?}");
    }
}

/// The numbers of the default rule, which published tables rest on, to the last bit.
#[test]
fn the_default_rule_is_what_it_was() {
    let mut init = Init::new(7);
    let mut b = Graph::<HostTensor<f32>>::builder();
    let x = b.input("x", &[2, 3, 3]).unwrap();
    let c = ConvLayer::new(2, 2).activation(Activation::Relu);
    let c = b.conv("c", x, &c, &mut init).unwrap();
    let flat = b.flatten("flat", c).unwrap();
    b.dense("y", flat, 3, Activation::Tanh, &mut init).unwrap();
    let graph = b.build().unwrap();
    let bits = |k: usize| -> Vec<u32> {
        graph.parameters()[k].data().iter().take(3).map(|x| x.to_bits()).collect()
    };
    assert_eq!((bits(0), bits(2)), (PINNED.0.to_vec(), PINNED.1.to_vec()));
}

const PINNED: ([u32; 3], [u32; 3]) =
    ([3206003748, 3205707542, 1052059508], [3195476261, 3204776665, 3193839087]);

/// What a rule is told, and what happens to numbers that it leaves out.
#[test]
fn rules_are_told_the_sizes() {
    #[derive(Debug)]
    struct Told;
    impl StartingRule for Told {
        fn weight(&self, of: &Sizes<'_>, _draws: &mut Draws<'_>, numbers: &mut [f64]) {
            let (fan_in, fan_out) = (of.fan_in as f64, of.fan_out as f64);
            numbers.fill(0.0);
            numbers[..4].copy_from_slice(&[fan_in, fan_out, of.shape.len() as f64, 1.0]);
            assert_eq!(of.activation, Activation::Relu);
        }
        fn bias(&self, of: &Sizes<'_>, draws: &mut Draws<'_>, numbers: &mut [f64]) {
            numbers.fill(of.fan_in as f64);
            assert_eq!(of.shape, [numbers.len()]);
            assert!(draws.uniform().abs() <= 1.0 && draws.normal().is_finite());
        }
    }
    #[derive(Debug)]
    struct Half;
    impl StartingRule for Half {
        fn weight(&self, _of: &Sizes<'_>, _draws: &mut Draws<'_>, numbers: &mut [f64]) {
            numbers[0] = 1.0;
        }
    }
    let (mut init, relu) = (Init::new(0), Activation::Relu);
    let mut b = Graph::<T>::builder();
    let (x, z) = (b.input("x", &[3, 8, 8]).unwrap(), b.input("z", &[5]).unwrap());
    let conv = ConvLayer::new(4, 2).activation(relu).start(Told).flatten();
    let c = b.layer("c", &[x], &conv, &mut init).unwrap();
    assert_eq!(b.shape(c).unwrap(), [4 * 7 * 7]);
    // With no activation after it, that before it counts.
    let dense = Dense::new(2).activation_before(relu).start(Told).flatten();
    b.layer("h", &[x, z], &dense, &mut init).unwrap();
    let error = b.layer("half", &[z], &Dense::new(2).start(Half), &mut init).unwrap_err();
    assert!(error.to_string().contains("`half.weight` is not finite"), "{error}");
    let graph = b.build().unwrap();
    let said: Vec<&[f64]> = graph.parameters().iter().map(|p| &p.data()[..2]).collect();
    let (conv, both) = (&[12.0, 16.0][..], &[197.0, 2.0][..]);
    assert_eq!(said, [conv, &[12.0; 2], both, both, &[197.0; 2]]);
}

/// The second moments at the start of a muPC net of 30 layers with relus and skips. With inputs of
/// second moment 1 the first hidden layer has 1, every further one `1 + 1 / (2 L)` of the one
/// below, and the output half of the last over `N`.
#[test]
fn mupc_starts_of_order_one_at_any_depth() {
    const LAYERS: usize = 30;
    let [mut hidden, mut outputs] = [Vec::new(), Vec::new()];
    let (inputs, width) = (50, 128);
    let mupc = MuPc::new(inputs, width, LAYERS, Activation::Relu).with_skips();
    for seed in 0..40 {
        let mut init = Init::new(seed);
        let mut b = Graph::<HostTensor<f32>>::builder();
        let x = b.input("x", &[inputs]).unwrap();
        let mut h = b.layer("h1", &[x], &mupc.first(), &mut init).unwrap();
        for l in 2..LAYERS {
            h = b.layer(&format!("h{l}"), &[h], &mupc.hidden(), &mut init).unwrap();
        }
        let y = b.layer("y", &[h], &mupc.last(10), &mut init).unwrap();
        let mut graph = b.build().unwrap();
        let input = HostTensor::new(&[1, inputs], vec![1.0; inputs]).unwrap();
        let target = SquaredError::new(HostTensor::zeroed(&[1, 10]).unwrap());
        let mut rule = Relaxation::new(&graph, Schedule::backprop()).unwrap();
        rule.run(&mut graph, &Clamps::new().hold(x, input).drive(y, target)).unwrap();
        let second = |vertex| moment(&rule.value(&graph, vertex).unwrap().to_vec(), 2);
        hidden.push(second(h));
        outputs.push(second(y) * width as f64);
    }
    let last = (1.0 + 0.5 / LAYERS as f64).powi(LAYERS as i32 - 2);
    for (what, found, expected) in [("hidden", hidden, last), ("output", outputs, 0.5 * last)] {
        let mean = moment(&found, 1);
        let error = ((moment(&found, 2) - mean * mean) / found.len() as f64).sqrt();
        assert!(error <= 0.1 * expected, "{what}: {error}, too wide to show anything");
        let off = (mean - expected).abs() / error;
        assert!(off <= 4.0, "{what}: {mean}, not {expected}: off by {off} standard errors");
    }
}

#[test]
fn mupc_has_the_scales_of_the_paper() {
    let mupc = MuPc::new(784, 128, 30, Activation::Relu);
    let [first, hidden, last] = [1.0 / 28.0, 1.0 / 128f64.sqrt(), 1.0 / 128.0];
    assert_eq!(mupc.scales(), [first, hidden, last]);
    assert_eq!(mupc.with_skips().scales(), [first, 1.0 / 3840f64.sqrt(), last]);
    // No width: refused by name, as the factor is not finite.
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[3]).unwrap();
    let empty = MuPc::new(0, 4, 2, Activation::Relu).first();
    let error = b.layer("h", &[x], &empty, &mut Init::new(0)).unwrap_err();
    assert_eq!(error.vertex(), Some("h"));
    assert!(error.to_string().contains("finite, not inf"), "{error}");
}
