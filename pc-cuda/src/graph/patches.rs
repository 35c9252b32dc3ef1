//! A convolution's two ways, from images to results and back, and its weight's gradient: patches,
//! and products with them.

use pc_core::{Error, ErrorKind, Result, backend::Cache};

use crate::{
    device::{Address, Family, Layout},
    graph::{
        moves::{self, Product, Turn, after, place},
        moving,
    },
    params::Patches,
    precision::Precision,
    tensor::{DeviceTensor, int},
};

/// The bytes of patches that are made at a time, for each multiprocessor. With fewer a product has
/// fewer tiles than there are multiprocessors.
const AT_A_TIME: usize = 1 << 20;

/// The sizes of one convolution.
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
    multiprocessors: usize,
    /// Whether what is pulled back is always made of bf16 numbers.
    halves: bool,
}

/// The first slot of a cache behind those of [`Room`].
pub(super) const BEHIND: usize = moving::OWN + 4;

/// What patches are made of, and what a product makes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the parent to the result.
    Forward,
    /// From the result to the parent.
    Back,
}

impl Way {
    /// That of a pull.
    pub(super) fn other(self) -> Self {
        match self {
            Way::Forward => Way::Back,
            Way::Back => Way::Forward,
        }
    }
}

/// Room for what a group of samples takes, from a cache.
pub(super) struct Room {
    /// Images with their channels last.
    pub(super) pixels: DeviceTensor,
    patches: DeviceTensor,
    /// What a product makes.
    pub(super) places: DeviceTensor,
    /// A weight with the channels of what patches are made of last.
    weight: DeviceTensor,
}

/// Numbers up to a whole number of vectors of 16 bytes.
fn whole(channels: usize, halves: bool) -> usize {
    channels.next_multiple_of(if halves { 8 } else { 4 })
}

impl Sizes {
    /// Of a convolution's images, its weight and the dimensions of its results (without the batch);
    /// `halves` says whether what is pulled back may always be made of bf16 numbers.
    ///
    /// # Errors
    /// Tensors of other dimensions.
    pub(super) fn of(
        [images, weight]: [&DeviceTensor; 2],
        results: &[usize],
        (stride, padding): (usize, usize),
        halves: bool,
    ) -> Result<Self> {
        let (&[batch, channels, height, width], &[_, rows, columns]) = (images.dims(), results)
        else {
            return Err(Error::new(ErrorKind::Shape, "a convolution takes images"));
        };
        let &[out, _, window_h, window_w] = weight.dims() else {
            return Err(Error::new(ErrorKind::Shape, "a convolution takes windows"));
        };
        Ok(Self {
            batch,
            image: [channels, height, width],
            window: [window_h, window_w],
            out: [out, rows, columns],
            stride,
            padding,
            multiprocessors: images.device().props().multiprocessors,
            halves,
        })
    }

    fn taps(&self) -> usize {
        self.window[0] * self.window[1]
    }

    /// The sizes of what patches are made of, and of what becomes of them.
    fn ends(&self, way: Way) -> [[usize; 3]; 2] {
        match way {
            Way::Forward => [self.image, self.out],
            Way::Back => [self.out, self.image],
        }
    }

    /// Channels, height and width of the result.
    pub(super) fn out(&self) -> [usize; 3] {
        self.out
    }

    /// The numbers of a pixel of the result, as what is pulled back begins with.
    pub(super) fn row(&self, halves: bool) -> usize {
        whole(self.out[0], halves)
    }

    /// The numbers of a sample of the parent, and of the result.
    pub(super) fn samples(&self) -> [usize; 2] {
        [self.image, self.out].map(|sizes| sizes.iter().product())
    }

    /// The most of a number that either way needs.
    fn most(&self, need: impl Fn([[usize; 3]; 2]) -> usize) -> usize {
        need(self.ends(Way::Forward)).max(need(self.ends(Way::Back)))
    }

