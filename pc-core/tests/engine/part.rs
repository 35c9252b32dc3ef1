//! Interventions on a part of a vertex: the same as splitting it, and refused where it has no
//! parts.

use pc_core::{
    Activation, Clamps, Evaluation, Graph, Laplace, Relaxation, Schedule, Start, Tensor, VertexId,
    host::{Dense, HostLayers, HostTensor, Init},
};

use crate::common::{Numbers, close, tensor};

type T = HostTensor<f64>;

/// What is seen, intervened on and free of `h`.
const PARTS: [&[usize]; 3] = [&[0, 1], &[2, 3, 4], &[5]];

/// The columns of a matrix of this width.
fn columns(numbers: &[f64], width: usize, which: &[usize]) -> Vec<f64> {
    numbers.chunks(width).flat_map(|row| which.iter().map(|k| row[*k])).collect()
}

/// Zeros and ones over `[2, 6]`, by column.
fn ones(which: &[usize]) -> T {
    let row: Vec<f64> = (0..6).map(|k| f64::from(u8::from(which.contains(&k)))).collect();
    tensor(&[2, 6], &row.repeat(2))
}

fn schedules() -> Vec<Schedule> {
    let standard = || Schedule::standard(0.1, 15).unwrap();
    let fixed = Schedule::fixed_prediction(0.1, 15).unwrap();
    vec![
        standard(),
        standard().with_momentum(0.5).unwrap(),
        standard().starting(Start::Zero),
        fixed.clone().evaluated_by(Evaluation::Simulate),
        fixed.evaluated_by(Evaluation::Front),
    ]
}

/// `x -> h -> y` with `h` in so many vertices, and the weights into and out of each.
struct Net {
    graph: Graph<T>,
    x: VertexId,
    h: Vec<VertexId>,
    y: VertexId,
}

fn net(parts: &[&[usize]], into: &[f64], out: &[f64]) -> Net {
    let mut init = Init::new(0);
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[4]).unwrap();
    let add = |(k, part): (usize, &&[usize])| {
        b.dense(&format!("h{k}"), x, part.len(), Activation::Tanh, &mut init).unwrap()
    };
    let h: Vec<VertexId> = parts.iter().enumerate().map(add).collect();
    let y = b.layer("y", &h, &Dense::new(3).without_bias(), &mut init).unwrap();
    let mut graph = b.build().unwrap();
    for (k, part) in parts.iter().enumerate() {
        let rows: Vec<f64> = part.iter().flat_map(|r| into[4 * r..4 * r + 4].to_vec()).collect();
        graph.parameters_mut()[2 * k] = tensor(&[part.len(), 4], &rows);
        graph.parameters_mut()[2 * k + 1].fill(0.1);
        let out = tensor(&[3, part.len()], &columns(out, 6, part));
        graph.parameters_mut()[2 * parts.len() + k] = out;
    }
    Net { graph, x, h, y }
}

