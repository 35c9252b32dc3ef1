//! Convolutions and pools of any shape against the definitions, by loops.

use pc_core::{
    Tensor,
    host::{AvgPool2d, Conv2d, ConvTranspose2d, HostTensor, HostVertex, Init, MaxPool2d, Probe},
};
use proptest::prelude::*;

use crate::harness::relative;

type Wide = HostTensor<f64>;

/// Calls `visit(place in the result, place in the image or none in the padding, place in the
/// weight)` for every term of the definition.
fn terms(
    image: [usize; 4],
    weight: [usize; 4],
    stride: usize,
    padding: usize,
    mut visit: impl FnMut(usize, Option<usize>, usize),
) -> [usize; 4] {
    let ([batch, channels, height, width], [out, _, kh, kw]) = (image, weight);
    let (oh, ow) =
        ((height + 2 * padding - kh) / stride + 1, (width + 2 * padding - kw) / stride + 1);
    for (s, o, y, x) in places([batch, out, oh, ow]) {
        for (c, i, j) in
            (0..channels).flat_map(|c| (0..kh).flat_map(move |i| (0..kw).map(move |j| (c, i, j))))
        {
            let row = (y * stride + i).checked_sub(padding).filter(|row| *row < height);
            let column = (x * stride + j).checked_sub(padding).filter(|column| *column < width);
            let place = row
                .zip(column)
                .map(|(row, column)| ((s * channels + c) * height + row) * width + column);
            visit(((s * out + o) * oh + y) * ow + x, place, ((o * channels + c) * kh + i) * kw + j);
        }
    }
    [batch, out, oh, ow]
}

fn places([a, b, c, d]: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a).flat_map(move |i| {
        (0..b).flat_map(move |j| (0..c).flat_map(move |k| (0..d).map(move |l| (i, j, k, l))))
    })
}

#[derive(Clone, Debug)]
struct Shapes {
    image: [usize; 4],
    out: usize,
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
    bias: bool,
}

fn shapes() -> impl Strategy<Value = Shapes> {
    let sizes = (
        (1..4_usize, 1..4_usize, 1..9_usize, 1..9_usize),
        1..4_usize,
        [1..6_usize, 1..6_usize],
        (1..4_usize, 0..4_usize),
        any::<bool>(),
    );
    sizes.prop_filter_map(
        "a kernel that fits",
        |((batch, channels, height, width), out, kernel, (stride, padding), bias)| {
            let fits = kernel[0] <= height + 2 * padding && kernel[1] <= width + 2 * padding;
            fits.then_some(Shapes {
                image: [batch, channels, height, width],
                out,
                kernel,
                stride,
                padding,
                bias,
            })
        },
    )
}

fn check_conv(shapes: &Shapes, seed: u64) {
    let Shapes { image, out, kernel, stride, padding, bias } = shapes.clone();
    let mut init = Init::new(seed);
    let weight_shape = [out, image[1], kernel[0], kernel[1]];
    let (x, w, b): (Wide, Wide, Wide) = (
        init.uniform(&image, 1.0).unwrap(),
        init.uniform(&weight_shape, 1.0).unwrap(),
        init.uniform(&[out], 1.0).unwrap(),
    );
    let result = terms(image, weight_shape, stride, padding, |_, _, _| {});
    let plane = result[2] * result[3];
    let mut expected: Vec<f64> = (0..result.iter().product())
        .map(|k| if bias { b.data()[k / plane % out] } else { 0.0 })
        .collect();
    let u: Wide = init.uniform(&result, 1.0).unwrap();
    let (mut force, mut gradient) = (vec![0.0; x.data().len()], vec![0.0; w.data().len()]);
    terms(image, weight_shape, stride, padding, |y, x_place, w_place| {
        if let Some(place) = x_place {
            expected[y] += w.data()[w_place] * x.data()[place];
            force[place] += w.data()[w_place] * u.data()[y];
            gradient[w_place] += x.data()[place] * u.data()[y];
        }
    });
    let parameters = if bias { vec![w, b] } else { vec![w] };
    let mut probe =
        Probe::<Wide>::new(Box::new(Conv2d { stride, padding, bias }), vec![x], parameters)
            .unwrap();
    let near = |what: &str, found: &Wide, expected: &[f64]| {
        let off = relative(found.data(), expected);
        assert!(off <= 1e-12, "{what}: off by {off:e}");
    };
    near("prediction", probe.predict().unwrap(), &expected);
    probe.pull(&u, 1.0).unwrap();
    near("force", probe.force(0).unwrap(), &force);
    near("weight gradient", probe.gradient(0).unwrap(), &gradient);
    if bias {
        let mut sums = vec![0.0; out];
        u.data().iter().enumerate().for_each(|(k, u)| sums[k / plane % out] += u);
        near("bias gradient", probe.gradient(1).unwrap(), &sums);
    }
}

