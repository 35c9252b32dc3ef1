//! A convolution with what follows it, an activation and pooling, as one vertex on a device:
//! preactivations stay as the convolution's products leave them, with their channels last, and one
//! kernel each way does the rest.

use pc_core::{
    Activation, Error, ErrorKind, Result, Tensor,
    backend::{Cache, Inputs, Pulled, Structure, Vertex},
    host::{self, HostChain, HostTensor, HostVertex},
};

use crate::{
    device::{Address, Family},
    graph::{
        Rounds,
        activation::numbered,
        as_the_host,
        moves::{self, Turn, after, place},
        moving,
        patches::{BEHIND, Room, Sizes, Way},
    },
    params::{Pooled, Sums},
    precision::Precision,
    tensor::{DeviceTensor, int},
};

/// Square windows, of which the largest value or the mean is taken.
#[derive(Clone, Copy, Debug)]
struct Windows {
    size: usize,
    stride: usize,
    max: bool,
}

/// The most that the side of a window may have: places in it are numbers of f32.
const SIDE: usize = 1 << 12;

/// `mu = pool(f(W * v + b))`, without `f` or without pooling.
#[derive(Debug)]
pub(super) struct ConvBlock {
    /// All of it.
    host: HostChain<f32>,
    conv: host::Conv2d,
    act: Option<Activation>,
    /// Of one place each where nothing is pooled.
    windows: Windows,
    rounds: Rounds,
}

// Slots of the cache behind those of its room: products at the reference, values there where it
// would cost much to find them anew, where in its window each largest value is now and was at the
// reference, and slopes.
const REFERENCE: usize = BEHIND;
const KEPT: usize = BEHIND + 1;
const CURRENT: usize = BEHIND + 2;
const LARGEST: usize = BEHIND + 3;
const SLOPE: usize = BEHIND + 4;

/// The threads' places and channels of a block, as in `pooled.cu`.
const PLACES: usize = 32;
const CHANNELS: usize = 128;

/// Whether an activation is made of straight pieces.
fn pieces(f: Activation) -> bool {
    matches!(
        f,
        Activation::Identity | Activation::Relu | Activation::LeakyRelu(_) | Activation::HardTanh
    )
}

/// The products of a run of samples, and what becomes of them.
struct Run {
    first: usize,
    samples: usize,
    sizes: Sizes,
    /// Height and width of the result.
    out: [usize; 2],
}

/// What a vertex keeps of one batch.
struct Kept {
    reference: DeviceTensor,
    kept: Option<DeviceTensor>,
    current: Option<DeviceTensor>,
    slope: Option<DeviceTensor>,
}

impl ConvBlock {
    /// The links at the start of these that make one vertex, and how many they are: a convolution
    /// and an activation, or pooling, or both in that order.
    ///
    /// # Errors
    /// An activation that the kernels do not know.
    pub(super) fn of(links: &[Structure], rounds: Rounds) -> Result<Option<(Self, usize)>> {
        let [Structure::Conv2d { stride, padding, bias }, rest @ ..] = links else {
            return Ok(None);
        };
        let conv = host::Conv2d { stride: *stride, padding: *padding, bias: *bias };
        let mut hosts: Vec<HostVertex<f32>> = vec![Box::new(conv)];
        let (act, rest) = match rest {
            [Structure::Activation(f), rest @ ..] => {
                numbered(*f)?;
                hosts.push(Box::new(host::Activate(*f)));
                (Some(*f), rest)
            }
            _ => (None, rest),
        };
        let windows = match rest.first() {
            Some(&Structure::MaxPool2d { size, stride }) if size <= SIDE => {
                hosts.push(Box::new(host::MaxPool2d { size, stride }));
                Windows { size, stride, max: true }
            }
            Some(&Structure::AvgPool2d { size, stride }) => {
                hosts.push(Box::new(host::AvgPool2d { size, stride }));
                Windows { size, stride, max: false }
            }
            _ => Windows { size: 1, stride: 1, max: false },
        };
        let count = hosts.len();
        if count == 1 {
            return Ok(None);
        }
        let host = HostChain::new(hosts)?;
        Ok(Some((Self { host, conv, act, windows, rounds }, count)))
    }

