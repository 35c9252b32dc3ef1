//! A user's own function, element by element.

use std::{fmt, sync::Arc};

use crate::{
    Error, Result,
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

type Function = Arc<dyn Fn(f64) -> f64 + Send + Sync>;
type Difference = Arc<dyn Fn(f64, f64) -> f64 + Send + Sync>;

/// A vertex `mu = f(v)`, element by element, for a function `f` of one's own with its derivative
/// `f'`: for tensors of every backend, in `f64` whatever they hold.
///
/// Live rules need `f(a + d) - f(a)`. It is taken by subtraction in `f64`: enough for `f32`
/// tensors, while `f64` tensors lose digits where `d` is small. [`Map::with_difference`] gives it
/// without cancellation.
///
/// # Example
/// A function that no [`crate::Activation`] is, at the end of one prediction:
/// ```
/// use pc_core::{Graph, Map, host::{HostChain, HostTensor, HostVertex, Linear}};
/// let square = Map::new("square", |x| x * x, |x| 2.0 * x)
///     .with_difference(|a, d| d * (a + a + d));
/// let links: Vec<HostVertex<f32>> = vec![Box::new(Linear::without_bias()), Box::new(square)];
/// let mut b = Graph::<HostTensor<f32>>::builder();
/// let x = b.input("x", &[2])?;
/// let w = b.parameter("w", HostTensor::new(&[1, 2], vec![1.0, -1.0])?)?;
/// let y = b.vertex("y", Box::new(HostChain::new(links)?), &[x], &[w])?;
/// assert_eq!(b.shape(y)?, [1]);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Map {
    name: String,
    function: Function,
    derivative: Function,
    difference: Option<Difference>,
}

/// The slot of the derivative at the current point.
const DERIVATIVE: usize = 0;

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Map {
    /// A function and its derivative; `name` is what error messages call it.
    pub fn new(
        name: &str,
        function: impl Fn(f64) -> f64 + Send + Sync + 'static,
        derivative: impl Fn(f64) -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            function: Arc::new(function),
            derivative: Arc::new(derivative),
            difference: None,
        }
    }

    /// Takes `f(a + d) - f(a)` from `difference(a, d)`, which does not subtract two numbers that
    /// are nearly equal.
    #[must_use]
    pub fn with_difference(
        mut self,
        difference: impl Fn(f64, f64) -> f64 + Send + Sync + 'static,
    ) -> Self {
        self.difference = Some(Arc::new(difference));
        self
    }
}

impl<T: Tensor> Vertex<T> for Map {
    fn kind(&self) -> &str {
        &self.name
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        match parents {
            [parent] => Ok(parent.to_vec()),
            _ => Err(Error::graph(format!(
                "the map `{}` takes one parent, not {}",
                self.name,
                parents.len()
            ))),
        }
    }

    fn predict(&self, at: &Inputs<'_, T>, cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        let x = at.value(0);
        let mut slopes = cache.take_like(DERIVATIVE, x);
        T::by_rows(&[x], &mut [output, &mut slopes], &mut |inputs, outputs| {
            if let ([x], [y, slopes]) = (inputs, outputs) {
                for ((y, slope), x) in y.iter_mut().zip(slopes.iter_mut()).zip(*x) {
                    (*y, *slope) = ((self.function)(*x), (self.derivative)(*x));
                }
            }
        });
        cache.put(DERIVATIVE, slopes);
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        _predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        let Some(d) = at.displacement(0) else {
            output.fill(0.0);
            return Ok(());
        };
        let a = at.reference(0);
        let mut slopes = cache.take_like(DERIVATIVE, a);
        T::by_rows(&[a, d], &mut [output, &mut slopes], &mut |inputs, outputs| {
            if let ([a, d], [y, slopes]) = (inputs, outputs) {
                let points = a.iter().zip(*d);
                for ((y, slope), (a, d)) in y.iter_mut().zip(slopes.iter_mut()).zip(points) {
                    *y = match &self.difference {
                        Some(difference) => difference(*a, *d),
                        None => (self.function)(a + d) - (self.function)(*a),
                    };
                    *slope = (self.derivative)(a + d);
                }
            }
        });
        cache.put(DERIVATIVE, slopes);
        Ok(())
    }

    fn pull(
        &self,
        _at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            force.copy_from(cotangent);
            force.multiply(cache.get(DERIVATIVE)?);
        }
        Ok(())
    }

    fn reads_values(&self) -> bool {
        false
    }
}