/// A transposed convolution gives back what a convolution of the same windows pulls: for
/// sizes of all sorts, with a bias of its own.
fn check_transpose(shapes: &Shapes, seed: u64) {
    let Shapes { image, out, kernel, stride, padding, bias } = shapes.clone();
    let mut init = Init::new(seed);
    let weight_shape = [out, image[1], kernel[0], kernel[1]];
    let result = terms(image, weight_shape, stride, padding, |_, _, _| {});
    // The larger image is as large as the one that was convolved where the strides say so: else it
    // ends where the last window does, or a little after it.
    let more = |large: usize, small: usize, kernel: usize| {
        (large + 2 * padding) - ((small - 1) * stride + kernel)
    };
    let rest = more(image[2], result[2], kernel[0]);
    if rest != more(image[3], result[3], kernel[1]) {
        return;
    }
    let (x, w, b): (Wide, Wide, Wide) = (
        init.uniform(&result, 1.0).unwrap(),
        init.uniform(&weight_shape, 1.0).unwrap(),
        init.uniform(&[image[1]], 1.0).unwrap(),
    );
    let u: Wide = init.uniform(&image, 1.0).unwrap();
    let plane = image[2] * image[3];
    let mut expected: Vec<f64> = (0..u.data().len())
        .map(|k| if bias { b.data()[k / plane % image[1]] } else { 0.0 })
        .collect();
    let (mut force, mut gradient) = (vec![0.0; x.data().len()], vec![0.0; w.data().len()]);
    terms(image, weight_shape, stride, padding, |small, large, w_place| {
        if let Some(large) = large {
            expected[large] += w.data()[w_place] * x.data()[small];
            force[small] += w.data()[w_place] * u.data()[large];
            gradient[w_place] += x.data()[small] * u.data()[large];
        }
    });
    let parameters = if bias { vec![w, b] } else { vec![w] };
    let vertex = ConvTranspose2d { stride, padding, output_padding: rest, bias };
    let mut probe = Probe::<Wide>::new(Box::new(vertex), vec![x], parameters).unwrap();
    let near = |what: &str, found: &Wide, expected: &[f64]| {
        let off = relative(found.data(), expected);
        assert!(off <= 1e-12, "{what} of {shapes:?}: off by {off:e}");
    };
    near("prediction", probe.predict().unwrap(), &expected);
    probe.pull(&u, 1.0).unwrap();
    near("force", probe.force(0).unwrap(), &force);
    near("weight gradient", probe.gradient(0).unwrap(), &gradient);
    if bias {
        let mut sums = vec![0.0; image[1]];
        u.data().iter().enumerate().for_each(|(k, u)| sums[k / plane % image[1]] += u);
        near("bias gradient", probe.gradient(1).unwrap(), &sums);
    }
}

/// The windows of a pool as (place in the result, places in the image).
fn windows(
    [batch, channels, height, width]: [usize; 4],
    size: usize,
    stride: usize,
) -> Vec<Vec<usize>> {
    let (oh, ow) = ((height - size) / stride + 1, (width - size) / stride + 1);
    let window = |(s, c, y, x): (usize, usize, usize, usize)| {
        let corner = ((s * channels + c) * height + y * stride) * width + x * stride;
        (0..size).flat_map(|i| (0..size).map(move |j| corner + i * width + j)).collect()
    };
    places([batch, channels, oh, ow]).map(window).collect()
}