    fn sizes(&self, at: &Inputs<'_, DeviceTensor>) -> Result<Sizes> {
        let (images, weight) = (at.value(0), at.parameter(0));
        let parameters: Vec<&[usize]> =
            (0..at.parameter_count()).map(|k| at.parameter(k).dims()).collect();
        let image = images.dims().get(1..).unwrap_or_default();
        let results = Vertex::<HostTensor<f32>>::shape(&self.conv, &[image], &parameters)?;
        let host::Conv2d { stride, padding, .. } = self.conv;
        let halves = self.rounds.pulls_halves();
        Sizes::of([images, weight], &results, (stride, padding), halves)
    }

    /// What makes a run of samples of a batch, by the first and how many they are.
    fn run_of(sizes: Sizes, output: &DeviceTensor) -> Result<impl Fn((usize, usize)) -> Run> {
        let &[_, _, height, width] = output.dims() else {
            return Err(Error::new(ErrorKind::Shape, "a convolution gives images"));
        };
        Ok(move |(first, samples)| Run { first, samples, sizes, out: [height, width] })
    }

    /// All runs of a batch.
    fn runs(sizes: Sizes, output: &DeviceTensor) -> Result<impl Iterator<Item = Run>> {
        Ok(sizes.groups().map(Self::run_of(sizes, output)?))
    }

    fn take(&self, sizes: Sizes, cache: &mut Cache<DeviceTensor>, output: &DeviceTensor) -> Kept {
        let products = [output.batch(), sizes.samples()[1]];
        let smooth = self.act.is_some_and(|f| !pieces(f));
        let max = self.windows.max;
        let mut all = |slot| cache.take(slot, &products, output);
        let (reference, kept) = (all(REFERENCE), (smooth && max).then(|| all(KEPT)));
        let slope = (self.act.is_some() && !max).then(|| all(SLOPE));
        let mut by_window = |slot| cache.take_like(slot, output);
        let current = max.then(|| by_window(CURRENT));
        let slope = slope.or_else(|| self.act.map(|_| by_window(SLOPE)));
        Kept { reference, kept, current, slope }
    }

    /// What both ways are told of a run's windows.
    fn windows(&self, run: &Run) -> Pooled {
        let [channels, height, width] = run.sizes.out();
        Pooled {
            samples: int(run.samples),
            channels: int(channels),
            height: int(height),
            width: int(width),
            out_h: int(run.out[0]),
            out_w: int(run.out[1]),
            size: int(self.windows.size),
            stride: int(self.windows.stride),
            ..Pooled::default()
        }
    }

    /// Where the run's part of what lies by product begins, and of what lies by window.
    fn parts(run: &Run) -> [usize; 2] {
        let [channels, ..] = run.sizes.out();
        let window = channels * run.out[0] * run.out[1];
        [run.first * run.sizes.samples()[1], run.first * window]
    }

    /// Products to what is predicted, or how far that moves: `params` has displacements and biases.
    fn pool(&self, run: &Run, params: Pooled, kept: &Kept, output: &DeviceTensor) -> Result<()> {
        let [product, window] = Self::parts(run);
        let part = |tensor: &Option<DeviceTensor>, from| -> Result<Address> {
            tensor.as_ref().map_or(Ok(0), |tensor| Ok(after(place(tensor)?, from)))
        };
        let max = self.windows.max;
        let (act, leak) = self.act.map_or(Ok((0, 0.0)), numbered)?;
        let params = Pooled {
            a: after(place(&kept.reference)?, product),
            out: after(place(output)?, window),
            kept: part(&kept.kept, product)?,
            index: part(&kept.current, window)?,
            slope: part(&kept.slope, if max { window } else { product })?,
            leak,
            act,
            ..params
        };
        let kernel = match (max, self.act.is_none_or(pieces)) {
            (true, true) => "pc_pooled_max",
            (true, false) => "pc_pooled_max_smooth",
            (false, true) => "pc_pooled_mean",
            (false, false) => "pc_pooled_mean_smooth",
        };
        let [channels, ..] = run.sizes.out();
        let windows = run.samples * run.out[0] * run.out[1];
        let grid = windows.div_ceil(PLACES) * channels.div_ceil(CHANNELS);
        let shared = 4 * PLACES * (CHANNELS + 1);
        moves::blocks(output.device(), (Family::Pooled, kernel), (grid, shared), &params)
    }

