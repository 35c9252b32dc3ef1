//! Tiles beside the definition.

use crate::{
    Error, Result,
    host::{
        Element, HostTensor, Init,
        convolve::{Onto, tests::naive},
        im2col::Patches,
    },
    vertex::Cache,
};

use super::{tile::fits, *};

fn near<F: Element>(found: &[F], wanted: &[f64], within: f64, what: &str) {
    assert_eq!(found.len(), wanted.len());
    let scale = wanted.iter().fold(1.0_f64, |most, x| most.max(x.abs()));
    for (k, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let error = (found.value() - wanted).abs();
        assert!(error < within * scale, "{what} at {k}: {found}, not {wanted}");
    }
}

fn agrees<F: Element>(patches: Patches, out: usize, batch: usize, within: f64) -> Result<()> {
    let mut numbers = Init::new(5);
    let mut random = |shape: &[usize]| numbers.uniform::<F>(shape, 1.0);
    let x = random(&[batch, patches.channels, patches.height, patches.width])?;
    let u = random(&[batch, out, patches.out[0], patches.out[1]])?;
    let (w, bias) = (random(&[out, patches.channels, 3, 3])?, random(&[out])?);
    let (mut y, mut force) = (vec![0.0; u.data().len()], vec![0.0; x.data().len()]);
    naive(&patches, out, batch, |own, image, result| {
        y[result] += w.data()[own].value() * x.data()[image].value();
        force[image] += w.data()[own].value() * u.data()[result].value();
    });
    let mut cache = Cache::default();
    transform(&w, &patches, Way::Forward, &mut cache, 0);
    transform(&w, &patches, Way::Back, &mut cache, 1);
    // What was there before must not matter, but where it is added to.
    let mut found = u.clone();
    found.data_mut().fill(F::nan());
    let mut run = |onto, wanted: &[f64], what| -> Result<()> {
        convolve(&patches, Way::Forward, cache.get(0)?, &x, onto, &mut found);
        near(found.data(), wanted, within, what);
        Ok(())
    };
    run(Onto::Zero, &y, "the result")?;
    let twice: Vec<f64> = y.iter().map(|y| 2.0 * y).collect();
    run(Onto::Output, &twice, "the result, added")?;
    let columns = patches.columns();
    let biased = y.iter().enumerate().map(|(k, y)| y + bias.data()[k / columns % out].value());
    run(Onto::Bias(bias.data()), &biased.collect::<Vec<_>>(), "the result with its bias")?;
    let mut found = x.clone();
    found.data_mut().fill(F::nan());
    convolve(&patches, Way::Back, cache.get(1)?, &u, Onto::Zero, &mut found);
    near(found.data(), &force, within, "the force");
    Ok(())
}

#[test]
fn tiles_are_the_convolution() -> Result<()> {
    // Channels, height, width, padding; results; samples. Odd sides have half tiles, many channels
    // several blocks, many samples several groups, the last of them smaller.
    let cases = [
        ([1, 1, 1, 1], 1, 1),
        ([3, 3, 3, 0], 2, 1),
        ([2, 4, 5, 0], 3, 3),
        ([3, 7, 6, 1], 4, 5),
        ([5, 6, 9, 2], 100, 21),
        ([7, 9, 130, 1], 3, 2),
        ([97, 8, 8, 1], 5, 18),
        ([130, 5, 4, 1], 17, 16),
    ];
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| Error::misuse(error.to_string()))?;
        pool.install(|| {
            cases.iter().try_for_each(|([channels, height, width, padding], out, batch)| {
                let patches = Patches::new([*channels, *height, *width], [3, 3], 1, *padding)?;
                assert!(fits(&patches));
                agrees::<f64>(patches, *out, *batch, 1e-13)?;
                agrees::<f32>(patches, *out, *batch, 2e-6)
            })
        })?;
    }
    Ok(())
}

/// In f32 the error of tiles beside that of a direct sum, over results of a wide convolution: the
/// tiles' sums are shorter, their transforms add.
#[test]
fn tiles_have_the_digits_of_a_direct_sum() -> Result<()> {
    let (patches, out, batch) = (Patches::new([256, 8, 8], [3, 3], 1, 1)?, 16, 2);
    let mut numbers = Init::new(9);
    let x = numbers.uniform::<f32>(&[batch, 256, 8, 8], 1.0)?;
    let w = numbers.uniform::<f32>(&[out, 256, 3, 3], 1.0)?;
    let mut wanted = vec![0.0; batch * out * 64];
    naive(&patches, out, batch, |own, image, result| {
        wanted[result] += f64::from(w.data()[own]) * f64::from(x.data()[image]);
    });
    let error = |found: &[f32]| {
        let all = found.iter().zip(&wanted).map(|(a, b)| (f64::from(*a) - b).powi(2));
        (all.sum::<f64>() / wanted.iter().map(|b| b * b).sum::<f64>()).sqrt()
    };
    let mut cache = Cache::default();
    let mut tiles = HostTensor::<f32>::new(&[batch, out, 8, 8], vec![0.0; batch * out * 64])?;
    let mut direct = tiles.clone();
    transform(&w, &patches, Way::Forward, &mut cache, 0);
    convolve(&patches, Way::Forward, cache.get(0)?, &x, Onto::Zero, &mut tiles);
    let (w, x) = (w.data(), x.data());
    crate::host::convolve::convolve(&patches, w, x, Onto::Zero, direct.data_mut());
    let (tiles, direct) = (error(tiles.data()), error(direct.data()));
    assert!(direct > 0.0 && tiles < 3.0 * direct, "tiles {tiles:e}, a direct sum {direct:e}");
    assert!(tiles < 1e-6, "{tiles:e}");
    Ok(())
}
