//! Products, element by element: gates, and sums of gated values.

use crate::{
    Error, Result,
    host::{
        Activate, Activation, Element, HostTensor,
        parts::{common, part, part_pulled},
    },
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu = v_0 v_1 ... v_n`, element by element, over any number of parents of one shape. No
/// parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Product;

/// The slot of the product of the references so far.
const SO_FAR: usize = 0;

impl<F: Element> Vertex<HostTensor<F>> for Product {
    fn kind(&self) -> &str {
        "product"
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        common("product", parents)
    }

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        output.copy_from(at.value(0));
        for k in 1..at.len() {
            output.multiply(at.value(k));
        }
        Ok(())
    }

    /// With `P` the product so far at the reference and `D` its change: `D <- D (v + d) + P d`, `P
    /// <- P v`.
    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        _predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        match at.displacement(0) {
            Some(displacement) => output.copy_from(displacement),
            None => output.fill(0.0),
        }
        let mut so_far = cache.take(SO_FAR, output.dims(), output);
        so_far.copy_from(at.reference(0));
        for k in 1..at.len() {
            match at.displacement(k) {
                Some(d) => {
                    let read = so_far.data().iter().zip(at.value(k).data()).zip(d.data());
                    output
                        .data_mut()
                        .iter_mut()
                        .zip(read)
                        .for_each(|(change, ((p, v), d))| *change = *change * *v + *p * *d);
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
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        for k in 0..at.len() {
            if let Some(force) = pulled.force(k) {
                force.copy_from(cotangent);
                for other in (0..at.len()).filter(|other| *other != k) {
                    force.multiply(at.value(other));
                }
            }
        }
        Ok(())
    }
}

/// `mu = v_0 v_1 + v_2 v_3 + ...`, element by element, over pairs of parents of one shape: the new
/// cell state of an LSTM, `f c + i g`. No parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SumOfProducts;

impl<F: Element> Vertex<HostTensor<F>> for SumOfProducts {
    fn kind(&self) -> &str {
        "sum_of_products"
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

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        output.fill(0.0);
        for k in (0..at.len()).step_by(2) {
            let pairs = at.value(k).data().iter().zip(at.value(k + 1).data());
            output.data_mut().iter_mut().zip(pairs).for_each(|(y, (a, b))| *y += *a * *b);
        }
        Ok(())
    }

    /// `(a + da) (b + db) - a b = da (b + db) + a db`.
    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        _predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        output.fill(0.0);
        for k in (0..at.len()).step_by(2) {
            if let Some(d) = at.displacement(k) {
                let pairs = d.data().iter().zip(at.value(k + 1).data());
                output.data_mut().iter_mut().zip(pairs).for_each(|(y, (d, b))| *y += *d * *b);
            }
            if let Some(d) = at.displacement(k + 1) {
                let pairs = d.data().iter().zip(at.reference(k).data());
                output.data_mut().iter_mut().zip(pairs).for_each(|(y, (d, a))| *y += *d * *a);
            }
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        for k in 0..at.len() {
            if let Some(force) = pulled.force(k) {
                // The other of the pair.
                let pairs = cotangent.data().iter().zip(at.value(k ^ 1).data());
                force.data_mut().iter_mut().zip(pairs).for_each(|(f, (u, v))| *f = *u * *v);
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

// Slots of the cache: f at the reference, its change, and the cotangent at it.
const SHAPED: usize = 0;
const SHAPED_CHANGE: usize = 1;
const COTANGENT: usize = 2;

impl<F: Element> Vertex<HostTensor<F>> for Gated {
    fn kind(&self) -> &str {
        "gated"
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

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let v = at.value(1);
        cache.slot(SHAPED_CHANGE, v.dims(), v).fill(0.0);
        let mut shaped = cache.take(SHAPED, v.dims(), v);
        Activate(self.0).predict(&part(at, 1..2, 0..0), cache.child(0), &mut shaped)?;
        output.copy_from(at.value(0));
        output.multiply(&shaped);
        cache.put(SHAPED, shaped);
        Ok(())
    }

    /// `d_0 (f + df) + v_0 df`.
    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        _predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let shaped = cache.take_out(SHAPED)?;
        let mut moved = cache.take_out(SHAPED_CHANGE)?;
        Activate(self.0).change(&part(at, 1..2, 0..0), cache.child(0), &shaped, &mut moved)?;
        output.copy_from(at.reference(0));
        output.multiply(&moved);
        if let Some(d) = at.displacement(0) {
            let read = d.data().iter().zip(shaped.data().iter().zip(moved.data()));
            output
                .data_mut()
                .iter_mut()
                .zip(read)
                .for_each(|(y, (d, (f, df)))| *y += *d * (*f + *df));
        }
        cache.put(SHAPED, shaped);
        cache.put(SHAPED_CHANGE, moved);
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            let shaped = cache.get(SHAPED)?.data().iter().zip(cache.get(SHAPED_CHANGE)?.data());
            let read = cotangent.data().iter().zip(shaped);
            force
                .data_mut()
                .iter_mut()
                .zip(read)
                .for_each(|(force, (u, (f, df)))| *force = *u * (*f + *df));
        }
        if pulled.force(1).is_some() {
            let mut inner = cache.take(COTANGENT, cotangent.dims(), cotangent);
            inner.copy_from(cotangent);
            inner.multiply(at.value(0));
            Activate(self.0).pull(
                &part(at, 1..2, 0..0),
                cache.child(0),
                &inner,
                &mut part_pulled(pulled, 1..2, 0..0),
            )?;
            cache.put(COTANGENT, inner);
        }
        Ok(())
    }
}