    /// A run's cotangents back through pooling and activation, to pixels.
    fn unpool(
        &self,
        run: &Run,
        cache: &Cache<DeviceTensor>,
        cotangent: &DeviceTensor,
        halves: bool,
        room: &Room,
    ) -> Result<()> {
        let [product, window] = Self::parts(run);
        let part = |slot, from| -> Result<Address> { Ok(after(place(cache.get(slot)?)?, from)) };
        let max = self.windows.max;
        let ([_, height, width], row) = (run.sizes.out(), run.sizes.row(halves));
        let params = Pooled {
            a: after(place(cotangent)?, window),
            old: if max { part(CURRENT, window)? } else { 0 },
            out: place(&room.pixels)?,
            slope: match self.act {
                Some(_) => part(SLOPE, if max { window } else { product })?,
                None => 0,
            },
            row: int(row),
            ..self.windows(run)
        };
        let kernel = if halves { "pc_pooled_pull_bf16" } else { "pc_pooled_pull" };
        let places = run.samples * height * width;
        let grid = places.div_ceil(PLACES) * row.div_ceil(CHANNELS);
        let shared = 4 * (CHANNELS * (PLACES + 1) + PLACES * CHANNELS);
        moves::blocks(cotangent.device(), (Family::Pooled, kernel), (grid, shared), &params)
    }
}

impl Kept {
    fn back_to(self, cache: &mut Cache<DeviceTensor>) {
        let Self { reference, kept, current, slope } = self;
        let all = [(REFERENCE, Some(reference)), (KEPT, kept), (CURRENT, current), (SLOPE, slope)];
        for (slot, tensor) in all {
            if let Some(tensor) = tensor {
                cache.put(slot, tensor);
            }
        }
    }
}

impl Vertex<DeviceTensor> for ConvBlock {
    as_the_host!();

