//! The released settings of published work: every file is read, its net is built, and it learns.

use std::{fs, path::Path};

use pc_bench::{
    commands::train::{Dataset, Learner, TrainArgs, TrainingPlan},
    data::{Data, Images, Kind, Sequences, Split, Text},
};

/// Made-up data in the form of a set: the files are not here.
fn like(kind: Kind) -> Data {
    let images = |shape: [usize; 3], classes: usize| {
        let features: usize = shape.iter().product();
        let pixels = (0..4 * features).map(|k| (k % 17) as f32 / 16.0).collect();
        let names = (0..classes).map(|class| class.to_string()).collect();
        let part = Images::new(pixels, shape, vec![0, 1, 2, 3], names).unwrap();
        Data::Images(Split { train: part.clone(), test: part })
    };
    match kind {
        Kind::Digits => images([1, 8, 8], 10),
        Kind::Mnist | Kind::FashionMnist => images([1, 28, 28], 10),
        Kind::Cifar10 => images([3, 32, 32], 10),
        Kind::Cifar100 => images([3, 32, 32], 100),
        Kind::Svhn => images([3, 32, 32], 10),
        Kind::TinyImagenet => images([3, 64, 64], 200),
        Kind::Names => {
            let part = Sequences {
                samples: vec![vec![0, 1, 2], vec![2, 1], vec![0], vec![1, 1]],
                labels: vec![0, 1, 0, 1],
                alphabet: vec!['a', 'b', 'c'],
                classes: 2,
                class_names: vec!["x".into(), "y".into()],
            };
            Data::Sequences(Split { train: part.clone(), test: part })
        }
        Kind::Shakespeare => Data::Text(Text::new(&"to be or not ".repeat(60)).split().unwrap()),
    }
}

#[test]
fn every_released_setting_learns_two_batches() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut read = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{}: no source", path.display());
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{}", path.display());
        let flags = TrainArgs { config: Some(path.clone()), ..TrainArgs::default() };
        let released = TrainingPlan::new(&flags).unwrap_or_else(|error| panic!("{error}"));
        // Two samples and two steps: what is tested is that all of it runs.
        let relaxes = released.runs.iter().any(|run| run.schedule.takes_rate());
        let quick =
            TrainArgs { batch: Some(2), steps: relaxes.then_some(2), no_report: true, ..flags };
        let plan = TrainingPlan::new(&quick).unwrap();
        let first = &plan.runs[0];
        let data = Dataset::prepared(
            "made up",
            like(first.data),
            0,
            first.model,
            None,
            &first.details.data,
        )
        .unwrap();
        for settings in &plan.runs {
            let mut learner = Learner::<f32>::new(settings, &data).unwrap();
            let mut batches = data.epoch(2, 0, 0, 0).unwrap();
            for _ in 0..2 {
                let batch = batches.next().expect("two batches").unwrap();
                let energy = learner.learn(&batch).unwrap();
                assert!(energy.is_finite(), "{} by {}", path.display(), settings.schedule);
            }
        }
        read += 1;
    }
    assert!(read >= 95, "{read} files");
}
