//! Any host graph on a device: an ordinary [`pc_core::Graph`] whose predictions run there, one step
//! after the other in the engine's loop.

mod activation;
mod build;
mod conv;
mod conv_block;
mod embedding;
mod linear;
mod matmul;
mod moves;
mod moving;
mod norm;
mod patches;
mod pool;
mod softmax;
mod tensor;

pub use build::graph_to_device;

/// What a device's vertex says of itself is what the host's vertex in its field `host` says: kind,
/// shape and the like do not depend on where numbers lie.
macro_rules! as_the_host {
    () => {
        fn kind(&self) -> &str {
            Vertex::<HostTensor<f32>>::kind(&self.host)
        }

        fn structure(&self) -> Structure {
            Vertex::<HostTensor<f32>>::structure(&self.host)
        }

        fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
            Vertex::<HostTensor<f32>>::shape(&self.host, parents, parameters)
        }

        fn parameters(&self) -> usize {
            Vertex::<HostTensor<f32>>::parameters(&self.host)
        }

        fn reads_values(&self) -> bool {
            Vertex::<HostTensor<f32>>::reads_values(&self.host)
        }
    };
}
use as_the_host;

use crate::precision::Precision;

/// How far a linear map's products may round.
#[derive(Clone, Copy, Debug, Default)]
struct Rounds {
    frozen: Precision,
    live: Precision,
}

impl Rounds {
    /// For products that carry displacements, which only live predictions have.
    fn forward(self) -> Precision {
        self.live
    }

    /// For products that pull errors back.
    fn back(self, live: bool) -> Precision {
        if live { self.live } else { self.frozen }
    }

    /// Whether what is pulled back is always made of bf16 numbers.
    fn pulls_halves(self) -> bool {
        [self.live, self.frozen] == [Precision::Bf16; 2]
    }
}