#[test]
fn it_is_an_intervention_on_a_vertex_of_that_part() {
    for seed in 1..4 {
        let mut numbers = Numbers::new(seed);
        let (into, out) = (numbers.many(6 * 4, 0.7), numbers.many(3 * 6, 0.7));
        let mut whole = net(&[&[0, 1, 2, 3, 4, 5]], &into, &out);
        let mut split = net(&PARTS, &into, &out);
        for schedule in schedules() {
            let mut relaxations =
                [&whole, &split].map(|net| Relaxation::new(&net.graph, schedule.clone()).unwrap());
            // Twice, with other numbers.
            for _ in 0..2 {
                let (x, y) = (numbers.tensor::<f64>(&[2, 4], 1.0), numbers.tensor(&[2, 3], 1.0));
                let value = numbers.many(12, 0.5);
                let part = |k: usize| tensor(&[2, PARTS[k].len()], &columns(&value, 6, PARTS[k]));
                let (mask, cut) = (ones(PARTS[0]), ones(PARTS[1]));
                let clamps = Clamps::new().hold(whole.x, x.clone()).hold(whole.y, y.clone());
                let clamps = clamps.intervene_part(whole.h[0], tensor(&[2, 6], &value), mask, cut);
                let a = relaxations[0].run(&mut whole.graph, &clamps).unwrap();
                let clamps = Clamps::new()
                    .hold(split.x, x)
                    .hold(split.y, y)
                    .hold(split.h[0], part(0))
                    .intervene(split.h[1], part(1));
                let b = relaxations[1].run(&mut split.graph, &clamps).unwrap();

                let name = schedule.name();
                close(name, &[a.energy.total()], &[b.energy.total()], 1e-12);
                let h = relaxations[0].value(&whole.graph, whole.h[0]).unwrap().to_vec();
                let gradients = relaxations[0].gradients();
                let of = |k: usize| gradients.iter().nth(k).unwrap().1.unwrap().to_vec();
                let (into, out) = (of(0), of(2));
                for (k, columns_of) in PARTS.iter().enumerate() {
                    let own = relaxations[1].value(&split.graph, split.h[k]).unwrap().to_vec();
                    close(name, &columns(&h, 6, columns_of), &own, 1e-13);
                    let other = |p: usize| {
                        let gradient = relaxations[1].gradients().iter().nth(p).unwrap().1;
                        gradient.map(Tensor::to_vec)
                    };
                    let rows: Vec<f64> =
                        columns_of.iter().flat_map(|r| into[4 * r..4 * r + 4].to_vec()).collect();
                    let expected = other(2 * k).unwrap_or_else(|| vec![0.0; rows.len()]);
                    close(name, &rows, &expected, 1e-12);
                    // What is intervened on teaches nothing.
                    assert_eq!(k == 1, rows.iter().all(|g| *g == 0.0), "{name}: part {k}");
                    close(name, &columns(&out, 6, columns_of), &other(6 + k).unwrap(), 1e-12);
                }
            }
        }
    }
}

#[test]
fn of_nothing_it_is_a_mask_and_of_all_an_intervention() {
    let mut numbers = Numbers::new(9);
    let (into, out) = (numbers.many(24, 0.7), numbers.many(18, 0.7));
    let mut net = net(&[&[0, 1, 2, 3, 4, 5]], &into, &out);
    let (x, y) = (numbers.tensor::<f64>(&[2, 4], 1.0), numbers.tensor(&[2, 3], 1.0));
    let value = numbers.tensor::<f64>(&[2, 6], 0.5);
    let of = Clamps::new().hold(net.x, x).hold(net.y, y);
    let (none, some, all) = (ones(&[]), ones(&[1, 4]), ones(&[0, 1, 2, 3, 4, 5]));
    let h = net.h[0];
    let pairs = [
        (
            of.clone().intervene_part(h, value.clone(), some.clone(), none.clone()),
            of.clone().mask(h, value.clone(), some),
        ),
        (of.clone().intervene_part(h, value.clone(), none, all), of.clone().intervene(h, value)),
    ];
    for schedule in schedules() {
        for (part, other) in &pairs {
            let mut found = Vec::new();
            for clamps in [part, other] {
                let mut relaxation = Relaxation::new(&net.graph, schedule.clone()).unwrap();
                let outcome = relaxation.run(&mut net.graph, clamps).unwrap();
                let mut all = relaxation.value(&net.graph, h).unwrap().to_vec();
                all.push(outcome.energy.total());
                for (id, gradient) in relaxation.gradients().iter() {
                    let count = net.graph.parameters()[id.index()].data().len();
                    all.extend(gradient.map_or_else(|| vec![0.0; count], Tensor::to_vec));
                }
                found.push(all);
            }
            close(schedule.name(), &found[0], &found[1], 1e-14);
        }
    }
}

