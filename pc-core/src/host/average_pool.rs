//! The mean over windows of an image.

use crate::{
    Result,
    host::{
        Element, HostTensor,
        parts::image,
        pool::{Windows, pairs},
    },
    structure::Structure,
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu[c, y, x] = mean` of `v[c]` over a square window, on images `[channels, height, width]`. No
/// parameters; shapes as for [`MaxPool2d`](super::MaxPool2d).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool2d {
    /// The side of the window.
    pub size: usize,
    /// How far the window moves at a time.
    pub stride: usize,
}

impl AvgPool2d {
    fn weight<F: Element>(self) -> F {
        F::of(1.0 / (self.size * self.size) as f64)
    }

    fn average<F: Element>(self, x: &HostTensor<F>, output: &mut HostTensor<F>) -> Result<()> {
        let windows = Windows::of("avg_pool2d", x, self.size, self.stride)?;
        let (plane, result) = windows.planes();
        for (output, x) in
            output.data_mut().chunks_exact_mut(result).zip(x.data().chunks_exact(plane))
        {
            for (first, start) in windows.rows() {
                let output = &mut output[first..first + windows.out[1]];
                if windows.tiles() {
                    let sums =
                        pairs(&windows, start, x).map(|(a, b)| ((a[0] + a[1]) + b[0]) + b[1]);
                    output.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum * self.weight());
                    continue;
                }
                for (column, y) in output.iter_mut().enumerate() {
                    let corner = start + column * self.stride;
                    let rows =
                        (0..self.size).map(|row| &x[corner + row * windows.width..][..self.size]);
                    *y = rows.flatten().fold(F::zero(), |sum, x| sum + *x) * self.weight();
                }
            }
        }
        Ok(())
    }
}

impl<F: Element> Vertex<HostTensor<F>> for AvgPool2d {
    fn kind(&self) -> &str {
        "avg_pool2d"
    }

    fn structure(&self) -> Structure {
        Structure::AvgPool2d { size: self.size, stride: self.stride }
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let parent = image("avg_pool2d", parents)?;
        let [height, width] = Windows::new("avg_pool2d", parent, self.size, self.stride)?.out;
        Ok(vec![parent[0], height, width])
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        self.average(at.value(0), output)
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        _predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        match at.displacement(0) {
            Some(displacement) => self.average(displacement, output),
            None => {
                output.fill(0.0);
                Ok(())
            }
        }
    }

    fn pull(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        let Some(force) = pulled.force(0) else { return Ok(()) };
        let windows = Windows::of("avg_pool2d", at.value(0), self.size, self.stride)?;
        let (plane, result) = windows.planes();
        force.fill(0.0);
        for (force, u) in
            force.data_mut().chunks_exact_mut(plane).zip(cotangent.data().chunks_exact(result))
        {
            for (first, start) in windows.rows() {
                let u = &u[first..first + windows.out[1]];
                if windows.tiles() {
                    for row in [start, start + windows.width] {
                        let pairs = force[row..row + 2 * windows.out[1]].as_chunks_mut::<2>().0;
                        pairs
                            .iter_mut()
                            .zip(u)
                            .for_each(|(pair, u)| *pair = [*u * self.weight(); 2]);
                    }
                    continue;
                }
                for (column, u) in u.iter().enumerate() {
                    let (corner, share) = (start + column * self.stride, *u * self.weight());
                    for row in 0..self.size {
                        force[corner + row * windows.width..][..self.size]
                            .iter_mut()
                            .for_each(|f| *f += share);
                    }
                }
            }
        }
        Ok(())
    }
}
