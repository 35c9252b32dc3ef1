//! Sequences of digits, recalled online and offline.

use pc_core::{
    Activation, Schedule,
    host::{Adam, HostTensor, Init},
};
use pc_models::{
    AsymmetricHopfield, Host, Temporal, TemporalPc,
    hopfield::{Identity, Softmax},
};

use super::{Context, Experiment, Findings, Picture, Pictures};
use crate::{data::Images, error::CommandError};

type T = HostTensor<f32>;

const ONE: &str = "temporal PC, one layer";
const TWO: &str = "temporal PC, two layers";
const CLASSICAL: &str = "asymmetric Hopfield";
const MODERN: &str = "asymmetric Hopfield, softmax";

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "temporal-mnist",
    about: "sequences of 10, 50 and 100 digits, recalled online and from their first picture alone",
    paper: "Tang, Barron and Bogacz 2023: Sequential memory with temporal predictive coding",
    takes: "10 minutes",
    baseline: Some(CLASSICAL),
    // The paper has curves and pictures only.
    published: &[],
    run,
};

const LENGTHS: [usize; 3] = [10, 50, 100];

struct Size {
    latent: usize,
    epochs: usize,
    transitions: usize,
}

impl Size {
    fn of(context: &Context<'_>, images: &Images) -> Self {
        match (context.full(), images.features() > 64) {
            (true, _) => Self { latent: 480, epochs: 400, transitions: 800 },
            (_, true) => Self { latent: 256, epochs: 60, transitions: 400 },
            _ => Self { latent: 256, epochs: 200, transitions: 800 },
        }
    }
}

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let images = context.pictures(Pictures::Mnist)?.train;
    let size = Size::of(context, &images);
    let mut findings = Findings::new();
    for length in LENGTHS {
        findings.part(context, &format!("{length} digits"), |context| {
            one_length(context, &size, &images, length)
        })?;
    }
    findings.note(
        "Pixels are from -1 to 1, and recalled ones are cut to that. Online, the true picture asks \
         for the next; offline, each recalled picture does, from the first one on. Errors are mean \
         squares.",
    );
    findings.note(format!(
        "Two layers: {} latents, tanh, 5 steps of inference at 0.1 a picture, Adam after each, at \
         0.001 and falling to a hundredth of it, {} times through the sequence. One layer: tanh, \
         Adam at 0.001 on all transitions at \
         once, {} times. Softmax: beta = 1 on the products of pictures.",
        size.latent, size.epochs, size.transitions
    ));
    Ok(findings)
}