#[test]
fn an_error_that_is_cut_is_read_as_zero() {
    let mut numbers = Numbers::new(12);
    let (into, out) = (numbers.many(24, 0.7), numbers.many(18, 0.7));
    let mut net = net(&[&[0, 1, 2, 3, 4, 5]], &into, &out);
    let (z, h) = (net.x, net.h[0]);
    let value = numbers.tensor::<f64>(&[2, 6], 0.5);
    let y = numbers.tensor(&[2, 3], 1.0);
    // `x` is free, so that the prediction that is cut moves.
    let start = numbers.tensor::<f64>(&[2, 4], 1.0);
    let of = || Clamps::new().free(z, start.clone()).hold(net.y, y.clone());
    let cuts = [
        (of().intervene(h, value.clone()), [0, 1, 2, 3, 4, 5].as_slice()),
        (of().intervene_part(h, value, ones(&[0]), ones(&[1, 4])), &[1, 4]),
    ];
    let id = pc_core::PredictionId::new(0);
    for (clamps, cut) in cuts {
        let schedule = Schedule::standard(0.1, 9).unwrap();
        let mut relaxation = Relaxation::new(&net.graph, schedule).unwrap();
        relaxation.run(&mut net.graph, &clamps).unwrap();
        let error = relaxation.error(id).unwrap().to_vec();
        for (k, e) in error.iter().enumerate() {
            assert_eq!(cut.contains(&(k % 6)), *e == 0.0, "{k}: {e}");
        }
    }
}

#[test]
fn what_has_no_parts_or_no_sense_is_refused() {
    let mut numbers = Numbers::new(10);
    let (into, out) = (numbers.many(24, 0.7), numbers.many(18, 0.7));
    let mut plain = net(&[&[0, 1, 2, 3, 4, 5]], &into, &out);
    let (x, y) = (plain.x, plain.y);
    let h = plain.h[0];
    let held = || {
        let mut numbers = Numbers::new(11);
        Clamps::new().hold(x, numbers.tensor(&[2, 4], 1.0)).hold(y, numbers.tensor(&[2, 3], 1.0))
    };
    let mut refused = |schedule: Schedule, mask: T, cut: T, says: &str| {
        let clamps = held().intervene_part(h, tensor(&[2, 6], &[0.2; 12]), mask, cut);
        let mut relaxation = Relaxation::new(&plain.graph, schedule).unwrap();
        let error = relaxation.run(&mut plain.graph, &clamps).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("h0"), "{error}");
    };
    let standard = || Schedule::standard(0.1, 5).unwrap();
    let half = |x: f64| tensor::<f64>(&[2, 6], &[x; 12]);
    refused(standard(), ones(&[0, 1]), ones(&[1, 2]), "both held and intervened on");
    refused(standard(), half(0.5), ones(&[1, 2]), "its mask must be 1");
    refused(standard(), ones(&[1, 2]), half(0.5), "its cut must be 1");
    refused(standard(), tensor(&[2, 5], &[0.0; 10]), ones(&[1, 2]), "its clamp has shape");
    refused(standard(), ones(&[]), half(f64::NAN), "not finite");
    refused(Schedule::epc(0.1, 5).unwrap(), ones(&[0]), ones(&[1]), "partly held");
    refused(Schedule::backprop(), ones(&[0]), ones(&[1]), "relax by fixed prediction");
    refused(Schedule::zil(), ones(&[0]), ones(&[1]), "relax by fixed prediction");

    // An energy is of a whole vertex.
    let mut init = Init::new(0);
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[4]).unwrap();
    let h = b.dense("h", x, 6, Activation::Tanh, &mut init).unwrap();
    b.energy(b.prediction_of(h).unwrap(), Laplace::new(1.0).unwrap(), &[]).unwrap();
    let mut graph = b.build().unwrap();
    let clamps = Clamps::new().hold(x, tensor(&[2, 4], &[0.3; 8])).intervene_part(
        h,
        tensor(&[2, 6], &[0.2; 12]),
        ones(&[]),
        ones(&[3]),
    );
    let mut relaxation = Relaxation::new(&graph, standard()).unwrap();
    let error = relaxation.run(&mut graph, &clamps).unwrap_err().to_string();
    assert!(error.contains("no part can be cut") && error.contains('h'), "{error}");
}
