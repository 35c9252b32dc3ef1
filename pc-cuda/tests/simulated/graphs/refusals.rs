//! What a graph on a device refuses, and what becomes of a device that fails.

use pc_core::{
    Activation, Clamps, ErrorKind, Graph, HandOver, Interval, Relaxation, Result, Schedule, Tensor,
    backend::{Cache, Inputs, Pulled, Vertex},
    host::{ConvLayer, HostLayers, HostTensor, Init},
};
use pc_cuda::{Device, Precision, Simulation, graph_to_device};

/// A vertex that says nothing of itself.
struct Secret;

impl Vertex<HostTensor<f32>> for Secret {
    fn kind(&self) -> &str {
        "secret"
    }
    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        Ok(parents[0].to_vec())
    }
    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<f32>>,
        _cache: &mut Cache<HostTensor<f32>>,
        output: &mut HostTensor<f32>,
    ) -> Result<()> {
        output.copy_from(at.value(0));
        Ok(())
    }
    fn pull(
        &self,
        _at: &Inputs<'_, HostTensor<f32>>,
        _cache: &mut Cache<HostTensor<f32>>,
        _cotangent: &HostTensor<f32>,
        _pulled: &mut Pulled<'_, HostTensor<f32>>,
    ) -> Result<()> {
        Ok(())
    }
}

#[test]
fn what_has_no_kernels_is_refused_by_name() {
    let device = Device::simulated(&Simulation::new(0)).unwrap();
    let mut b = Graph::<HostTensor<f32>>::builder();
    let x = b.input("x", &[3]).unwrap();
    b.vertex("odd", Box::new(Secret), &[x], &[]).unwrap();
    let error = graph_to_device(&b.build().unwrap(), &device, Precision::F32).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let said = error.to_string();
    assert!(said.contains("odd") && said.contains("secret") && said.contains("Opaque"), "{said}");

    let mut b = Graph::<HostTensor<f32>>::builder();
    let x = b.input("x", &[3]).unwrap();
    let h = b.dense("h", x, 3, Activation::Tanh, &mut Init::new(1)).unwrap();
    b.project(h, Interval::new(0.0, 1.0).unwrap()).unwrap();
    let graph = b.build().unwrap();
    let error = graph_to_device(&graph, &device, Precision::F32).unwrap_err().to_string();
    assert!(error.contains(&graph.addition().unwrap()), "{error}");
}

#[test]
fn weights_go_back_only_where_they_fit() {
    let device = Device::simulated(&Simulation::new(0)).unwrap();
    let dense = |outputs| {
        let mut b = Graph::<HostTensor<f32>>::builder();
        let x = b.input("x", &[3]).unwrap();
        b.dense("y", x, outputs, Activation::Tanh, &mut Init::new(1)).unwrap();
        b.build().unwrap()
    };
    let there = graph_to_device(&dense(2), &device, Precision::F32).unwrap();
    let error = dense(4).copy_parameters_from(&there).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
}

#[test]
fn an_index_that_is_no_row_is_named() {
    let device = Device::simulated(&Simulation::new(0)).unwrap();
    let mut b = Graph::<HostTensor<f32>>::builder();
    let x = b.input("x", &[2]).unwrap();
    let e = b.embedding("e", x, 3, 4, &mut Init::new(1)).unwrap();
    let mut graph = graph_to_device(&b.build().unwrap(), &device, Precision::F32).unwrap();
    for (index, good) in [(2.0, true), (3.0, false), (0.5, false), (-1.0, false)] {
        let clamps = Clamps::new()
            .hold(x, device.tensor(&[1, 2], &[0.0, index]).unwrap())
            .hold(e, device.tensor(&[1, 2, 4], &[0.1; 8]).unwrap());
        let mut rule = Relaxation::new(&graph, Schedule::standard(0.1, 2).unwrap()).unwrap();
        match rule.run(&mut graph, &clamps) {
            Ok(_) => assert!(good, "{index}"),
            Err(error) => {
                let said = error.to_string();
                assert!(!good && said.contains(&format!("index {index} at place 1")), "{said}");
            }
        }
    }
}

/// Wherever the device is lost, it is an error, and never another number; with enough of it left,
/// all goes well.
#[test]
fn a_lost_device_is_an_error_wherever_it_is_lost() {
    let run = |calls: u64| -> Result<f64> {
        let device = Device::simulated(&Simulation::new(0).lost_after(calls))?;
        let mut b = Graph::<HostTensor<f32>>::builder();
        let x = b.input("x", &[1, 4, 4])?;
        let layer = ConvLayer::new(2, 3).activation(Activation::Relu).max_pool(2, 1).flatten();
        let c = b.conv("c", x, &layer, &mut Init::new(3))?;
        let y = b.dense("y", c, 2, Activation::Identity, &mut Init::new(4))?;
        let mut graph = graph_to_device(&b.build()?, &device, Precision::F32)?;
        let clamps = Clamps::new()
            .hold(x, device.tensor(&[1, 1, 4, 4], &[0.5; 16])?)
            .hold(y, device.tensor(&[1, 2], &[1.0, 0.0])?);
        let mut rule = Relaxation::new(&graph, Schedule::standard(0.1, 2)?)?;
        let outcome = rule.run(&mut graph, &clamps)?;
        device.synchronize()?;
        Ok(outcome.energy.total())
    };
    let whole = run(u64::MAX).unwrap();
    assert!(whole.is_finite());
    let needed = (0..2000).find(|calls| match run(*calls) {
        Ok(energy) => {
            assert_eq!(energy.to_bits(), whole.to_bits(), "{calls}");
            true
        }
        // Most errors say that the device is lost; what the engine finds first may say what it
        // lacks for that.
        Err(_) => false,
    });
    assert!(needed.is_some_and(|calls| calls > 50), "{needed:?}");
}
