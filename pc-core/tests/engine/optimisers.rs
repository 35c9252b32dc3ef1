//! Optimisers refuse gradients that are not finite, and then leave all as it was.

use pc_core::{
    ErrorKind, Gradients, ParamId, Result, Tensor,
    host::{Adam, HostTensor, Sgd},
};

use crate::common::tensor;

type T = HostTensor<f64>;

/// A step of an optimiser, and how each is made.
type Moves<'a> = dyn FnMut(&mut [T], &Gradients<T>) -> Result<()> + 'a;
type Make = fn() -> Box<Moves<'static>>;

/// Numbers enough for several blocks of the check, one of them bad.
const LENGTH: usize = 10_000;

fn gradients(parameters: &[T], bad: Option<(usize, f64)>) -> Gradients<T> {
    let mut gradients = Gradients::like(parameters);
    for (index, parameter) in parameters.iter().enumerate() {
        let mut gradient = parameter.clone();
        gradient.fill(0.25);
        if let Some((place, number)) = bad
            && index == 1
        {
            gradient.data_mut()[place] = number;
        }
        gradients.set(ParamId::new(index), gradient);
    }
    gradients
}

/// One good step, then bad ones, then a good one: as if the bad ones had not been.
fn check(name: &str, step: &mut Moves<'_>) -> Vec<T> {
    let mut parameters = vec![tensor(&[3], &[1.0, 2.0, 3.0]), tensor(&[LENGTH], &[0.5; LENGTH])];
    let good = gradients(&parameters, None);
    step(&mut parameters, &good).unwrap();
    let before = parameters.clone();
    for place in [0, 1, 17, 4095, 4096, LENGTH - 1] {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let bad = gradients(&parameters, Some((place, number)));
            let error = step(&mut parameters, &bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFinite, "{name}: {error}");
            assert!(error.to_string().contains("parameter 1"), "{name}: {error}");
            assert_eq!(parameters, before, "{name} moved");
        }
    }
    step(&mut parameters, &good).unwrap();
    parameters
}

#[test]
fn gradients_that_are_not_finite_move_nothing() {
    let optimisers: [(&str, Make); 5] = [
        ("sgd", || {
            let mut sgd = Sgd::new(0.1).unwrap();
            Box::new(move |p, g| sgd.step(p, g))
        }),
        ("sgd with momentum", || {
            let mut sgd = Sgd::new(0.1).unwrap().with_momentum(0.9).unwrap();
            Box::new(move |p, g| sgd.step(p, g))
        }),
        ("sgd with decay", || {
            let mut sgd = Sgd::new(0.1).unwrap().with_decay(0.1).unwrap();
            Box::new(move |p, g| sgd.step(p, g))
        }),
        ("adam", || {
            let mut adam = Adam::new(0.1).unwrap();
            Box::new(move |p, g| adam.step(p, g))
        }),
        ("adamw", || {
            let mut adam = Adam::new(0.1).unwrap().with_decay(0.1).unwrap();
            Box::new(move |p, g| adam.step(p, g))
        }),
    ];
    for (name, make) in optimisers {
        let disturbed = check(name, &mut *make());
        // The state of the optimiser is untouched too: two good steps end at the same place.
        let mut step = make();
        let mut parameters =
            vec![tensor(&[3], &[1.0, 2.0, 3.0]), tensor(&[LENGTH], &[0.5; LENGTH])];
        for _ in 0..2 {
            let gradients = gradients(&parameters, None);
            step(&mut parameters, &gradients).unwrap();
        }
        assert_eq!(disturbed, parameters, "{name}");
    }
}

#[test]
fn a_tensor_is_finite_or_not() {
    for length in [1, 2, 15, 16, 17, 4095, 4096, 4097, LENGTH] {
        // As large as numbers get: no sum of them may overflow.
        let mut tensor = tensor(&[length], &vec![f64::MAX; length]);
        assert!(Tensor::is_finite(&tensor), "{length}");
        for place in [0, length / 2, length - 1] {
            for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let held = std::mem::replace(&mut tensor.data_mut()[place], number);
                assert!(!Tensor::is_finite(&tensor), "{number} at {place} of {length}");
                tensor.data_mut()[place] = held;
            }
        }
    }
}
