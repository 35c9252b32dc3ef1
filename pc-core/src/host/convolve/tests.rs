//! Products of blocks beside the definition.

use crate::{Error, Result, host::Init};

use super::*;

type Numbers = HostTensor<f64>;

/// `visit(weight, image, result)` for every multiplication, as indices, straight from the
/// definition.
pub(in crate::host) fn naive(
    p: &Patches,
    out: usize,
    batch: usize,
    mut visit: impl FnMut(usize, usize, usize),
) {
    let [oh, ow] = p.out;
    for sample in 0..batch {
        for (o, c) in (0..out).flat_map(|o| (0..p.channels).map(move |c| (o, c))) {
            for (y, x) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                for place in 0..p.window() {
                    let (ky, kx) = (place / p.kernel[1], place % p.kernel[1]);
                    let row = (y * p.stride + ky).checked_sub(p.padding);
                    let column = (x * p.stride + kx).checked_sub(p.padding);
                    let (Some(row), Some(column)) = (row, column) else { continue };
                    if row < p.height && column < p.width {
                        let plane = (sample * p.channels + c) * p.height + row;
                        visit(
                            (o * p.channels + c) * p.window() + place,
                            plane * p.width + column,
                            ((sample * out + o) * oh + y) * ow + x,
                        );
                    }
                }
            }
        }
    }
}

fn near(found: &[f64], wanted: &[f64], what: &str) {
    assert_eq!(found.len(), wanted.len());
    for (k, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert!((found - wanted).abs() < 1e-10, "{what} at {k}: {found}, not {wanted}");
    }
}

fn agrees(patches: Patches, out: usize, batch: usize) -> Result<()> {
    let mut numbers = Init::new(5);
    let mut random = |shape: &[usize]| numbers.uniform::<f64>(shape, 1.0);
    let x = random(&[batch, patches.channels, patches.height, patches.width])?;
    let u = random(&[batch, out, patches.out[0], patches.out[1]])?;
    let (w, bias) = (random(&[out, patches.rows()])?, random(&[out])?);
    let (x_len, u_len) = (x.data().len(), u.data().len());
    let (mut y, mut force, mut gradient) =
        (vec![0.0; u_len], vec![0.0; x_len], vec![0.0; w.data().len()]);
    naive(&patches, out, batch, |own, image, result| {
        y[result] += w.data()[own] * x.data()[image];
        force[image] += w.data()[own] * u.data()[result];
        gradient[own] += u.data()[result] * x.data()[image];
    });
    // What was there before must not matter, but where it is added to.
    let mut found = vec![f64::NAN; u_len];
    convolve(&patches, w.data(), x.data(), Onto::Zero, &mut found);
    near(&found, &y, "the result");
    convolve(&patches, w.data(), x.data(), Onto::Output, &mut found);
    let twice: Vec<f64> = y.iter().map(|y| 2.0 * y).collect();
    near(&found, &twice, "the result, added");
    convolve(&patches, w.data(), x.data(), Onto::Bias(bias.data()), &mut found);
    let columns = patches.columns();
    let biased = y.iter().enumerate().map(|(k, y)| y + bias.data()[k / columns % out]);
    near(&found, &biased.collect::<Vec<_>>(), "the result with its bias");
    let mut found = vec![f64::NAN; x_len];
    convolve_back(&patches, w.data(), u.data(), &mut found);
    near(&found, &force, "the force");
    let mut cache = Cache::<Numbers>::default();
    let mut found = vec![f64::NAN; gradient.len()];
    weight_gradient(&patches, [&x, &u], &mut cache, 0.5, (&mut found, true));
    let half: Vec<f64> = gradient.iter().map(|g| 0.5 * g).collect();
    near(&found, &half, "the gradient");
    weight_gradient(&patches, [&x, &u], &mut cache, 0.5, (&mut found, false));
    near(&found, &gradient, "the gradient, added");
    Ok(())
}

#[test]
fn products_of_blocks_are_the_convolution() -> Result<()> {
    // Channels, side, kernel, stride, padding; results; samples. Large ones are cut into
    // several blocks of channels, small ones share products.
    let mut cases = vec![
        ([61, 16, 3, 1, 1], 5, 2),
        ([150, 6, 5, 1, 2], 3, 9),
        ([140, 32, 2, 2, 0], 4, 2),
        ([600, 16, 1, 1, 0], 3, 2),
    ];
    for kernel in 1..=4 {
        for (stride, padding) in [(1, 0), (1, 2), (2, 0), (2, 1), (3, 4)] {
            cases.push(([3, 7, kernel, stride, padding], 4, 5));
        }
    }
    let cut = |(sizes, out, batch): ([usize; 5], usize, usize)| -> Result<_> {
        let [channels, side, kernel, stride, padding] = sizes;
        let image = [channels, side, side + 1];
        Ok((Patches::new(image, [kernel, kernel], stride, padding)?, out, batch))
    };
    let cases: Vec<_> = cases.into_iter().map(cut).collect::<Result<_>>()?;
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| Error::misuse(error.to_string()))?;
        pool.install(|| cases.iter().try_for_each(|(p, out, batch)| agrees(*p, *out, *batch)))?;
    }
    // Both ways of cutting are among them.
    let cuts = || cases.iter().map(|(p, out, batch)| Cut::new(p, *out, *batch));
    assert!(cuts().any(|cut| cut.blocks().count() > 1 && cut.samples == 1));
    assert!(cuts().any(|cut| cut.blocks().count() > 1 && cut.samples > 1));
    assert!(cuts().any(|cut| cut.blocks().count() == 1 && cut.samples > 1));
    Ok(())
}
