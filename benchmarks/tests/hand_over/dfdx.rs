//! A model of dfdx's, read as a graph.

use dfdx::{nn::builders::*, prelude::*};
use pc_core::{Graph, host::HostTensor};

use crate::sides::{Side, WIDE, learn, of_host};

/// What a model's type says names its layers.
pub(crate) struct Read;

type Own = (Linear<5, 5>, Tanh, Linear<5, 3>);
type Narrow = (Linear<5, 4>, Tanh, Linear<4, 3>);

impl Side for Read {
    type Net = Graph<HostTensor<f64>>;
    const NAME: &'static str = "a dfdx model";
    const NARROW: bool = false;

    fn names(_: [&str; 2]) -> [String; 2] {
        ["0", "2"].map(str::to_owned)
    }

    fn net(_: [&str; 2], widths: [usize; 3], seed: u64) -> Self::Net {
        let device = Cpu::seed_from_u64(seed);
        let x: Tensor<Rank2<2, 5>, f64, Cpu> = device.sample_normal();
        let granularity = pc_dfdx::Granularity::default();
        if widths == WIDE {
            let model = device.build_module::<Own, f64>();
            pc_dfdx::read(&model, x, granularity).unwrap().graph
        } else {
            let model = device.build_module::<Narrow, f64>();
            pc_dfdx::read(&model, x, granularity).unwrap().graph
        }
    }

    fn learn(net: &mut Self::Net, batch: usize) {
        learn(net, batch, of_host);
    }
}
