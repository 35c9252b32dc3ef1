//! Pooling over windows of an image.

use burn::{
    backend::{
        Dispatch,
        ops::{MaxPool2dWithIndices, ModuleOps},
    },
    nn::PaddingConfig2d,
};
use pc_core::{Result, Tensor, backend::Vertex};

use super::{
    At, Kept, Pulls,
    parts::{graph, image, positions, shape},
};
use crate::BurnTensor;

/// A window that moves over images `[channels, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
}

impl Window {
    fn square(size: usize, stride: usize) -> Self {
        Self { size: [size; 2], stride: [stride; 2], padding: [0; 2], dilation: [1; 2] }
    }

    fn of(
        kind: &str,
        size: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
        padding: &PaddingConfig2d,
        ceil: bool,
    ) -> Result<Self> {
        if ceil {
            return Err(graph(format!(
                "a {kind} vertex rounds sizes down, and this module rounds them up"
            )));
        }
        let padding = match *padding {
            PaddingConfig2d::Valid => [0; 2],
            PaddingConfig2d::Explicit(top, left, bottom, right)
                if top == bottom && left == right =>
            {
                [top, left]
            }
            _ => {
                return Err(graph(format!(
                    "a {kind} vertex takes the same padding on opposite sides, not {padding:?}"
                )));
            }
        };
        Ok(Self { size, stride, padding, dilation })
    }

    fn shape(&self, kind: &str, parents: &[&[usize]]) -> Result<Vec<usize>> {
        let parent = image(kind, parents)?;
        let places = |k: usize| {
            if 2 * self.padding[k] > self.size[k] {
                return Err(shape(format!(
                    "its padding {:?} is more than half its window {:?}",
                    self.padding, self.size
                )));
            }
            positions(
                kind,
                parent[k + 1],
                self.size[k],
                self.stride[k],
                self.dilation[k],
                (self.padding[k], self.padding[k]),
            )
        };
        Ok(vec![parent[0], places(0)?, places(1)?])
    }
}

/// The largest number of each window, and nothing from the others. No parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool2d(Window);

// Slots of the cache: which elements are the largest at the current point and at the reference.
const CURRENT: usize = 0;
const REFERENCE: usize = 1;

impl MaxPool2d {
    /// A square window.
    pub fn new(size: usize, stride: usize) -> Self {
        Self(Window::square(size, stride))
    }

    /// The settings of a module.
    ///
    /// # Errors
    /// Padding that differs on opposite sides, or sizes rounded up.
    pub fn of(module: &burn::nn::pool::MaxPool2d) -> Result<Self> {
        Window::of(
            "max_pool2d",
            module.kernel_size,
            module.stride,
            module.dilation,
            &module.padding,
            module.ceil_mode,
        )
        .map(Self)
    }

    fn pool(&self, x: &BurnTensor) -> (BurnTensor, BurnTensor) {
        let Window { size, stride, padding, dilation } = self.0;
        let MaxPool2dWithIndices { output, indices } = Dispatch::max_pool2d_with_indices(
            x.raw(),
            size,
            stride,
            padding,
            dilation,
            false,
            x.places(),
        );
        (BurnTensor::wrap(output), BurnTensor::integers(indices))
    }
}

/// Images as `[batch, channels, elements]`, which indices within a plane go into.
fn planes(x: &BurnTensor) -> BurnTensor {
    let shape = x.shape();
    x.shaped(&[shape[0], shape[1], shape[2] * shape[3]])
}

impl Vertex<BurnTensor> for MaxPool2d {
    fn kind(&self) -> &str {
        "max_pool2d"
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        self.0.shape("max_pool2d", parents)
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(&self, at: &At<'_>, cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        let (result, indices) = self.pool(at.value(0));
        output.set(result);
        cache.put(CURRENT, indices.clone());
        cache.put(REFERENCE, indices);
        Ok(())
    }

    /// With `i` the largest before and `j` the largest now, `d_j + (a_j - a_i)`: where they are
    /// one, the difference is `d` itself.
    fn change(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        _predicted: &BurnTensor,
        output: &mut BurnTensor,
    ) -> Result<()> {
        let a = at.reference(0);
        let Some(d) = at.displacement(0) else {
            let reference = cache.get(REFERENCE)?.clone();
            cache.put(CURRENT, reference);
            output.fill(0.0);
            return Ok(());
        };
        let (result, current) = self.pool(&a.plus(d));
        let flat = |indices: &BurnTensor| {
            indices.integers_shaped(&{
                let shape = indices.shape();
                [shape[0], shape[1], shape[2] * shape[3]]
            })
        };
        let (old, new) = (flat(cache.get(REFERENCE)?), flat(&current));
        let (a, d) = (planes(a), planes(d));
        let mut change = a.gathered(2, &new).minus(&a.gathered(2, &old));
        change.axpy(1.0, &d.gathered(2, &new));
        output.set(change.shaped(&result.shape()));
        cache.put(CURRENT, current);
        Ok(())
    }

    fn pull(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        cotangent: &BurnTensor,
        pulled: &mut Pulls<'_>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            let Window { size, stride, padding, dilation } = self.0;
            let indices = cache.get(CURRENT)?.raw();
            let (x, u) = (at.value(0).raw(), cotangent.raw());
            let back = Dispatch::max_pool2d_with_indices_backward(
                x, size, stride, padding, dilation, false, u, indices,
            );
            force.set(BurnTensor::wrap(back.x_grad));
        }
        Ok(())
    }
}

