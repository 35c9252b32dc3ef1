//! The fixture: a 6-5-4-3 tanh net in f64, without random numbers, every rule's gradients.

use pc_core::{
    Clamps, Evaluation, Gradients, Graph, ParamId, Relaxation, Schedule, Tensor, VertexId,
    host::{Activation, Element, HostLayers, HostTensor, Init},
};
use serde_json::Value;

use crate::common::{close, tensor};

const FIXTURE: &str = include_str!("golden.json");

/// All numbers of a nested array, in order.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        other => vec![other.as_f64().expect("a number")],
    }
}

struct GoldenNet<F: Element> {
    graph: Graph<HostTensor<F>>,
    clamps: Clamps<HostTensor<F>>,
    layers: Vec<VertexId>,
}

fn net<F: Element>(fixture: &Value, linear: bool) -> GoldenNet<F> {
    let dims: Vec<usize> = numbers(&fixture["dims"]).iter().map(|x| *x as usize).collect();
    let batch = fixture["B"].as_u64().expect("B") as usize;
    let last = dims.len() - 2;
    let mut b = Graph::<HostTensor<F>>::builder();
    let mut layers = vec![b.input("x", &[dims[0]]).expect("x")];
    let mut init = Init::new(0);
    for l in 0..=last {
        let f = if l == last || linear { Activation::Identity } else { Activation::Tanh };
        layers
            .push(b.dense(&format!("l{l}"), layers[l], dims[l + 1], f, &mut init).expect("layer"));
    }
    let mut graph = b.build().expect("graph");
    for l in 0..=last {
        graph
            .set_parameter(
                ParamId::new(2 * l),
                tensor(&[dims[l + 1], dims[l]], &numbers(&fixture["W"][l])),
            )
            .expect("W");
        graph
            .set_parameter(
                ParamId::new(2 * l + 1),
                tensor(&[dims[l + 1]], &numbers(&fixture["b"][l])),
            )
            .expect("b");
    }
    let clamps = Clamps::new()
        .hold(layers[0], tensor(&[batch, dims[0]], &numbers(&fixture["X"])))
        .hold(layers[last + 1], tensor(&[batch, dims[last + 1]], &numbers(&fixture["Y"])));
    GoldenNet { graph, clamps, layers }
}

fn check_gradients<F: Element>(
    what: &str,
    gradients: &Gradients<HostTensor<F>>,
    row: &Value,
    tolerance: f64,
) {
    for l in 0..3 {
        for (offset, key) in [(0, "dW"), (1, "db")] {
            let expected = numbers(&row[key][l]);
            let found = gradients
                .get(ParamId::new(2 * l + offset))
                .map_or_else(|| vec![0.0; expected.len()], Tensor::to_vec);
            close(&format!("{what}, {key}[{l}]"), &found, &expected, tolerance);
        }
    }
}

fn rows<F: Element>(tolerance: f64) {
    let fixture: Value = serde_json::from_str(FIXTURE).expect("json");
    let mut net = net::<F>(&fixture, false);
    let results = &fixture["results"];
    let mut seen = 0;
    let mut check = |name: &str, schedule: Schedule| {
        let mut relaxation = Relaxation::new(&net.graph, schedule).expect(name);
        let outcome = relaxation.run(&mut net.graph, &net.clamps).expect(name);
        check_gradients(
            &format!("{name} by {}", relaxation.evaluation()),
            relaxation.gradients(),
            &results[name],
            tolerance,
        );
        seen += 1;
        if let Some(energy) = results[name]["energy"].as_f64() {
            close(name, &[outcome.energy.total()], &[energy], tolerance);
        }
        if let Some(z) = results[name].get("z") {
            for l in 0..2 {
                let value = relaxation.value(&net.graph, net.layers[l + 1]).expect("value");
                close(&format!("{name}, z[{l}]"), &value.to_vec(), &numbers(&z[l]), tolerance);
            }
        }
    };
    check("backprop", Schedule::backprop());
    for (name, rate, steps) in [
        ("fixed_pred_gamma1_T3", 1.0, 3),
        ("fixed_pred_gamma0.1_T5", 0.1, 5),
        ("fixed_pred_gamma0.1_T20", 0.1, 20),
        ("fixed_pred_gamma0.1_T50", 0.1, 50),
        ("fixed_pred_gamma0.1_T100", 0.1, 100),
        ("fixed_pred_gamma0.1_T200", 0.1, 200),
        ("fixed_pred_gamma0.5_T20", 0.5, 20),
    ] {
        for evaluation in [Evaluation::Simulate, Evaluation::Front, Evaluation::ClosedForm] {
            check(
                name,
                Schedule::fixed_prediction(rate, steps).expect("schedule").evaluated_by(evaluation),
            );
        }
    }
    check("standard_pc_gamma0.1_T0", Schedule::standard(0.1, 1).expect("schedule").unrelaxed());
    check("standard_pc_gamma0.1_T1", Schedule::standard(0.1, 1).expect("schedule"));
    check("standard_pc_gamma0.1_T20", Schedule::standard(0.1, 20).expect("schedule"));
    check("standard_pc_equilibrium", Schedule::standard(0.1, 20_000).expect("schedule"));
    for evaluation in [Evaluation::Simulate, Evaluation::Front] {
        check("zil", Schedule::zil().evaluated_by(evaluation));
    }
    assert_eq!(seen, 1 + 7 * 3 + 4 + 2, "rows checked");
}

