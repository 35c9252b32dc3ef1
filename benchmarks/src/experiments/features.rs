//! Memories in a feature space: pixels against the embeddings of a contrastive encoder.

use rand::RngExt;

use pc_core::{
    Activation, Clamps, Graph, Relaxation, Schedule, Tensor,
    host::{Adam, HostTensor, Init},
};
use pc_models::{
    Dense, FeatureMemory, Host,
    hopfield::{Cosine, Euclidean, Manhattan, Max, Memory},
};

use super::{
    Context, Experiment, Findings, Pictures,
    stored::{Set, below, masked, noisy, rows, squared_errors},
};
use crate::{
    data::{Batches, seeded},
    error::CommandError,
};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "features",
    about: "recall of corrupted pictures compared as pixels, and as embeddings of a contrastive \
            encoder",
    paper: "Salvatori, Millidge, Song, Bogacz and Lukasiewicz 2023, Associative Memories in the \
            Feature Space",
    takes: "20 minutes",
    baseline: Some("pixels, Euclidean"),
    // Their table is of pretrained encoders on larger pictures.
    published: &[],
    run,
};

/// `tau` of the contrastive loss.
const TEMPERATURE: f64 = 0.2;

/// The first random stream of views; epochs and noise have those from 0 up.
const VIEWS: u64 = 1 << 62;

type Rows = HostTensor<f32>;

/// The contrastive loss of SimCLR over pairs (rows `k` and `k + n` of `2 n` embeddings), `-1/(2 n)
/// sum_i log softmax_j(u_i . u_j / tau)` at the partner of `i`, with `u` of length 1 and `j` not
/// `i`. It writes the drive `-dL/dz`.
fn contrast(z: &Rows, drive: &mut Rows) -> pc_core::Result<f64> {
    let (count, width) = (z.dims()[0], z.dims()[1]);
    let numbers = z.to_vec();
    let norm = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-9);
    let unit: Vec<Vec<f64>> =
        numbers.chunks(width).map(|row| row.iter().map(|x| x / norm(row)).collect()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    // What each u receives, times count times tau.
    let mut pulls = vec![vec![0.0; width]; count];
    let mut loss = 0.0;
    for i in 0..count {
        let partner = (i + count / 2) % count;
        let scores: Vec<f64> =
            unit.iter().map(|other| dot(&unit[i], other) / TEMPERATURE).collect();
        let others = || (0..count).filter(|j| *j != i);
        let largest = others().map(|j| scores[j]).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = others().map(|j| (scores[j] - largest).exp()).sum();
        loss += largest + sum.ln() - scores[partner];
        for j in others() {
            let slope = (scores[j] - largest).exp() / sum - if j == partner { 1.0 } else { 0.0 };
            for k in 0..width {
                pulls[i][k] += slope * unit[j][k];
                pulls[j][k] += slope * unit[i][k];
            }
        }
    }
    let scale = 1.0 / (count as f64 * TEMPERATURE);
    let mut drives = Vec::with_capacity(numbers.len());
    for ((row, u), pull) in numbers.chunks(width).zip(&unit).zip(&pulls) {
        let (along, length) = (dot(u, pull), norm(row));
        drives.extend(pull.iter().zip(u).map(|(g, u)| -scale * (g - along * u) / length));
    }
    drive.assign(&drives);
    Ok(loss / count as f64)
}

/// Ways to spoil a picture, by their names.
const WAYS: [&str; 7] = [
    "as it is",
    "noise 0.2",
    "noise 0.5",
    "lower half black",
    "moved by 1",
    "moved by 2",
    "moved by 1, noise 0.2",
];

/// By how many pixels a picture of this set is moved for each one of the digits' eight.
fn step_of(set: &Set) -> isize {
    (set.images.train.shape[1] / 8).max(1) as isize
}

