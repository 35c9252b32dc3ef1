//! Linear maps on a device, by products of the library's.

use pc_core::{
    Result, Tensor,
    backend::{Cache, Inputs, Pulled, Structure, Vertex},
    host::{self, HostTensor},
};

use crate::{
    device::Layout,
    graph::{
        Rounds, as_the_host,
        moves::{self, Product, Turn, place},
        moving,
    },
    precision::Precision,
    tensor::DeviceTensor,
};

/// `mu = W v + b` over the last axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear {
    host: host::Linear,
    bias: bool,
    rounds: Rounds,
}

/// The slot of a cotangent with its samples last.
const FLIPPED: usize = moving::OWN;

impl Linear {
    pub(super) fn new(bias: bool, rounds: Rounds) -> Self {
        let host = if bias { host::Linear::new() } else { host::Linear::without_bias() };
        Self { host, bias, rounds }
    }
}

/// `output <- x W^T`, added to what is there or in its place.
fn map(
    weight: &DeviceTensor,
    x: &DeviceTensor,
    output: &DeviceTensor,
    add: bool,
    precision: Precision,
) -> Result<()> {
    let (out, inputs) = sizes(weight);
    let sizes = [x.count() / inputs, out, inputs];
    Product { layout: Layout::Transposed, sizes, add, precision, halves: false }.run(
        x.device(),
        place(x)?,
        place(weight)?,
        place(output)?,
    )
}

/// A weight's outputs and inputs.
fn sizes(weight: &DeviceTensor) -> (usize, usize) {
    match weight.dims() {
        &[out, inputs] => (out.max(1), inputs.max(1)),
        _ => (1, 1),
    }
}

impl Vertex<DeviceTensor> for Linear {
    as_the_host!();

    fn predict(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        at.agree()?;
        let weight = at.parameter(0);
        moving::keep(at, cache);
        map(weight, at.value(0), output, false, Precision::F32)?;
        if self.bias { moves::tile(output, at.parameter(1), 1, 1.0) } else { Ok(()) }
    }

    fn change(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        _predicted: &DeviceTensor,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        let weight = at.parameter(0);
        let mut add = false;
        if at.plastic() {
            // (W - W_old) v_ref + (b - b_old), without large numbers.
            let moved = moving::moved(at, 0, cache)?;
            map(&moved, at.reference(0), output, false, Precision::F32)?;
            moving::done(0, moved, cache);
            if self.bias {
                let moved = moving::moved(at, 1, cache)?;
                moves::tile(output, &moved, 1, 1.0)?;
                moving::done(1, moved, cache);
            }
            add = true;
        }
        match at.displacement(0) {
            Some(d) => map(weight, d, output, add, self.rounds.forward())?,
            None if !add => output.fill(0.0),
            None => {}
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        cotangent: &DeviceTensor,
        pulled: &mut Pulled<'_, DeviceTensor>,
    ) -> Result<()> {
        let weight = at.parameter(0);
        let ((out, inputs), device) = (sizes(weight), weight.device());
        let rows = cotangent.count() / out;
        let layout = Layout::Plain;
        if let Some(force) = pulled.force(0) {
            let (sizes, precision) = ([rows, inputs, out], self.rounds.back(at.live()));
            Product { layout, sizes, add: false, precision, halves: false }.run(
                device,
                place(cotangent)?,
                place(weight)?,
                place(force)?,
            )?;
        }
        let scale = pulled.scale();
        if let Some((gradient, fresh)) = pulled.gradient_or_fresh(0) {
            let flipped = cache.slot(FLIPPED, &[out, rows], cotangent);
            let turn = Turn { scale, ..Turn::new(1, rows, out) };
            turn.run(device, place(cotangent)?, place(flipped)?)?;
            let sizes = [out, inputs, rows];
            Product { layout, sizes, add: !fresh, precision: Precision::F32, halves: false }.run(
                device,
                place(flipped)?,
                place(at.value(0))?,
                place(gradient)?,
            )?;
        }
        if self.bias
            && let Some(gradient) = pulled.gradient(1)
        {
            moves::sums(gradient, cotangent, None, 1, scale)?;
        }
        Ok(())
    }
}
