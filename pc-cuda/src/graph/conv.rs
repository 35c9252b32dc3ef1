//! Convolutions on a device: patches of the images, and products with them.

use pc_core::{
    Error, ErrorKind, Result, Tensor,
    backend::{Cache, Inputs, Pulled, Structure, Vertex},
    host::{self, HostTensor},
};

use crate::{
    device::{Address, Device, Family, Layout},
    graph::{
        Rounds, as_the_host,
        moves::{self, Product, after, place},
        moving,
    },
    params::Patches,
    precision::Precision,
    tensor::{DeviceTensor, int},
};

/// As [`host::Conv2d`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv2d {
    pub(super) host: host::Conv2d,
    pub(super) rounds: Rounds,
}

// Slots of the cache: the patches of some samples, and what a product makes of them or takes with
// them.
const PATCHES: usize = moving::OWN;
const PLACES: usize = moving::OWN + 1;

/// The numbers of patches that are made at a time: 64 MB.
const AT_A_TIME: usize = 1 << 24;

/// The sizes of one convolution, and what is made with them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    batch: usize,
    /// Channels, height and width of the parent.
    image: [usize; 3],
    window: [usize; 2],
    /// Channels, height and width of the result.
    out: [usize; 3],
    stride: usize,
    padding: usize,
}

/// A weight, what it is a convolution's pullback of, and how far their product rounds.
pub(super) type Term<'a> = (&'a DeviceTensor, &'a DeviceTensor, Precision);

impl Sizes {
    /// Those of these images, windows and results.
    ///
    /// # Errors
    /// They are none.
    pub(super) fn of(
        [image, weight, result]: [&DeviceTensor; 3],
        stride: usize,
        padding: usize,
    ) -> Result<Self> {
        let (
            &[batch, channels, height, width],
            &[out, _, window_h, window_w],
            &[_, _, rows, columns],
        ) = (image.dims(), weight.dims(), result.dims())
        else {
            return Err(Error::new(ErrorKind::Shape, "a convolution takes images and windows"));
        };
        Ok(Self {
            batch,
            image: [channels, height, width],
            window: [window_h, window_w],
            out: [out, rows, columns],
            stride,
            padding,
        })
    }

    /// The numbers of a patch.
    fn length(&self) -> usize {
        self.image[0] * self.window[0] * self.window[1]
    }

    /// The patches of a sample.
    fn places(&self) -> usize {
        self.out[1] * self.out[2]
    }

    /// The numbers of a sample of the parent, and of the result.
    fn samples(&self) -> [usize; 2] {
        [self.image.iter().product(), self.out.iter().product()]
    }

    /// The samples whose patches are made at a time.
    fn group(&self) -> usize {
        (AT_A_TIME / (self.places() * self.length()).max(1)).clamp(1, self.batch.max(1))
    }

    /// The runs of samples, as (first, number).
    fn groups(self) -> impl Iterator<Item = (usize, usize)> {
        let group = self.group();
        (0..self.batch).step_by(group).map(move |first| (first, group.min(self.batch - first)))
    }

    /// Images to patches, or, by the other kernel, back.
    fn patches(
        &self,
        device: &Device,
        kernel: &'static str,
        [from, to]: [Address; 2],
        samples: usize,
        count: usize,
    ) -> Result<()> {
        let [channels, height, width] = self.image.map(int);
        let params = Patches {
            input: from,
            out: to,
            batch: int(samples),
            channels,
            height,
            width,
            rows: int(self.out[1]),
            columns: int(self.out[2]),
            window_h: int(self.window[0]),
            window_w: int(self.window[1]),
            stride: int(self.stride),
            padding: int(self.padding),
        };
        moves::each(device, Family::Layers, kernel, count, &params)
    }

    /// Room for the patches of a group, and for what goes with them.
    fn room(
        &self,
        cache: &mut Cache<DeviceTensor>,
        like: &DeviceTensor,
    ) -> (DeviceTensor, DeviceTensor) {
        let places = self.group() * self.places();
        let patches = cache.take(PATCHES, &[places * self.length()], like);
        (patches, cache.take(PLACES, &[places * self.out[0]], like))
    }

    /// `output <- W * x`, added to what is there or in its place.
    pub(super) fn convolve(
        self,
        weight: &DeviceTensor,
        x: &DeviceTensor,
        cache: &mut Cache<DeviceTensor>,
        (output, add, precision): (&DeviceTensor, bool, Precision),
    ) -> Result<()> {
        let device = x.device();
        let (patches, places) = self.room(cache, x);
        let ([image, result], length) = (self.samples(), self.length());
        for (first, samples) in self.groups() {
            let rows = samples * self.places();
            let from = [after(place(x)?, first * image), place(&patches)?];
            self.patches(device, "pc_layer_patches", from, samples, rows * length)?;
            let product = [rows, self.out[0], length];
            Product { layout: Layout::Transposed, sizes: product, add: false, precision }.run(
                device,
                place(&patches)?,
                place(weight)?,
                place(&places)?,
            )?;
            let to = [place(&places)?, after(place(output)?, first * result)];
            let swapped = [samples, self.places(), self.out[0], 1];
            moves::swap(device, to, swapped, 1.0, add)?;
        }
        cache.put(PATCHES, patches);
        cache.put(PLACES, places);
        Ok(())
    }