    /// The words of 4 bytes that the patches of one sample take, whichever way. Predictions and
    /// gradients are of `f32` forward in every precision.
    fn patched(&self) -> usize {
        let patches = |way, halves: bool| {
            let [from, to] = self.ends(way);
            to[1] * to[2] * self.taps() * whole(from[0], halves) / if halves { 2 } else { 1 }
        };
        patches(Way::Forward, false)
            .max(patches(Way::Forward, true))
            .max(patches(Way::Back, self.halves))
    }

    /// The samples whose patches are made at a time: groups of nearly the same size.
    fn group(&self) -> usize {
        let room = AT_A_TIME * self.multiprocessors;
        let most = (room / (4 * self.patched()).max(1)).clamp(1, self.batch.max(1));
        self.batch.div_ceil(self.batch.div_ceil(most).max(1)).max(1)
    }

    /// The runs of samples, as (first, number).
    pub(super) fn groups(self) -> impl Iterator<Item = (usize, usize)> {
        let group = self.group();
        (0..self.batch).step_by(group).map(move |first| (first, group.min(self.batch - first)))
    }

    /// Of one size for both ways and all precisions, so that nothing is ever made twice.
    pub(super) fn room(&self, cache: &mut Cache<DeviceTensor>, like: &DeviceTensor) -> Room {
        let group = self.group();
        let pixels = self.most(|[from, _]| from[1] * from[2] * whole(from[0], true));
        let places = self.most(|[_, to]| to.iter().product());
        let weight = self.most(|[from, to]| to[0] * self.taps() * whole(from[0], true));
        let mut take = |slot, count| cache.take(moving::OWN + slot, &[count], like);
        Room {
            pixels: take(0, group * pixels),
            patches: take(1, group * self.patched()),
            places: take(2, group * places),
            weight: take(3, weight),
        }
    }

    /// Images to their pixels.
    pub(super) fn turn(
        &self,
        way: Way,
        images: Address,
        (samples, halves): (usize, bool),
        room: &Room,
    ) -> Result<()> {
        let [[channels, height, width], _] = self.ends(way);
        let turn = Turn::new(samples, channels, height * width);
        let rows = [height * width, whole(channels, halves)];
        Turn { rows, halves, ..turn }.run(room.pixels.device(), images, place(&room.pixels)?)
    }

    /// Pixels to patches.
    fn patch(&self, way: Way, (samples, halves): (usize, bool), room: &Room) -> Result<()> {
        let [[channels, height, width], [_, rows, columns]] = self.ends(way);
        let params = Patches {
            input: place(&room.pixels)?,
            out: place(&room.patches)?,
            images: int(samples),
            height: int(height),
            width: int(width),
            vectors: int(whole(channels, halves) / whole(1, halves)),
            rows: int(rows),
            columns: int(columns),
            window_h: int(self.window[0]),
            window_w: int(self.window[1]),
            stride: int(self.stride),
            padding: int(self.padding),
            back: i32::from(way == Way::Back),
            unused: 0,
        };
        let kernel = (Family::Layers, "pc_layer_patches");
        moves::warps(room.pixels.device(), kernel, samples * rows * columns, &params)
    }

    /// Makes a weight the operand of products this way.
    pub(super) fn weigh(
        &self,
        way: Way,
        weight: &DeviceTensor,
        halves: bool,
        room: &Room,
    ) -> Result<()> {
        let [[channels, ..], [out, ..]] = self.ends(way);
        let taps = self.taps();
        let turn = match way {
            Way::Forward => Turn::new(out, channels, taps),
            Way::Back => Turn::new(1, channels, out * taps),
        };
        let row = if way == Way::Forward { taps } else { out * taps };
        let turn = Turn { rows: [row, whole(channels, halves)], halves, ..turn };
        turn.run(weight.device(), place(weight)?, place(&room.weight)?)
    }

