//! Products, element by element: gates, and sums of gated values.

use crate::{
    Activation, Error, Result,
    composites::common,
    graph::GraphTensor,
    structure::Structure,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu = v_0 v_1 ... v_n`, element by element, over any number of parents of one shape. No
/// parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Product;

/// The slot of the product of the references so far.
const SO_FAR: usize = 0;

impl<T: GraphTensor> Vertex<T> for Product {
    fn kind(&self) -> &str {
        "product"
    }

    fn structure(&self) -> Structure {
        Structure::Product
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        common("product", parents)
    }

    fn predict(&self, at: &Inputs<'_, T>, _cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        at.agree()?;
        output.copy_from(at.value(0));
        (1..at.len()).for_each(|k| output.multiply(at.value(k)));
        Ok(())
    }

    /// With `P` the product so far at the reference and `D` its change: `D <- D (v + d) + P d`, `P
    /// <- P v`.
    fn change(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        _predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        match at.displacement(0) {
            Some(displacement) => output.copy_from(displacement),
            None => output.fill(0.0),
        }
        let mut so_far = cache.take_like(SO_FAR, output);
        so_far.copy_from(at.reference(0));
        for k in 1..at.len() {
            match at.displacement(k) {
                Some(d) => {
                    output.multiply(at.value(k));
                    output.add_product(&so_far, d);
                }
                None => output.multiply(at.reference(k)),
            }
            so_far.multiply(at.reference(k));
        }
        cache.put(SO_FAR, so_far);
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, T>,
        _cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        for k in 0..at.len() {
            if let Some(force) = pulled.force(k) {
                force.copy_from(cotangent);
                (0..at.len())
                    .filter(|other| *other != k)
                    .for_each(|other| force.multiply(at.value(other)));
            }
        }
        Ok(())
    }
}

/// `mu = v_0 v_1 + v_2 v_3 + ...`, element by element, over pairs of parents of one shape: the new
/// cell state of an LSTM, `f c + i g`. No parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SumOfProducts;

impl<T: GraphTensor> Vertex<T> for SumOfProducts {
    fn kind(&self) -> &str {
        "sum_of_products"
    }

    fn structure(&self) -> Structure {
        Structure::SumOfProducts
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        if parents.len() % 2 == 1 {
            return Err(Error::graph(format!(
                "a sum_of_products vertex takes pairs of parents, not {} parents",
                parents.len()
            )));
        }
        common("sum_of_products", parents)
    }

    fn predict(&self, at: &Inputs<'_, T>, _cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        at.agree()?;
        output.fill(0.0);
        for k in (0..at.len()).step_by(2) {
            output.add_product(at.value(k), at.value(k + 1));
        }
        Ok(())
    }

    /// `(a + da) (b + db) - a b = da (b + db) + a db`.
    fn change(
        &self,
        at: &Inputs<'_, T>,
        _cache: &mut Cache<T>,
        _predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        output.fill(0.0);
        for k in (0..at.len()).step_by(2) {
            if let Some(d) = at.displacement(k) {
                output.add_product(d, at.value(k + 1));
            }
            if let Some(d) = at.displacement(k + 1) {
                output.add_product(d, at.reference(k));
            }
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, T>,
        _cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        for k in 0..at.len() {
            if let Some(force) = pulled.force(k) {
                // The other of the pair.
                force.set_product(cotangent, at.value(k ^ 1));
            }
        }
        Ok(())
    }
}

/// `mu = v_0 f(v_1)`, element by element, with two parents of one shape: the new hidden state of an
/// LSTM, `o tanh(c)`. No parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gated(
    /// The nonlinearity of the second parent.
    pub Activation,
);

// Slots of the cache: f at the reference, its change, and f' at the current point.
const SHAPED: usize = 0;
const SHAPED_CHANGE: usize = 1;
const DERIVATIVE: usize = 2;

impl<T: GraphTensor> Vertex<T> for Gated {
    fn kind(&self) -> &str {
        "gated"
    }

    fn structure(&self) -> Structure {
        Structure::Gated(self.0)
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        if parents.len() != 2 {
            return Err(Error::graph(format!(
                "a gated vertex takes two parents, not {}",
                parents.len()
            )));
        }
        common("gated", parents)
    }

    fn predict(&self, at: &Inputs<'_, T>, cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        at.agree()?;
        let v = at.value(1);
        let mut shaped = cache.take_like(SHAPED, v);
        let mut moved = cache.take_like(SHAPED_CHANGE, v);
        let mut derivative = cache.take_like(DERIVATIVE, v);
        moved.fill(0.0);
        shaped.set_activation(&mut derivative, self.0, v, None)?;
        output.set_product(at.value(0), &shaped);
        cache.put(SHAPED, shaped);
        cache.put(SHAPED_CHANGE, moved);
        cache.put(DERIVATIVE, derivative);
        Ok(())
    }

    /// `d_0 (f + df) + v_0 df`.
    fn change(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        _predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        let mut moved = cache.take_out(SHAPED_CHANGE)?;
        let mut derivative = cache.take_out(DERIVATIVE)?;
        match at.displacement(1) {
            Some(d) => moved.set_activation(&mut derivative, self.0, at.reference(1), Some(d))?,
            None => moved.fill(0.0),
        }
        match at.displacement(0) {
            Some(d) => {
                output.set_sum(cache.get(SHAPED)?, &moved);
                output.multiply(d);
                output.add_product(at.reference(0), &moved);
            }
            None => output.set_product(at.reference(0), &moved),
        }
        cache.put(SHAPED_CHANGE, moved);
        cache.put(DERIVATIVE, derivative);
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            force.set_sum(cache.get(SHAPED)?, cache.get(SHAPED_CHANGE)?);
            force.multiply(cotangent);
        }
        if let Some(force) = pulled.force(1) {
            force.set_product(cotangent, at.value(0));
            force.multiply(cache.get(DERIVATIVE)?);
        }
        Ok(())
    }
}