/// Pictures moved by whole pixels, by row its own; black where nothing was.
fn moved(set: &Set, pictures: &Rows, by: impl Fn(usize) -> (isize, isize)) -> Rows {
    let [channels, height, width] = set.images.train.shape;
    let mut to = pictures.clone();
    let pixels = set.pixels();
    for (row, (to, from)) in
        to.data_mut().chunks_mut(pixels).zip(pictures.data().chunks(pixels)).enumerate()
    {
        let (down, right) = by(row);
        for (place, x) in to.iter_mut().enumerate() {
            let (channel, y, z) = (place / (height * width), place / width % height, place % width);
            let (y, z) = (y.checked_add_signed(-down), z.checked_add_signed(-right));
            *x = match (y, z) {
                (Some(y), Some(z)) if y < height && z < width && channel < channels => {
                    from[channel * height * width + y * width + z]
                }
                _ => 0.0,
            };
        }
    }
    to
}

/// One of four directions, in turn.
fn towards(by: isize) -> impl Fn(usize) -> (isize, isize) {
    move |row| [(by, 0), (0, by), (-by, 0), (0, -by)][row % 4]
}

fn spoiled(set: &Set, way: &str, pictures: &Rows, seed: u64) -> Result<Rows, CommandError> {
    let step = step_of(set);
    let count = pictures.dims()[0];
    Ok(match way {
        "noise 0.2" => noisy(pictures, 0.2, seed),
        "noise 0.5" => noisy(pictures, 0.5, seed),
        "lower half black" => masked(pictures, &set.upper(count, 0.5)?),
        "moved by 1" => moved(set, pictures, towards(step)),
        "moved by 2" => moved(set, pictures, towards(2 * step)),
        "moved by 1, noise 0.2" => noisy(&moved(set, pictures, towards(step)), 0.2, seed),
        _ => pictures.clone(),
    })
}

/// A view of training pictures that the encoder should know them by: moved, with noise, and with
/// one half black or not.
fn view(
    context: &Context<'_>,
    set: &Set,
    pictures: &Rows,
    stream: u64,
) -> Result<Rows, CommandError> {
    let mut rng = seeded(context.seed(), VIEWS + stream);
    let most = 2 * step_of(set) as i64;
    let mut side = || rng.random_range(-most..=most) as isize;
    let ways: Vec<_> = (0..pictures.dims()[0]).map(|_| (side(), side())).collect();
    let mut seen = noisy(&moved(set, pictures, |row| ways[row]), 0.2, context.seed() ^ stream);
    let upper = set.upper(1, 0.5)?;
    for picture in seen.data_mut().chunks_mut(set.pixels()) {
        if rng.random_range(0..4) == 0 {
            picture.iter_mut().zip(upper.data()).for_each(|(x, keep)| *x *= keep);
        }
    }
    Ok(seen)
}

