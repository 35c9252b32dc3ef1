//! Optimisers that can be saved are tch's own, to the last bit, before and after they were.

use std::collections::BTreeMap;

use pc_tch::{ResumableConfig, ResumableOptimizer};
use tch::{
    Device, Kind, Tensor,
    nn::{self, Adam, AdamW, Module, OptimizerConfig, RmsProp, Sgd, VarStore},
};

use crate::common::{parameters, seeded};

type Net = nn::Sequential;

/// A net, always with the same weights.
fn net() -> (VarStore, Net) {
    tch::manual_seed(3);
    let vs = VarStore::new(Device::Cpu);
    let net = nn::seq()
        .add(nn::linear(vs.root() / "a", 3, 5, Default::default()))
        .add_fn(Tensor::tanh)
        .add(nn::linear(vs.root() / "b", 5, 2, Default::default()));
    (vs, net)
}

fn loss(net: &Net, step: i64) -> Tensor {
    let x = Tensor::arange(12, (Kind::Float, Device::Cpu)).view([4, 3]) * 0.1 - step as f64 * 0.05;
    (net.forward(&x) - 0.3).square().sum(Kind::Float)
}

fn assert_equal(a: &VarStore, b: &VarStore, when: &str) {
    for ((name, a), (_, b)) in parameters(a).iter().zip(parameters(b)) {
        assert!(a.equal(&b), "{name} differs {when}");
    }
}

fn file(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("pc-tch-{}-{name}.safetensors", std::process::id()))
}

/// Eleven steps beside tch's optimiser, with a new one that is loaded after some of them, and
/// another rate for the last.
fn follows<C: OptimizerConfig + ResumableConfig + Copy>(config: C, name: &str) {
    let (theirs, their_net) = net();
    let (ours, our_net) = net();
    let mut tchs = config.build(&theirs, 0.02).unwrap();
    let mut opt = config.build_resumable(&ours, 0.02).unwrap();
    for step in 0..11 {
        if [0, 1, 7].contains(&step) {
            let path = file(name);
            opt.save(&path).unwrap();
            opt = config.build_resumable(&ours, 0.02).unwrap();
            opt.load(&path).unwrap();
            std::fs::remove_file(path).unwrap();
        }
        if step == 9 {
            tchs.set_lr(0.5);
            opt.set_lr(0.5).unwrap();
        }
        tchs.backward_step(&loss(&their_net, step));
        opt.backward_step(&loss(&our_net, step)).unwrap();
        assert_equal(&ours, &theirs, &format!("after step {step} of {name}"));
    }
}

#[test]
fn they_are_tchs_own_before_and_after_a_stop() {
    let _turn = seeded();
    follows(Sgd::default(), "sgd");
    follows(nn::sgd(0.9, 0.0, 0.01, true), "sgd-nesterov");
    follows(nn::sgd(0.9, 0.2, 0.0, false), "sgd-dampened");
    follows(Adam::default(), "adam");
    follows(Adam::default().wd(0.1).amsgrad(true), "adam-amsgrad");
    follows(AdamW::default(), "adamw");
    follows(AdamW::default().amsgrad(true).beta1(0.5), "adamw-amsgrad");
    follows(RmsProp::default(), "rmsprop");
    follows(nn::rms_prop(0.9, 1e-6, 0.01, 0.5, true), "rmsprop-centered");
}

/// What a stop without the state would do: the test above is not passed by doing nothing.
#[test]
fn without_its_state_a_run_is_another() {
    let _turn = seeded();
    let (whole, whole_net) = net();
    let (cut, cut_net) = net();
    let mut one = Adam::default().build_resumable(&whole, 0.02).unwrap();
    let mut other = Adam::default().build_resumable(&cut, 0.02).unwrap();
    for step in 0..5 {
        if step == 3 {
            other = Adam::default().build_resumable(&cut, 0.02).unwrap();
        }
        one.backward_step(&loss(&whole_net, step)).unwrap();
        other.backward_step(&loss(&cut_net, step)).unwrap();
    }
    let (whole, cut) = (parameters(&whole), parameters(&cut));
    assert!(whole.iter().zip(cut).any(|((_, a), (_, b))| !a.equal(&b)));
}

fn learned() -> (VarStore, Net, ResumableOptimizer) {
    let (vs, net) = net();
    let mut opt = Adam::default().build_resumable(&vs, 0.02).unwrap();
    opt.backward_step(&loss(&net, 0)).unwrap();
    (vs, net, opt)
}

#[test]
fn a_state_that_does_not_fit_is_refused_whole() {
    let _turn = seeded();
    type State = BTreeMap<String, Tensor>;
    type Change = fn(&mut State);
    let changes: [(&str, Change); 9] = [
        ("`a.weight` is not complete", |s| drop(s.remove("a.weight.exp_avg"))),
        ("`a.weight` is not complete", |s| drop(s.remove("a.weight.step"))),
        ("`c.weight.step`", |s| drop(s.insert("c.weight.step".into(), Tensor::from(1_i64)))),
        ("`a.bias.velocity`", |s| drop(s.insert("a.bias.velocity".into(), Tensor::from(1.0)))),
        ("`b.bias.exp_avg` is [3]", |s| {
            s.insert("b.bias.exp_avg".into(), Tensor::zeros([3], (Kind::Float, Device::Cpu)));
        }),
        ("of Double", |s| {
            s.insert("b.bias.exp_avg".into(), Tensor::zeros([2], (Kind::Double, Device::Cpu)));
        }),
        ("`b.bias.step` is not one whole number", |s| {
            s.insert("b.bias.step".into(), Tensor::from(1.5));
        }),
        ("`b.bias.step` is -4", |s| drop(s.insert("b.bias.step".into(), Tensor::from(-4_i64)))),
        ("`b.bias` has learned here", |s| s.retain(|name, _| !name.starts_with("b.bias"))),
    ];
    for (wanted, change) in changes {
        let (_vs, _net, mut opt) = learned();
        let mut state = opt.state().unwrap();
        state.values_mut().filter(|x| x.kind() == Kind::Float).for_each(|x| *x = &*x + 1.0);
        change(&mut state);
        let before = opt.state().unwrap();
        let error = opt.set_state(state).unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
        let after = opt.state().unwrap();
        assert!(before.iter().zip(&after).all(|((_, a), (_, b))| a.equal(b)), "{wanted}");
    }
}

#[test]
fn what_makes_no_sense_is_named() {
    let _turn = seeded();
    let empty = VarStore::new(Device::Cpu);
    let error = Adam::default().build_resumable(&empty, 0.1).unwrap_err().to_string();
    assert!(error.contains("no trainable variables"), "{error}");
    let (vs, _net, mut opt) = learned();
    assert!(Adam::default().build_resumable(&vs, -1.0).is_err());
    assert!(Adam::default().beta1(1.5).build_resumable(&vs, 0.1).is_err());
    for rate in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(opt.set_lr(rate).unwrap_err().to_string().contains("learning rate"));
    }
    let missing = file("missing");
    let error = opt.load(&missing).unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
    std::fs::write(&missing, b"no tensors").unwrap();
    assert!(opt.load(&missing).is_err());
    std::fs::remove_file(missing).unwrap();
    assert!(opt.backward_step(&Tensor::from(1.0)).is_err(), "a loss that needs no gradient");
}