    /// `images <- W^T * u`, of every term, and their sum.
    pub(super) fn convolve_back(
        self,
        terms: &[Term<'_>],
        cache: &mut Cache<DeviceTensor>,
        images: &DeviceTensor,
    ) -> Result<()> {
        let device = images.device();
        let (patches, places) = self.room(cache, images);
        let ([image, result], length, layout) = (self.samples(), self.length(), Layout::Plain);
        let (out, per_sample) = (self.out[0], self.places());
        for (first, samples) in self.groups() {
            let rows = samples * per_sample;
            for (index, (weight, u, precision)) in terms.iter().enumerate() {
                let from = [after(place(u)?, first * result), place(&places)?];
                moves::swap(device, from, [samples, out, per_sample, 1], 1.0, false)?;
                let (product, add, precision) = ([rows, length, out], index > 0, *precision);
                Product { layout, sizes: product, add, precision }.run(
                    device,
                    place(&places)?,
                    place(weight)?,
                    place(&patches)?,
                )?;
            }
            let to = [place(&patches)?, after(place(images)?, first * image)];
            self.patches(device, "pc_layer_unpatch", to, samples, samples * image)?;
        }
        cache.put(PATCHES, patches);
        cache.put(PLACES, places);
        Ok(())
    }

    /// The gradient of the weight from images and the results' cotangent, `scale` times, added to
    /// what is there or, where it is fresh, in its place.
    pub(super) fn weight_gradient(
        self,
        [x, cotangent]: [&DeviceTensor; 2],
        cache: &mut Cache<DeviceTensor>,
        scale: f64,
        (gradient, fresh): (&DeviceTensor, bool),
    ) -> Result<()> {
        let device = x.device();
        let (patches, places) = self.room(cache, x);
        let ([image, result], length, layout) = (self.samples(), self.length(), Layout::Plain);
        let (out, per_sample) = (self.out[0], self.places());
        for (first, samples) in self.groups() {
            let rows = samples * per_sample;
            let from = [after(place(x)?, first * image), place(&patches)?];
            self.patches(device, "pc_layer_patches", from, samples, rows * length)?;
            let from = [after(place(cotangent)?, first * result), place(&places)?];
            moves::swap(device, from, [1, samples, out, per_sample], scale, false)?;
            let (product, add) = ([out, length, rows], first > 0 || !fresh);
            Product { layout, sizes: product, add, precision: Precision::F32 }.run(
                device,
                place(&places)?,
                place(&patches)?,
                place(gradient)?,
            )?;
        }
        cache.put(PATCHES, patches);
        cache.put(PLACES, places);
        Ok(())
    }
}

impl Conv2d {
    fn sizes(
        &self,
        parent: &DeviceTensor,
        weight: &DeviceTensor,
        result: &DeviceTensor,
    ) -> Result<Sizes> {
        Sizes::of([parent, weight, result], self.host.stride, self.host.padding)
    }

    /// `output <- W * x`, added to what is there or in its place.
    fn convolve(
        &self,
        weight: &DeviceTensor,
        x: &DeviceTensor,
        cache: &mut Cache<DeviceTensor>,
        to: (&DeviceTensor, bool, Precision),
    ) -> Result<()> {
        self.sizes(x, weight, to.0)?.convolve(weight, x, cache, to)
    }
}

impl Vertex<DeviceTensor> for Conv2d {
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
        self.convolve(weight, at.value(0), cache, (output, false, Precision::F32))?;
        if self.host.bias {
            let places = output.dims().iter().skip(2).product();
            moves::tile(output, at.parameter(1), places, 1.0)?;
        }
        Ok(())
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
            // (W - W_old) * v_ref + (b - b_old), without large numbers.
            let moved = moving::moved(at, 0, cache)?;
            self.convolve(&moved, at.reference(0), cache, (output, false, Precision::F32))?;
            moving::done(0, moved, cache);
            if self.host.bias {
                let moved = moving::moved(at, 1, cache)?;
                moves::tile(output, &moved, output.dims().iter().skip(2).product(), 1.0)?;
                moving::done(1, moved, cache);
            }
            add = true;
        }
        match at.displacement(0) {
            Some(d) => self.convolve(weight, d, cache, (output, add, self.rounds.forward()))?,
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
        let (weight, x) = (at.parameter(0), at.value(0));
        let sizes = self.sizes(x, weight, cotangent)?;
        if let Some(force) = pulled.force(0) {
            let precision = self.rounds.back(at.live());
            sizes.convolve_back(&[(weight, cotangent, precision)], cache, force)?;
        }
        let scale = pulled.scale();
        if let Some((gradient, fresh)) = pulled.gradient_or_fresh(0) {
            sizes.weight_gradient([x, cotangent], cache, scale, (gradient, fresh))?;
        }
        if self.host.bias
            && let Some(gradient) = pulled.gradient(1)
        {
            moves::sums(gradient, cotangent, None, sizes.places(), scale)?;
        }
        Ok(())
    }
}
