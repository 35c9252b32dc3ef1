//! Vertices from modules and closures, and the way to an optimiser and back.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    optim::{AdamConfig, SgdConfig},
    tensor::activation,
};
use pc_burn::{BurnTensor, explicit::ModuleGraph};
use pc_core::{Relaxation, Schedule, Tensor, host::Activation};

use crate::{
    common::{NEGLIGIBLE, backward, device, exact, held, tensor},
    support::worst,
};

#[derive(Module, Debug)]
struct Two {
    inner: Linear,
    outer: Linear,
}

#[derive(Module, Debug)]
struct TestNet {
    two: Two,
    skip: Linear,
}

fn net() -> TestNet {
    let d = device();
    TestNet {
        two: Two {
            inner: LinearConfig::new(4, 7).init(&d),
            outer: LinearConfig::new(7, 5).init(&d),
        },
        skip: LinearConfig::new(5, 5).init(&d),
    }
}

#[test]
fn a_module_vertex_equals_burns_backward() {
    let (d, m) = (device(), net());
    let (x, z, y) = (tensor([3, 4], 0.1, &d), tensor([3, 5], 0.5, &d), tensor([3, 5], 0.7, &d));
    let two =
        |two: &Two, x| activation::mish(two.outer.forward(activation::tanh(two.inner.forward(x))));
    let h = two(&m.two, x.clone());
    let burns = backward(&m, m.skip.forward(h.clone() * z.clone()) + h, y.clone());
    let mut b = ModuleGraph::new();
    let (vx, vz) = (b.input("x", &[4]).unwrap(), b.input("z", &[5]).unwrap());
    let h = b
        .module("h", &[vx], &m.two, move |module, parents| Ok(two(module, parents.tensor(0)?)))
        .unwrap();
    let output = b
        .module("y", &[h, vz], &m.skip, |skip, parents| {
            let (h, z) = (parents.tensor::<2>(0)?, parents.tensor::<2>(1)?);
            Ok(skip.forward(h.clone() * z) + h)
        })
        .unwrap();
    let new = |t| BurnTensor::new(t).unwrap();
    let clamps = held(&[(vx, new(x)), (vz, new(z)), (output, new(y))]);
    let mut built = b.build().unwrap();
    let names: Vec<_> = built.0.named_parameters().map(|(name, _)| name.to_owned()).collect();
    assert!(names.contains(&"h.inner.weight".to_owned()), "{names:?}");
    exact(&mut built, &clamps, &m, &burns, 6);
}

#[test]
fn analytic_and_autodiff_vertices_relax_alike() {
    let (d, m) = (device(), net());
    let new = |shape, phase| BurnTensor::new(tensor::<2>(shape, phase, &d)).unwrap();
    let run = |analytic: bool| {
        let mut b = ModuleGraph::new();
        let x = b.input("x", &[4]).unwrap();
        let h = if analytic {
            b.linear("h", x, &m.two.inner, Activation::Tanh).unwrap()
        } else {
            b.module("h", &[x], &m.two.inner, |inner, p| {
                Ok(activation::tanh(inner.forward(p.tensor::<2>(0)?)))
            })
            .unwrap()
        };
        let y = if analytic {
            b.linear("y", h, &m.two.outer, Activation::Sigmoid).unwrap()
        } else {
            b.module("y", &[h], &m.two.outer, |outer, p| {
                Ok(activation::sigmoid(outer.forward(p.tensor::<2>(0)?)))
            })
            .unwrap()
        };
        let (mut graph, parameters) = b.build().unwrap();
        let clamps = held(&[(x, new([3, 4], 0.2)), (y, new([3, 5], 0.9))]);
        let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 20).unwrap()).unwrap();
        relaxation.run(&mut graph, &clamps).unwrap();
        parameters.gradients(relaxation.gradients()).unwrap()
    };
    let (off, compared) = worst(&m, &run(false), &run(true), NEGLIGIBLE);
    // By subtraction in f32 the autodiff vertices lose digits; still they tell the same story.
    assert!(off <= 1e-4 && compared == 4, "off by {off:.1e} over {compared}");
}

fn loss(model: &Two, d: &burn::tensor::Device) -> f64 {
    let output =
        model.outer.forward(activation::tanh(model.inner.forward(tensor::<2>([8, 4], 0.2, d))));
    (output - tensor::<2>([8, 5], 0.9, d)).square().sum().mul_scalar(0.5).into_scalar::<f64>()
}

#[test]
fn every_optimiser_of_burn_trains_the_graph() {
    let d = device();
    let clamps_of = |x, y| {
        let new = |shape, phase| BurnTensor::new(tensor::<2>(shape, phase, &d)).unwrap();
        held(&[(x, new([8, 4], 0.2)), (y, new([8, 5], 0.9))])
    };
    let mut model = net().two;
    let mut b = ModuleGraph::new();
    let x = b.input("x", &[4]).unwrap();
    let h = b.linear("h", x, &model.inner, Activation::Tanh).unwrap();
    let y = b.linear("y", h, &model.outer, Activation::Identity).unwrap();
    let (mut graph, parameters) = b.build().unwrap();
    let clamps = clamps_of(x, y);
    let before = loss(&model, &d);
    let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 20).unwrap()).unwrap();
    let mut adam = AdamConfig::new().init();
    for _ in 0..60 {
        relaxation.run(&mut graph, &clamps).unwrap();
        model = adam.step(0.02, model, parameters.gradients(relaxation.gradients()).unwrap());
        parameters.load(&mut graph, &model).unwrap();
    }
    let after = loss(&model, &d);
    assert!(after < 0.5 * before, "{before} -> {after}");
    // One step of plain descent is exactly weight - rate * gradient.
    relaxation.run(&mut graph, &clamps).unwrap();
    let id = parameters.of(model.outer.bias.as_ref().unwrap().id).unwrap();
    let (old, step) =
        (graph.parameters()[id.index()].to_vec(), relaxation.gradients().get(id).unwrap().to_vec());
    let gradients = parameters.gradients(relaxation.gradients()).unwrap();
    model = SgdConfig::new().init().step(0.5, model, gradients);
    parameters.load(&mut graph, &model).unwrap();
    for ((new, old), step) in graph.parameters()[id.index()].to_vec().into_iter().zip(old).zip(step)
    {
        assert!((new - (old - 0.5 * step)).abs() <= 1e-6, "{new} {old} {step}");
    } // The graph now has the module's numbers.
    let burns = backward(
        &model,
        model.outer.forward(activation::tanh(model.inner.forward(tensor([8, 4], 0.2, &d)))),
        tensor([8, 5], 0.9, &d),
    );
    exact(&mut (graph, parameters), &clamps, &model, &burns, 4);
}