    /// The product of the weight and the patches of so many samples' pixels, channels last: added
    /// to what is there or in its place.
    pub(super) fn multiply(
        &self,
        way: Way,
        samples: usize,
        to: Address,
        (add, precision): (bool, Precision),
        room: &Room,
    ) -> Result<()> {
        let halves = precision == Precision::Bf16;
        let [[channels, ..], [out, rows, columns]] = self.ends(way);
        self.patch(way, (samples, halves), room)?;
        let sizes = [samples * rows * columns, out, self.taps() * whole(channels, halves)];
        Product { layout: Layout::Transposed, sizes, add, precision, halves }.run(
            room.patches.device(),
            place(&room.patches)?,
            place(&room.weight)?,
            to,
        )
    }

    /// `to <- W * from`, or its transpose: added to what is there or in its place. The pixels of so
    /// many samples from the first on are what `pixels` leaves in the room.
    pub(super) fn products_of(
        &self,
        way: Way,
        [weight, to]: [&DeviceTensor; 2],
        (add, precision): (bool, Precision),
        room: &Room,
        pixels: impl Fn(usize, usize) -> Result<()>,
    ) -> Result<()> {
        let [_, [out, rows, columns]] = self.ends(way);
        self.weigh(way, weight, precision == Precision::Bf16, room)?;
        for (first, samples) in self.groups() {
            pixels(first, samples)?;
            self.multiply(way, samples, place(&room.places)?, (false, precision), room)?;
            let turn = Turn { add, ..Turn::new(samples, rows * columns, out) };
            let to = after(place(to)?, first * out * rows * columns);
            turn.run(weight.device(), place(&room.places)?, to)?;
        }
        Ok(())
    }

    /// The same of images.
    pub(super) fn products(
        &self,
        way: Way,
        [weight, from, to]: [&DeviceTensor; 3],
        (add, precision): (bool, Precision),
        room: &Room,
    ) -> Result<()> {
        let before: usize = self.ends(way)[0].iter().product();
        self.products_of(way, [weight, to], (add, precision), room, |first, samples| {
            let images = after(place(from)?, first * before);
            self.turn(way, images, (samples, precision == Precision::Bf16), room)
        })
    }

    /// `gradient <- scale * sum of cotangents with the patches of x`, added to what is there or in
    /// its place. The cotangents of so many samples from the first on are what `cotangents` leaves
    /// among the places, channels first of all.
    pub(super) fn gradient(
        &self,
        [x, gradient]: [&DeviceTensor; 2],
        (add, scale): (bool, f64),
        room: &Room,
        cotangents: impl Fn(usize, usize) -> Result<()>,
    ) -> Result<()> {
        let (device, taps) = (x.device(), self.taps());
        let ([image, _], [channels, ..]) = (self.samples(), self.image);
        let [out, rows, columns] = self.out;
        let pixel = whole(channels, false);
        for (first, samples) in self.groups() {
            cotangents(first, samples)?;
            let images = after(place(x)?, first * image);
            self.turn(Way::Forward, images, (samples, false), room)?;
            self.patch(Way::Forward, (samples, false), room)?;
            let sizes = [out, taps * pixel, samples * rows * columns];
            let (layout, precision) = (Layout::Plain, Precision::F32);
            Product { layout, sizes, add: first > 0, precision, halves: false }.run(
                device,
                place(&room.places)?,
                place(&room.patches)?,
                place(&room.weight)?,
            )?;
        }
        Turn { rows: [pixel, taps], scale, add, ..Turn::new(out, taps, channels) }.run(
            device,
            place(&room.weight)?,
            place(gradient)?,
        )
    }
}

impl Room {
    pub(super) fn back_to(self, cache: &mut Cache<DeviceTensor>) {
        let Self { pixels, patches, places, weight } = self;
        for (slot, tensor) in [pixels, patches, places, weight].into_iter().enumerate() {
            cache.put(moving::OWN + slot, tensor);
        }
    }
}