/// The mean of each window. No parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool2d {
    window: Window,
    count_padding: bool,
}

impl AvgPool2d {
    /// A square window.
    pub fn new(size: usize, stride: usize) -> Self {
        Self { window: Window::square(size, stride), count_padding: true }
    }

    /// The settings of a module.
    ///
    /// # Errors
    /// Padding that differs on opposite sides, or sizes rounded up.
    pub fn of(module: &burn::nn::pool::AvgPool2d) -> Result<Self> {
        let window = Window::of(
            "avg_pool2d",
            module.kernel_size,
            module.stride,
            [1; 2],
            &module.padding,
            module.ceil_mode,
        )?;
        Ok(Self { window, count_padding: module.count_include_pad })
    }
}

/// The mean of as many windows as the result has elements. No parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveAvgPool2d(
    /// Height and width of the result.
    pub [usize; 2],
);

/// A vertex that is linear in its one parent: its shape, its map, and the map's transpose, which
/// may read the parent's shape.
macro_rules! linear_in_parent {
    ($vertex:ty, $kind:literal, |$own:ident, $parents:ident| $shape:expr, |$x:ident| $map:expr,
    |$like:ident, $u:ident| $back:expr) => {
        impl Vertex<BurnTensor> for $vertex {
            fn kind(&self) -> &str {
                $kind
            }

            fn shape(&self, $parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
                let $own = self;
                $shape
            }

            fn reads_values(&self) -> bool {
                false
            }

            fn predict(
                &self,
                at: &At<'_>,
                _cache: &mut Kept,
                output: &mut BurnTensor,
            ) -> Result<()> {
                let ($own, $x) = (self, at.value(0));
                let _ = $own;
                output.set($map);
                Ok(())
            }

            fn change(
                &self,
                at: &At<'_>,
                _cache: &mut Kept,
                _predicted: &BurnTensor,
                output: &mut BurnTensor,
            ) -> Result<()> {
                let $own = self;
                let _ = $own;
                match at.displacement(0) {
                    Some($x) => output.set($map),
                    None => output.fill(0.0),
                }
                Ok(())
            }

            fn pull(
                &self,
                at: &At<'_>,
                _cache: &mut Kept,
                $u: &BurnTensor,
                pulled: &mut Pulls<'_>,
            ) -> Result<()> {
                let ($own, $like) = (self, at.value(0));
                let _ = ($own, $like);
                if let Some(force) = pulled.force(0) {
                    force.set($back);
                }
                Ok(())
            }
        }
    };
}

linear_in_parent!(
    AvgPool2d,
    "avg_pool2d",
    |own, parents| own.window.shape("avg_pool2d", parents),
    |x| {
        let Window { size, stride, padding, .. } = own.window;
        BurnTensor::wrap(Dispatch::avg_pool2d(
            x.raw(),
            size,
            stride,
            padding,
            own.count_padding,
            false,
        ))
    },
    |like, u| {
        let Window { size, stride, padding, .. } = own.window;
        BurnTensor::wrap(Dispatch::avg_pool2d_backward(
            like.raw(),
            u.raw(),
            size,
            stride,
            padding,
            own.count_padding,
            false,
        ))
    }
);

linear_in_parent!(
    AdaptiveAvgPool2d,
    "adaptive_avg_pool2d",
    |own, parents| {
        let parent = image("adaptive_avg_pool2d", parents)?;
        if own.0.contains(&0) {
            return Err(shape(format!("an adaptive_avg_pool2d vertex cannot make {:?}", own.0)));
        }
        Ok(vec![parent[0], own.0[0], own.0[1]])
    },
    |x| BurnTensor::wrap(Dispatch::adaptive_avg_pool2d(x.raw(), own.0)),
    |like, u| BurnTensor::wrap(Dispatch::adaptive_avg_pool2d_backward(like.raw(), u.raw()))
);