/// The encoder: two layers, trained by backprop on pairs of views.
fn encoder(
    context: &Context<'_>,
    set: &Set,
) -> Result<FeatureMemory<HostTensor<f32>>, CommandError> {
    let host = Host::<f32>::new();
    let mut init = Init::new(context.seed());
    let mut b = Graph::builder();
    let image = b.input("image", &[set.pixels()])?;
    let hidden = Dense::new(context.by_size(256, 1024)).after(Activation::Relu);
    let hidden = hidden.add(&host, &mut b, "hidden", &[image], &mut init)?;
    let code =
        Dense::new(context.by_size(64, 128)).add(&host, &mut b, "code", &[hidden], &mut init)?;
    let mut graph = b.build()?;
    let mut backprop = Relaxation::new(&graph, Schedule::backprop())?;
    let mut adam = Adam::new(1e-3)?;
    let batches = context.by_size(if set.pixels() > 64 { 400 } else { 800 }, 5000);
    let (mut step, mut epoch) = (0_u64, 0);
    while step < batches {
        let train = &set.images.train;
        for batch in Batches::new(train.len(), 64, context.seed(), 1 + epoch)? {
            let (pictures, _) = rows(train, &batch)?;
            let own = |which: u64| view(context, set, &pictures, 2 * step + which);
            let views = [own(0)?, own(1)?];
            let pairs = [views[0].data(), views[1].data()].concat();
            let pairs = HostTensor::new(&[2 * batch.len(), set.pixels()], pairs)?;
            let clamps = Clamps::new().hold(image, pairs).drive(code, contrast);
            backprop.train(&mut graph, &clamps, |graph, gradients| {
                adam.step(graph.parameters_mut(), gradients)
            })?;
            step += 1;
            if step == batches {
                break;
            }
        }
        context.say(format!("encoder: batch {step} of {batches}"));
        epoch += 1;
    }
    Ok(FeatureMemory::new(graph, image, code)?)
}

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let set = Set::read(context, Pictures::Mnist)?;
    let name = set.name;
    let stored = context.by_size(100, 1000).min(set.images.test.len());
    let mut all = Findings::new();
    all.part(context, "recall", |context| {
        let mut memory = encoder(context, &set)?;
        // Pictures that the encoder has not been trained on.
        let places: Vec<usize> = Batches::new(set.images.test.len(), stored, context.seed(), 0)?
            .next()
            .unwrap_or_default();
        let (pictures, _) = rows(&set.images.test, &places)?;
        let mut found = Findings::new();
        for way in WAYS {
            let queries = spoiled(&set, way, &pictures, context.seed())?;
            let mut note = |row: &str, recalled: &Rows| {
                let percent = below(&squared_errors(recalled, &pictures), 1e-9);
                found.cell(row, format!("{way} (%)"), percent);
            };
            let pixels = Memory::new(&pictures)?.separation(Max);
            note("pixels, Euclidean", &pixels.clone().similarity(Euclidean).recall(&queries)?);
            note("pixels, Manhattan", &pixels.clone().similarity(Manhattan).recall(&queries)?);
            note("pixels, cosine", &pixels.similarity(Cosine).recall(&queries)?);
            memory.store(&pictures, |keys| keys.similarity(Cosine).separation(Max))?;
            let recalled = memory.recall(&queries)?;
            note("features, cosine", &recalled);
            memory.store(&pictures, |keys| keys.similarity(Euclidean).separation(Max))?;
            note("features, Euclidean", &memory.recall(&queries)?);
            found.gallery(
                format!("{way}: by features"),
                "the first eight",
                vec![
                    ("stored", set.gallery(&pictures, 8)?),
                    ("given", set.gallery(&queries, 8)?),
                    ("recalled", set.gallery(&recalled, 8)?),
                ],
            );
        }
        Ok(found)
    })?;
    let figure = |row: &str| all.value(row, "moved by 1 (%)").unwrap_or(f64::NAN);
    let holds = figure("features, cosine") > figure("pixels, Euclidean");
    all.claim("features recall more moved pictures than pixels", holds);
    all.note(format!(
        "{stored} pictures of {name} are stored, none of which the encoder has seen; recalled is \
         the very picture that was stored (separation max)."
    ));
    all.note("Moved by 1 is an eighth of a picture's height, in one of four directions.");
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contrastive_drive_is_minus_the_slope() {
        let mut init = Init::new(3);
        let z: Rows = init.uniform(&[6, 3], 1.0).unwrap();
        let mut drive = z.clone();
        contrast(&z, &mut drive).unwrap();
        let mut other = z.clone();
        for k in 0..18 {
            let mut at = |by: f32| {
                other.data_mut()[k] = z.data()[k] + by;
                let loss = contrast(&other, &mut z.clone()).unwrap();
                let exact = f64::from(other.data()[k]);
                other.data_mut()[k] = z.data()[k];
                (loss, exact)
            };
            let ((up, high), (down, low)) = (at(1e-3), at(-1e-3));
            let slope = (up - down) / (high - low);
            assert!((f64::from(drive.data()[k]) + slope).abs() < 1e-5, "{k}: {slope}");
        }
    }
}