fn check_pool(
    vertex: HostVertex<f64>,
    windows: &[Vec<usize>],
    x: &Wide,
    weigh: impl Fn(&[f64]) -> Vec<f64>,
    init: &mut Init,
) {
    let mut probe = Probe::<Wide>::new(vertex, vec![x.clone()], Vec::new()).unwrap();
    let step: Wide = init.uniform(x.dims(), 0.3).unwrap();
    let mut moved = x.clone();
    moved.axpy(1.0, &step);
    // Each window's weights on its elements, and with them its result.
    let results = |x: &Wide| -> Vec<(Vec<f64>, f64)> {
        let weighed =
            windows.iter().map(|window| window.iter().map(|k| x.data()[*k]).collect::<Vec<f64>>());
        weighed
            .map(|values| (weigh(&values), values))
            .map(|(w, v)| (w.clone(), w.iter().zip(&v).map(|(w, v)| w * v).sum()))
            .collect()
    };
    let (before, after) = (results(x), results(&moved));
    let predicted = probe.predict().unwrap().clone();
    let expected: Vec<f64> = before.iter().map(|(_, y)| *y).collect();
    assert!(relative(predicted.data(), &expected) <= 1e-12, "prediction");
    probe.displace(0, &step).unwrap();
    let change: Vec<f64> = before.iter().zip(&after).map(|((_, a), (_, b))| b - a).collect();
    assert!(relative(probe.change().unwrap().data(), &change) <= 1e-12, "change");
    let u: Wide = init.uniform(predicted.dims(), 1.0).unwrap();
    probe.pull(&u, 1.0).unwrap();
    let mut force = vec![0.0; x.data().len()];
    for ((window, (weights, _)), u) in windows.iter().zip(&after).zip(u.data()) {
        window.iter().zip(weights).for_each(|(k, w)| force[*k] += w * u);
    }
    assert!(relative(probe.force(0).unwrap().data(), &force) <= 1e-12, "force");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None,
    ..ProptestConfig::default() })]

    #[test]
    fn convolutions_follow_the_definition(shapes in shapes(), seed in any::<u64>()) {
        check_conv(&shapes, seed);
        check_transpose(&shapes, seed);
    }

    // 3x3 windows between as many channels as are made of tiles, and between fewer.
    #[test]
    fn wide_convolutions_follow_the_definition(
        (batch, channels, out) in (1..20_usize, 22..28_usize, 22..28_usize),
        (height, width, padding) in (1..7_usize, 1..7_usize, 0..4_usize),
        (bias, seed) in (any::<bool>(), any::<u64>()),
    ) {
        prop_assume!(height.min(width) + 2 * padding >= 3);
        let (image, kernel) = ([batch, channels, height, width], [3, 3]);
        check_conv(&Shapes { image, out, kernel, stride: 1, padding, bias }, seed);
    }

    #[test]
    fn pools_follow_the_definition(
        image in [1..3_usize, 1..3, 1..9, 1..9],
        size in 1..5_usize,
        stride in 1..4_usize,
        seed in any::<u64>(),
    ) {
        prop_assume!(size <= image[2] && size <= image[3]);
        let mut init = Init::new(seed);
        let x: Wide = init.uniform(&image, 1.0).unwrap();
        let windows = windows(image, size, stride);
        let share = 1.0 / (size * size) as f64;
        check_pool(Box::new(AvgPool2d { size, stride }), &windows, &x,
        |values| vec![share; values.len()], &mut init);
        let first_largest = |values: &[f64]| {
            let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let place = values.iter().position(|x| *x == largest);
            (0..values.len()).map(|k| if Some(k) == place { 1.0 } else { 0.0 }).collect()
        };
        check_pool(Box::new(MaxPool2d { size, stride }), &windows, &x, first_largest, &mut init);
    }
}

/// Enough work for several threads, where there are any: the same numbers, and the same bits every
/// time.
#[test]
fn a_convolution_large_enough_for_threads() {
    let shapes =
        Shapes { image: [9, 3, 16, 16], out: 8, kernel: [5, 5], stride: 1, padding: 2, bias: true };
    for threads in [1, 2, 3, 16] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| check_conv(&shapes, 5));
        pool.install(|| check_transpose(&shapes, 5));
        let bits = || {
            pool.install(|| {
                let mut init = Init::new(3);
                let parameters = vec![
                    init.uniform::<f32>(&[8, 3, 5, 5], 1.0).unwrap(),
                    init.uniform(&[8], 1.0).unwrap(),
                ];
                let x = init.uniform(&[9, 3, 16, 16], 1.0).unwrap();
                let vertex: HostVertex<f32> =
                    Box::new(Conv2d { stride: 1, padding: 2, bias: true });
                let mut probe = Probe::<HostTensor<f32>>::new(vertex, vec![x], parameters).unwrap();
                let u = probe.predict().unwrap().clone();
                probe.pull(&u, 1.0).unwrap();
                [
                    probe.force(0).unwrap().to_vec(),
                    probe.gradient(0).unwrap().to_vec(),
                    probe.gradient(1).unwrap().to_vec(),
                ]
            })
        };
        assert_eq!(bits(), bits(), "{threads} threads");
    }
}
