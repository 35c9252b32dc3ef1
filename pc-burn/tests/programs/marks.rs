//! What `docs/bring-your-model.md` says of programs with no marks, with few, and with many.

use burn::{
    module::Module,
    nn::{
        Linear, LinearConfig,
        loss::{MseLoss, Reduction},
    },
    optim::GradientsParams,
    tensor::{Device, Tensor, activation},
};
use pc_burn::{BurnTensor, LossReduction, PredictiveCoding, vertex};
use pc_core::{Agreement, Schedule, Tensor as _};

use crate::{check, mlp};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Marks {
    None,
    /// One, on the output.
    Last,
    /// One, in the middle: it feeds the loss and no other vertex.
    Only,
    /// One in the middle, and one on the output.
    Middle,
    /// After every activation, and on the output.
    Usual,
    /// After every layer and after every activation.
    Many,
    /// As usual, each twice.
    Twice,
}

#[derive(Module, Debug)]
struct Net {
    layers: Vec<Linear>,
    output: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        check::fixed(Self {
            layers: (0..4).map(|_| LinearConfig::new(6, 6).init(device)).collect(),
            output: LinearConfig::new(6, 2).init(device),
        })
    }

    fn loss(&self, marks: Marks, (x, y): &(Tensor<2>, Tensor<2>)) -> Tensor<1> {
        let marked = |wanted: bool, x| if wanted { vertex(x) } else { x };
        let mut x = x.clone();
        for (index, layer) in self.layers.iter().enumerate() {
            x = marked(marks == Marks::Many, layer.forward(x));
            x = activation::tanh(x);
            let middle = index == 1 && matches!(marks, Marks::Only | Marks::Middle);
            x = marked(middle || matches!(marks, Marks::Usual | Marks::Many | Marks::Twice), x);
            x = marked(marks == Marks::Twice, x);
        }
        x = marked(!matches!(marks, Marks::None | Marks::Only), self.output.forward(x));
        MseLoss::new().forward(x, y.clone(), Reduction::Mean)
    }
}

/// The weights' gradients, the first layer's first.
fn weights(net: &Net, gradients: &GradientsParams) -> Vec<Vec<f64>> {
    let all = net.layers.iter().chain([&net.output]);
    all.map(|layer| {
        let gradient = gradients.get::<2>(layer.weight.id).expect("every layer learns");
        BurnTensor::new(gradient).unwrap().to_vec()
    })
    .collect()
}

fn cosines(ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(a, b)| Agreement::of_slices(a, b).cosine).collect()
}

#[test]
fn marks_say_what_relaxes() {
    let device = check::device();
    let net = Net::new(&device);
    let (x, y) = mlp::batches(&device).swap_remove(0);
    let batch = (x, y);
    let backprop = {
        let loss = net.loss(Marks::None, &batch);
        weights(&net, &GradientsParams::from_grads(loss.backward(), &net))
    };
    let learn = |marks, schedule: &Schedule| {
        PredictiveCoding::new(schedule.clone(), LossReduction::MeanOver(48))
            .learn(&net, |net| net.loss(marks, &batch))
    };
    let standard = Schedule::standard(0.1, 20).unwrap();
    let exact = Schedule::fixed_prediction(1.0, 20).unwrap();
    // Exact rules do not care where marks are.
    for marks in [Marks::Middle, Marks::Usual, Marks::Many, Marks::Twice] {
        let ours = weights(&net, &learn(marks, &exact).unwrap().gradients);
        let least = cosines(&ours, &backprop).into_iter().fold(1.0, f64::min);
        assert!(least > 1.0 - 1e-6, "{marks:?}: {least}");
    }
    // With nothing to relax there is only backprop, which has to be asked for by its name.
    for marks in [Marks::None, Marks::Last, Marks::Only] {
        for schedule in [&standard, &exact] {
            let said = learn(marks, schedule).expect_err("nothing relaxes").to_string();
            assert!(said.contains("mark"), "{said}");
        }
        let ours = weights(&net, &learn(marks, &Schedule::backprop()).unwrap().gradients);
        let least = cosines(&ours, &backprop).into_iter().fold(1.0, f64::min);
        assert!(least > 1.0 - 1e-6, "{marks:?}: {least}");
    }
    let by = |marks| weights(&net, &learn(marks, &standard).unwrap().gradients);
    let norm = |gradient: &[f64]| gradient.iter().map(|x| x * x).sum::<f64>().sqrt();
    // One mark in the middle: the two layers before it learn from one error, and so do the others.
    let (middle, usual) = (by(Marks::Middle), by(Marks::Usual));
    let apart = |ours: &[Vec<f64>]| cosines(ours, &backprop).into_iter().fold(1.0, f64::min);
    println!("least cosine to backprop: middle {:.4}, usual {:.4}", apart(&middle), apart(&usual));
    assert!(apart(&usual) < apart(&middle));
    // Every mark is a step of the way: what reaches the first layer in 20 steps is less.
    let (many, twice) = (by(Marks::Many), by(Marks::Twice));
    let first = |gradients: &[Vec<f64>]| norm(&gradients[0]) / norm(&backprop[0]);
    println!(
        "the first layer's gradient, of backprop's: middle {:.1e}, usual {:.1e}, many {:.1e}, \
         twice {:.1e}",
        first(&middle),
        first(&usual),
        first(&many),
        first(&twice)
    );
    assert!(first(&middle) < 0.95, "one vertex relaxes: it is not backprop");
    assert!(first(&middle) > 10.0 * first(&usual));
    assert!(first(&usual) > 10.0 * first(&many));
    assert!(first(&usual) > 10.0 * first(&twice));
}
