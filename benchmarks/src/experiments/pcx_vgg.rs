//! The convolutional nets of PCX's benchmark: what they would take here, and, where all of it is
//! asked for, what they come to.

use super::{
    Context, Experiment, Findings, Goal, Pictures, Published,
    released::{
        BESIDE, BEST, COSINE, LAST, Method, READ, Released, THERE, Timed, beside, config, words,
    },
};
use crate::{
    data::{Images, Kind, Split},
    error::CommandError,
};

const PAPER: &str = "Pinchetti et al. 2024: Benchmarking predictive coding networks - made simple";
const SOURCE: &str = "the paper's table from memory; there it is the best test epoch of each of 7 \
                      seeds, the two worst of them dropped. Reached: within 1 point";
const EPOCH: &str = "epoch, minutes";
const WHOLE: &str = "run, hours";

const fn published(row: &'static str, figure: f64) -> Published {
    Published { row, column: BEST, figure, goal: Goal::AtLeast(figure - 1.0), source: SOURCE }
}

pub(super) const CIFAR10: Experiment = Experiment {
    name: "pcx-vgg5",
    about: "PCX's VGG5 on CIFAR-10: the time of an epoch here; all epochs in a full run",
    paper: PAPER,
    takes: "weeks on one core; it says how long before it begins, and goes on by --resume",
    baseline: None,
    published: &[
        published("VGG5 PC-CE", 88.06),
        published("VGG5 PC-SE", 87.98),
        published("VGG5 PN", 88.42),
        published("VGG5 NN", 88.83),
        published("VGG5 iPC", 85.51),
        published("VGG5 BP-CE", 88.11),
        published("VGG5 BP-SE", 89.43),
    ],
    run: |context| run(context, Pictures::Cifar10, Kind::Cifar10, &[("VGG5", &VGG5_CIFAR10)]),
};

pub(super) const CIFAR100: Experiment = Experiment {
    name: "pcx-cifar100",
    about: "PCX's VGG5 and VGG7 on CIFAR-100: the time of an epoch here; all in a full run",
    paper: PAPER,
    takes: "months on one core; it says how long before it begins, and goes on by --resume",
    baseline: None,
    published: &[
        published("VGG5 PC-CE", 60.00),
        published("VGG5 PC-SE", 54.08),
        published("VGG5 PN", 64.70),
        published("VGG5 NN", 65.46),
        published("VGG5 iPC", 56.07),
        published("VGG5 BP-CE", 60.82),
        published("VGG5 BP-SE", 66.28),
        published("VGG7 PC-CE", 56.80),
        published("VGG7 PC-SE", 37.52),
        published("VGG7 PN", 56.56),
        published("VGG7 NN", 59.97),
        published("VGG7 iPC", 43.99),
        published("VGG7 BP-CE", 59.96),
        published("VGG7 BP-SE", 65.36),
    ],
    run: |context| {
        let nets = [("VGG5", &VGG5_CIFAR100), ("VGG7", &VGG7_CIFAR100)];
        run(context, Pictures::Cifar100, Kind::Cifar100, &nets)
    },
};

type Methods = [Method; 7];

macro_rules! methods {
    ($set:literal) => {
        [
            Method { name: "PC-CE", file: config!("pcx-", $set, "-pc-ce") },
            Method { name: "PC-SE", file: config!("pcx-", $set, "-pc-se") },
            Method { name: "PN", file: config!("pcx-", $set, "-pc-pn") },
            Method { name: "NN", file: config!("pcx-", $set, "-pc-nn") },
            Method { name: "iPC", file: config!("pcx-", $set, "-ipc-se") },
            Method { name: "BP-CE", file: config!("pcx-", $set, "-bp-ce") },
            Method { name: "BP-SE", file: config!("pcx-", $set, "-bp-se") },
        ]
    };
}

const VGG5_CIFAR10: Methods = methods!("vgg5-cifar10");
const VGG5_CIFAR100: Methods = methods!("vgg5-cifar100");
const VGG7_CIFAR100: Methods = methods!("vgg7-cifar100");

/// The pictures of either CIFAR, to learn from and to test on.
const CIFAR: [usize; 2] = [50_000, 10_000];

/// The batch of a quick run.
const QUICK: usize = 4;