#[test]
fn every_row_in_f64() {
    rows::<f64>(1e-12);
}

#[test]
fn every_row_in_f32() {
    rows::<f32>(1e-5);
}

#[test]
fn linear_equilibrium_reaches_the_closed_form() {
    let fixture: Value = serde_json::from_str(FIXTURE).expect("json");
    let mut net = net::<f64>(&fixture, true);
    let expected = fixture["results"]["linear"]["energy"].as_f64().expect("energy");
    for schedule in [Schedule::standard(0.1, 40_000), Schedule::epc(0.1, 4_000)] {
        let schedule = schedule.expect("schedule");
        let mut relaxation = Relaxation::new(&net.graph, schedule.clone()).expect("relaxation");
        let outcome = relaxation.run(&mut net.graph, &net.clamps).expect("run");
        close(schedule.name(), &[outcome.energy.total()], &[expected], 1e-12);
        check_gradients(
            schedule.name(),
            relaxation.gradients(),
            &fixture["results"]["linear_equilibrium"],
            1e-12,
        );
    }
}

#[test]
fn early_stops_are_said() {
    let fixture: Value = serde_json::from_str(FIXTURE).expect("json");
    let mut net = net::<f64>(&fixture, false);
    let mut relaxation =
        Relaxation::new(&net.graph, Schedule::standard(0.1, 20_000).unwrap().until(1e-10).unwrap())
            .unwrap();
    let outcome = relaxation.run(&mut net.graph, &net.clamps).unwrap();
    assert_eq!(outcome.status, pc_core::Status::Converged);
    assert!(outcome.steps < 2_000 && outcome.residual.unwrap() < 1e-9);
    let shallow = Relaxation::new(&net.graph, Schedule::standard(0.1, 1).unwrap())
        .unwrap()
        .run(&mut net.graph, &net.clamps)
        .unwrap();
    assert!(shallow.shallow);
    let epc =
        Relaxation::new(&net.graph, Schedule::epc(0.1, 20_000).unwrap().until(1e-10).unwrap())
            .unwrap()
            .run(&mut net.graph, &net.clamps)
            .unwrap();
    assert_eq!(epc.status, pc_core::Status::Converged);
    // The same minimum, found in fewer steps.
    assert!(epc.steps < outcome.steps);
    assert!((epc.energy.total() - outcome.energy.total()).abs() < 1e-12);
}

/// Leaving the energy unmeasured changes no gradient, keeps the loss, and says so by a NaN.
#[test]
fn an_unmeasured_energy_costs_no_gradient() {
    for schedule in [
        Schedule::backprop(),
        Schedule::fixed_prediction(1.0, 9).unwrap(),
        Schedule::fixed_prediction(0.3, 5).unwrap(),
    ] {
        for evaluation in [Evaluation::Auto, Evaluation::Simulate] {
            let run = |schedule: Schedule| {
                let mut b = Graph::<HostTensor<f64>>::builder();
                let mut init = Init::new(5);
                let x = b.input("x", &[3]).unwrap();
                let h = b.dense("h", x, 4, Activation::Tanh, &mut init).unwrap();
                let g = b.dense("g", h, 4, Activation::Tanh, &mut init).unwrap();
                let y = b.dense("y", g, 2, Activation::Identity, &mut init).unwrap();
                let mut graph = b.build().unwrap();
                let clamps = Clamps::new()
                    .hold(x, tensor(&[1, 3], &[0.3, -0.8, 1.1]))
                    .drive(y, pc_core::SquaredError::new(tensor(&[1, 2], &[1.0, -1.0])));
                let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
                let outcome = relaxation.run(&mut graph, &clamps).unwrap();
                (outcome, relaxation.into_gradients())
            };
            let backprop = schedule.name() == "backprop";
            let schedule =
                if backprop { schedule.clone() } else { schedule.clone().evaluated_by(evaluation) };
            let (measured, mut gradients) = run(schedule.clone());
            let (unmeasured, same) = run(schedule.unmeasured());
            assert!(unmeasured.energy.internal.is_nan() && !measured.energy.internal.is_nan());
            assert_eq!(unmeasured.energy.loss, measured.energy.loss);
            assert_eq!(unmeasured.steps, measured.steps);
            for agreement in gradients.agreement(&same) {
                assert!(agreement.max_difference == 0.0, "{agreement:?}");
            }
            let first = ParamId::new(0);
            let taken = gradients.take(first).unwrap();
            assert_eq!(taken.to_vec(), same.get(first).unwrap().to_vec());
            assert!(gradients.get(first).is_none() && gradients.take(first).is_none());
        }
    }
}