    fn predict(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        at.agree()?;
        let (weight, x) = (at.parameter(0), at.value(0));
        moving::keep(at, cache);
        let sizes = self.sizes(at)?;
        let (room, kept) = (sizes.room(cache, x), self.take(sizes, cache, output));
        let bias = if self.conv.bias { place(at.parameter(1))? } else { 0 };
        let [image, _] = sizes.samples();
        sizes.weigh(Way::Forward, weight, false, &room)?;
        for run in Self::runs(sizes, output)? {
            let images = after(place(x)?, run.first * image);
            sizes.turn(Way::Forward, images, (run.samples, false), &room)?;
            let to = after(place(&kept.reference)?, Self::parts(&run)[0]);
            sizes.multiply(Way::Forward, run.samples, to, (false, Precision::F32), &room)?;
            self.pool(&run, Pooled { bias, ..self.windows(&run) }, &kept, output)?;
        }
        if let Some(current) = &kept.current {
            let mut largest = cache.take_like(LARGEST, current);
            largest.copy_from(current);
            cache.put(LARGEST, largest);
        }
        kept.back_to(cache);
        room.back_to(cache);
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        _predicted: &DeviceTensor,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        let (weight, reference) = (at.parameter(0), at.reference(0));
        let sizes = self.sizes(at)?;
        // There is nothing to change before a prediction.
        cache.get(REFERENCE)?;
        let (mut room, kept) = (sizes.room(cache, reference), self.take(sizes, cache, output));
        let biased = self.conv.bias;
        // (W - W_old) * v_ref + (b - b_old), without large numbers.
        let moved = |k, cache: &mut _| moving::moved(at, k, cache);
        let by = if at.plastic() { Some(moved(0, cache)?) } else { None };
        let shift = if at.plastic() && biased { Some(moved(1, cache)?) } else { None };
        let d = at.displacement(0);
        if by.is_none() && d.is_none() {
            room.places.fill(0.0);
        }
        let both = Pooled {
            d: place(&room.places)?,
            bias: if biased { place(moving::before(at, 1, cache)?)? } else { 0 },
            moved: shift.as_ref().map_or(Ok(0), place)?,
            ..Pooled::default()
        };
        let old = if self.windows.max { place(cache.get(LARGEST)?)? } else { 0 };
        let precision = self.rounds.forward();
        let halves = precision == Precision::Bf16;
        let [image, _] = sizes.samples();
        let products = |run: &Run, of: &DeviceTensor, (add, precision): (bool, Precision)| {
            let images = after(place(of)?, run.first * image);
            let halves = precision == Precision::Bf16;
            sizes.turn(Way::Forward, images, (run.samples, halves), &room)?;
            let to = place(&room.places)?;
            sizes.multiply(Way::Forward, run.samples, to, (add, precision), &room)
        };
        for run in Self::runs(sizes, output)? {
            if let Some(by) = &by {
                sizes.weigh(Way::Forward, by, false, &room)?;
                products(&run, reference, (false, Precision::F32))?;
            }
            if let Some(d) = d {
                if by.is_some() || run.first == 0 {
                    sizes.weigh(Way::Forward, weight, halves, &room)?;
                }
                products(&run, d, (by.is_some(), precision))?;
            }
            let old = if old == 0 { 0 } else { after(old, Self::parts(&run)[1]) };
            let Pooled { d, bias, moved, .. } = both;
            self.pool(&run, Pooled { d, bias, moved, old, ..self.windows(&run) }, &kept, output)?;
        }
        for (k, moved) in [by, shift].into_iter().enumerate() {
            if let Some(moved) = moved {
                moving::done(k, moved, cache);
            }
        }
        kept.back_to(cache);
        room.back_to(cache);
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        cotangent: &DeviceTensor,
        pulled: &mut Pulled<'_, DeviceTensor>,
    ) -> Result<()> {
        let (weight, x) = (at.parameter(0), at.value(0));
        let sizes = self.sizes(at)?;
        let room = sizes.room(cache, x);
        let run = Self::run_of(sizes, cotangent)?;
        let unpool = |first, samples, halves| {
            self.unpool(&run((first, samples)), cache, cotangent, halves, &room)
        };
        if let Some(force) = pulled.force(0) {
            let precision = self.rounds.back(at.live());
            let how = (false, precision);
            sizes.products_of(Way::Back, [weight, force], how, &room, |first, samples| {
                unpool(first, samples, precision == Precision::Bf16)
            })?;
        }
        let scale = pulled.scale();
        let [out, rows, columns] = sizes.out();
        let summed = match pulled.gradient(1) {
            Some(gradient) if self.conv.bias => Some(place(gradient)?),
            _ => None,
        };
        // Cotangents with their channels first of all, for the weight's gradient and the bias's.
        let turned = |first, samples| {
            unpool(first, samples, false)?;
            let (pixels, places) = (place(&room.pixels)?, place(&room.places)?);
            let count = samples * rows * columns;
            let row = sizes.row(false);
            Turn { rows: [row, count], ..Turn::new(1, count, out) }.run(
                x.device(),
                pixels,
                places,
            )?;
            let Some(to) = summed else { return Ok(()) };
            let (columns, inner) = (int(out), int(count));
            let sums = Sums { a: places, b: 0, out: to, x: scale as f32, outer: 1, columns, inner };
            moves::column_sums(x.device(), out, sums)
        };
        match pulled.gradient_or_fresh(0) {
            Some((gradient, fresh)) => {
                sizes.gradient([x, gradient], (!fresh, scale), &room, turned)?;
            }
            None if summed.is_some() => {
                sizes.groups().try_for_each(|(first, samples)| turned(first, samples))?;
            }
            None => {}
        }
        room.back_to(cache);
        Ok(())
    }
}
