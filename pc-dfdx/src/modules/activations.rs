//! Activations, element by element and over the last axis.

use dfdx::{
    nn::modules::{
        Abs, AccurateGeLU, Cos, Exp, FastGeLU, LeakyReLU, Ln, LogSoftmax, ReLU, Sigmoid, Sin,
        Softmax, Sqrt, Square, Tanh,
    },
    prelude::{Device, Module},
    shapes::Shape,
    tensor::Cpu,
};
use pc_core::{
    Map, Result,
    host::{self, Activate, Activation, HostVertex},
};

use crate::{Reader, Scalar, Value, Vertices, taped::Traced};

/// Implements [`Vertices`] for modules that join the vertex they follow.
macro_rules! follows {
    ($($module:ty => $vertex:expr;)+) => {
        $(
            impl<S: Shape, E: Scalar> Vertices<Value<S, E>, E> for $module {
                type Output = Value<S, E>;

                fn read(
                    &self,
                    input: Value<S, E>,
                    reader: &mut Reader<'_, E>,
                ) -> Result<Self::Output> {
                    let shape = input.shape;
                    let make: fn(&Self) -> HostVertex<E> = $vertex;
                    reader.follow(input, make(self), shape)
                }
            }
        )+
    };
}

follows! {
    ReLU => |_| Box::new(Activate(Activation::Relu));
    LeakyReLU<E> => |relu| Box::new(Activate(Activation::LeakyRelu(relu.0.value())));
    Tanh => |_| Box::new(Activate(Activation::Tanh));
    Sigmoid => |_| Box::new(Activate(Activation::Sigmoid));
    AccurateGeLU => |_| Box::new(Activate(Activation::Gelu));
    FastGeLU => |_| Box::new(Map::new("fast gelu", fast_gelu, fast_gelu_slope));
    Sin => |_| Box::new(
        Map::new("sin", f64::sin, f64::cos)
            .with_difference(|a, d| 2.0 * (a + d / 2.0).cos() * (d / 2.0).sin()),
    );
    Cos => |_| Box::new(
        Map::new("cos", f64::cos, |a| -a.sin())
            .with_difference(|a, d| -2.0 * (a + d / 2.0).sin() * (d / 2.0).sin()),
    );
    Exp => |_| Box::new(
        Map::new("exp", f64::exp, f64::exp).with_difference(|a, d| a.exp() * d.exp_m1()),
    );
    Ln => |_| Box::new(
        Map::new("ln", f64::ln, f64::recip).with_difference(|a, d| (d / a).ln_1p()),
    );
    Square => |_| Box::new(
        Map::new("square", |a| a * a, |a| 2.0 * a).with_difference(|a, d| d * (a + a + d)),
    );
    Sqrt => |_| Box::new(
        Map::new("sqrt", f64::sqrt, |a| 0.5 / a.sqrt()).with_difference(|a, d| {
            if d == 0.0 { 0.0 } else { d / ((a + d).sqrt() + a.sqrt()) }
        }),
    );
    Abs => |_| Box::new(
        // The slope at 0 is 0, as in dfdx.
        Map::new("abs", f64::abs, |a| if a == 0.0 { 0.0 } else { a.signum() }).with_difference(
            |a, d| if a * (a + d) > 0.0 { a.signum() * d } else { (a + d).abs() - a.abs() },
        ),
    );
    Softmax => |_| Box::new(host::Softmax::new());
}

/// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))` (Hendrycks and Gimpel 2016), as in dfdx.
fn fast_gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + inner(x).tanh())
}

fn fast_gelu_slope(x: f64) -> f64 {
    let t = inner(x).tanh();
    let slope = std::f64::consts::FRAC_2_PI.sqrt() * (1.0 + 3.0 * 0.044715 * x * x);
    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope
}

fn inner(x: f64) -> f64 {
    std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044715 * x * x * x)
}

impl<S: Shape, E: Scalar> Vertices<Value<S, E>, E> for LogSoftmax
where
    Cpu: Device<E>,
{
    type Output = Value<S, E>;

    fn read(&self, input: Value<S, E>, reader: &mut Reader<'_, E>) -> Result<Self::Output> {
        let shape = input.shape;
        // What a vertex is handed lies in order, so that dfdx's gradient is right.
        let run = |module: &mut Self, x: Traced<S, E>| {
            module.try_forward(x).map_err(|error| error.to_string())
        };
        reader.taped_by("log_softmax", self, input, shape, run, 0)
    }
}