fn run(
    context: &mut Context<'_>,
    pictures: Pictures,
    kind: Kind,
    nets: &[(&str, &Methods)],
) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let (full, seed) = (context.full(), context.seed());
    let enlarged = !full && context.has_digits_alone();
    let images = context.pictures(pictures)?;
    let images = if enlarged {
        let Split { train, test } = images;
        Split { train: like_cifar(&train)?, test: like_cifar(&test)? }
    } else {
        images
    };
    let mut runs = Vec::new();
    for (net, methods) in nets {
        for method in *methods {
            let mut run = Released::new(method.file, (kind, seed))?;
            if !full {
                run.run.batch = QUICK;
            }
            runs.push((*net, method.name, run));
        }
    }
    let Some((.., first)) = runs.first() else { return Ok(findings) };
    // All of them take the pictures in one form.
    let data = first.dataset(kind.name(), images, None)?;
    let hours = |timed: &Timed, run: &Released| timed.epoch(CIFAR) * run.epochs as f64 / 3600.0;
    let mut left = 0.0;
    for (net, method, run) in &runs {
        let row = format!("{net} {method}");
        if full {
            if !context.is_done(&row) {
                context.say(format!("{row}: the time of a batch"));
                left += hours(&run.timed(&data, 1)?, run);
            }
            continue;
        }
        findings.part(context, &row, |_| {
            let mut found = Findings::new();
            let timed = run.timed(&data, 1)?;
            found.cell(&row, EPOCH, timed.epoch(CIFAR) / 60.0);
            found.cell(&row, WHOLE, hours(&timed, run));
            if !method.starts_with("BP") {
                beside(&mut found, (net, method), &mut run.learner(&data)?, &data)?;
            }
            Ok(found)
        })?;
        left += findings.value(&row, WHOLE).unwrap_or(f64::NAN);
    }
    let told = format!("a full run takes {} here, by a batch of each", words(3600.0 * left));
    context.tell(&told);
    if full {
        for (net, method, run) in &runs {
            let row = format!("{net} {method}");
            findings.part(context, &row, |context| run.learned(context, (net, method), &data))?;
        }
        findings.note(READ);
        findings.note(THERE);
    } else {
        findings.note(format!("{told}."));
    }
    claims(&mut findings, &runs, full);
    findings.note(BESIDE);
    if !full {
        findings.note(format!(
            "Times are of one batch of {QUICK}, for {} pictures an epoch and the test; batches of \
             128 take somewhat less a picture. Gradients are those of the first weights.",
            CIFAR[0]
        ));
    }
    if enlarged {
        findings.note("The pictures are the digits that are built in, enlarged to 3x32x32.");
    }
    findings.note(
        "CN has no released settings. Their scripts turn a beta of NN that comes to -1 into +1; \
         here it stays at -1.",
    );
    Ok(findings)
}

fn claims(findings: &mut Findings, runs: &[(&str, &str, Released)], full: bool) {
    let values = |column, backprop: bool| -> Vec<f64> {
        let own = runs.iter().filter(|(_, method, _)| backprop || !method.starts_with("BP"));
        own.map(|(net, method, _)| {
            findings.value(&format!("{net} {method}"), column).unwrap_or(f64::NAN)
        })
        .collect()
    };
    // A cosine that is not a number is none of these.
    let agree = values(COSINE, false).iter().all(|cosine| *cosine > 0.0);
    let learn = values(LAST, true).iter().all(|accuracy| *accuracy > 30.0);
    findings.claim("every gradient is within a right angle of backprop's, in every layer", agree);
    if full {
        findings.claim("every method has more than 30 % after its last epoch", learn);
    }
}

/// Pictures of 8x8 as those of CIFAR are: every pixel four times as large, in three channels.
fn like_cifar(images: &Images) -> Result<Images, CommandError> {
    let mut pixels = Vec::with_capacity(images.len() * 3 * 32 * 32);
    for picture in images.pixels.chunks(images.features().max(1)) {
        for _ in 0..3 {
            for row in picture.chunks(8) {
                let wide: Vec<f32> = row.iter().flat_map(|pixel| [*pixel; 4]).collect();
                (0..4).for_each(|_| pixels.extend_from_slice(&wide));
            }
        }
    }
    let names = images.class_names.clone();
    Ok(Images::new(pixels, [3, 32, 32], images.labels.clone(), names)?)
}
