//! The same layer, with the same draws, on every backend.

use pc_core::{Activation, Clamps, Graph, Relaxation, Result, Schedule, Tensor, host::Init};
use pc_models::{Backend, Dense, Host};

/// Gradients of standard PC on two layers, one with two parents and a second prediction back.
fn gradients<B: Backend>(backend: &B, f: Activation) -> Result<Vec<f64>> {
    let mut init = Init::new(3);
    let mut b = Graph::builder();
    let (x, z) = (b.input("x", &[4])?, b.input("z", &[2])?);
    let h = Dense::new(5).after(f).add(backend, &mut b, "h", &[x, z], &mut init)?;
    let y = Dense::new(3).before(f).without_bias().add(backend, &mut b, "y", &[h], &mut init)?;
    Dense::new(5).predict(backend, &mut b, h, "back", &[y], 0.3, &mut init)?;
    let mut graph = b.build()?;
    let mut numbers = |shape: &[usize]| {
        let drawn: pc_core::host::HostTensor<f64> = init.uniform(shape, 1.0)?;
        backend.tensor(drawn.dims(), drawn.data())
    };
    let clamps = Clamps::new()
        .hold(x, numbers(&[6, 4])?)
        .hold(z, numbers(&[6, 2])?)
        .hold(y, numbers(&[6, 3])?);
    let mut rule = Relaxation::new(&graph, Schedule::standard(0.1, 7)?)?;
    rule.run(&mut graph, &clamps)?;
    Ok(rule
        .gradients()
        .iter()
        .flat_map(|(_, g)| g.map(Tensor::to_vec).unwrap_or_default())
        .collect())
}

fn agrees<B: Backend>(backend: &B, tolerance: f64) {
    for f in [Activation::Identity, Activation::Tanh, Activation::Relu, Activation::Sigmoid] {
        let wanted = gradients(&Host::<f64>::new(), f).unwrap();
        let found = gradients(backend, f).unwrap();
        assert_eq!(found.len(), wanted.len());
        for (a, b) in found.iter().zip(&wanted) {
            assert!((a - b).abs() <= tolerance, "{f:?}: {a} and {b}");
        }
    }
}

#[test]
fn host_in_f32() {
    agrees(&Host::<f32>::new(), 1e-5);
}

#[cfg(feature = "burn")]
#[test]
fn burn() {
    use burn::tensor::{DType, Device};
    agrees(&pc_models::Burn::new(&Device::default(), DType::F64), 1e-12);
    agrees(&pc_models::Burn::new(&Device::default(), DType::F32), 1e-5);
}

#[cfg(feature = "tch")]
#[test]
fn libtorch() {
    agrees(&pc_models::Tch::new(tch::Kind::Double, tch::Device::Cpu), 1e-12);
    agrees(&pc_models::Tch::new(tch::Kind::Float, tch::Device::Cpu), 1e-5);
}

#[test]
fn a_parent_that_is_no_vector_is_named() {
    let mut b = Graph::builder();
    let x = b.input("x", &[2, 2]).unwrap();
    let error = Dense::new(3).add(&Host::<f32>::new(), &mut b, "h", &[x], &mut Init::new(0));
    assert!(error.unwrap_err().to_string().contains("dense layer `h`"));
}