/// What each model recalls of one sequence.
fn one_length(
    context: &Context<'_>,
    size: &Size,
    images: &Images,
    length: usize,
) -> Result<Findings, CommandError> {
    let frames = sequence(images, length, context.seed())?;
    let mut findings = Findings::new();
    let mut shown = vec![("given", frames[1..].to_vec())];
    let (host, width) = (Host::<f32>::new(), images.features());
    let mut init = Init::new(context.seed());

    let one = Temporal::one_layer(width).activation(Activation::Tanh);
    let mut one = TemporalPc::new(&host, &one, &mut init)?;
    let last = length - 1;
    let stack = |frames: &[T]| -> Result<T, CommandError> {
        let rows = frames.iter().flat_map(|frame| frame.data().iter().copied()).collect();
        Ok(T::new(&[last, width], rows)?)
    };
    let transitions = [stack(&frames[..last])?, stack(&frames[1..])?];
    let mut adam = Adam::new(0.001)?;
    for _ in 0..size.transitions {
        one.learn_sequence(&transitions, |graph, g| adam.step(graph.parameters_mut(), g))?;
    }
    let schedule = Schedule::standard(0.1, 5)?;
    let two = Temporal::two_layers(width, size.latent, schedule).activation(Activation::Tanh);
    let mut two = TemporalPc::new(&host, &two, &mut init)?;
    let mut adam = Adam::new(0.001)?;
    let mut curve = Vec::new();
    for epoch in 0..size.epochs {
        adam.set_rate(0.001 * (1.0 - 0.99 * epoch as f64 / size.epochs as f64))?;
        let energy =
            two.learn_sequence(&frames, |graph, g| adam.step(graph.parameters_mut(), g))?;
        curve.push(((epoch + 1) as f64, energy / length as f64));
        context.say(format!("{length} digits, {} of {} times", epoch + 1, size.epochs));
    }
    findings.curve(
        "energy of a picture after inference, two layers",
        format!("{length} digits"),
        ("times through the sequence", "energy"),
        curve,
    );
    let classical = AsymmetricHopfield::store(&frames, Identity)?;
    let modern = AsymmetricHopfield::store(&frames, Softmax::new(width as f64)?)?;

    let asked = |memory: &AsymmetricHopfield| -> Result<[Vec<T>; 2], CommandError> {
        let online = frames[..last].iter().map(|frame| memory.next(frame));
        Ok([online.collect::<Result<_, _>>()?, memory.recall_offline(&frames[0], last, cut)?])
    };
    let found = [
        (ONE, [one.recall_online(&frames)?, one.recall_offline(&frames[0], last, cut)?]),
        (TWO, [two.recall_online(&frames)?, two.recall_offline(&frames[0], last, cut)?]),
        (CLASSICAL, asked(&classical)?),
        (MODERN, asked(&modern)?),
    ];
    for (row, [mut on, off]) in found {
        on.iter_mut().try_for_each(cut)?;
        findings.cell(row, format!("{length}: online"), error(&on, &frames[1..]));
        findings.cell(row, format!("{length}: offline"), error(&off, &frames[1..]));
        shown.push((row, off));
    }
    let better = |how: &str| {
        let of = |row| findings.value(row, &format!("{length}: {how}"));
        of(TWO) < of(CLASSICAL)
    };
    let (online, offline) = (better("online"), better("offline"));
    let claim = |how| format!("{length} digits, {how}: two layers err less than {CLASSICAL}");
    findings.claim(claim("online"), online);
    if length == 10 {
        // Offline, what training has left of an error grows from picture to picture, and long
        // sequences may be lost.
        findings.claim(claim("offline"), offline);
    }
    let rows = shown
        .iter()
        .map(|(label, frames)| Ok((*label, drawn(images.shape, frames)?)))
        .collect::<Result<Vec<_>, CommandError>>()?;
    findings.gallery(
        format!("{length} digits, recalled offline"),
        "The pictures after the first, at most ten, evenly taken from the sequence.",
        rows,
    );
    Ok(findings)
}

/// Pixels stay between -1 and 1, as those of pictures do.
fn cut(frame: &mut T) -> pc_core::Result<()> {
    frame.data_mut().iter_mut().for_each(|x| *x = x.clamp(-1.0, 1.0));
    Ok(())
}

/// Pictures in an order that the seed draws, each a batch of one.
fn sequence(images: &Images, length: usize, seed: u64) -> Result<Vec<T>, CommandError> {
    if images.len() < length {
        return Err(CommandError::input(format!(
            "there are {} pictures, too few for a sequence of {length}",
            images.len()
        )));
    }
    let keys: HostTensor<f64> = Init::new(seed).uniform(&[images.len()], 1.0)?;
    let mut order: Vec<usize> = (0..images.len()).collect();
    order.sort_by(|a, b| keys.data()[*a].total_cmp(&keys.data()[*b]));
    order[..length]
        .iter()
        .map(|index| {
            let picture = images.picture(*index).unwrap_or_default();
            let pixels = picture.iter().map(|x| 2.0 * x - 1.0).collect();
            Ok(T::new(&[1, images.features()], pixels)?)
        })
        .collect()
}

fn error(found: &[T], wanted: &[T]) -> f64 {
    let pairs = found.iter().zip(wanted).flat_map(|(a, b)| a.data().iter().zip(b.data()));
    let count = wanted.iter().map(|frame| frame.data().len()).sum::<usize>().max(1);
    pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / count as f64
}

fn drawn(shape: [usize; 3], frames: &[T]) -> Result<Vec<Picture>, CommandError> {
    let every = frames.len().div_ceil(10).max(1);
    let picture = |frame: &T| {
        let pixels: Vec<f64> = frame.data().iter().map(|x| 0.5 + 0.5 * f64::from(*x)).collect();
        Picture::new(shape, &pixels)
    };
    frames.iter().step_by(every).map(picture).collect()
}
