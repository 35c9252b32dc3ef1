//! Optimisers refuse gradients that are not finite, and then leave all as it was.

use pc_core::{
    Clipping, ErrorKind, Gradients, ParamId, Result, Tensor,
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

/// Three parameters, of which the second has no gradient; the norm is 13.
fn three() -> Gradients<T> {
    let mut gradients = Gradients::empty(3);
    gradients.set(ParamId::new(0), tensor(&[2], &[3.0, -4.0]));
    gradients.set(ParamId::new(2), tensor(&[1, 1], &[12.0]));
    gradients
}

fn numbers(gradients: &Gradients<T>) -> Vec<Option<Vec<f64>>> {
    gradients.iter().map(|(_, gradient)| gradient.map(Tensor::to_vec)).collect()
}

#[test]
fn gradients_are_clipped_by_their_norm_or_their_values() {
    let mut gradients = three();
    assert_eq!(gradients.clip(Clipping::norm(13.0).unwrap()).unwrap(), 13.0);
    assert_eq!(numbers(&gradients), numbers(&three()), "within the bound nothing changes");
    assert_eq!(gradients.clip(Clipping::norm(6.5).unwrap()).unwrap(), 13.0);
    assert_eq!(numbers(&gradients), [Some(vec![1.5, -2.0]), None, Some(vec![6.0])]);
    let mut gradients = three();
    assert_eq!(gradients.clip(Clipping::value(3.5).unwrap()).unwrap(), 13.0);
    assert_eq!(numbers(&gradients), [Some(vec![3.0, -3.5]), None, Some(vec![3.5])]);
    for bad in [f64::NAN, f64::INFINITY] {
        for clipping in [Clipping::norm(1.0).unwrap(), Clipping::value(1.0).unwrap()] {
            let mut gradients = three();
            gradients.set(ParamId::new(1), tensor(&[1], &[bad]));
            let error = gradients.clip(clipping).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFinite);
            assert_eq!(gradients.get(ParamId::new(0)).unwrap().data(), [3.0, -4.0]);
        }
    }
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Clipping::norm(bad).is_err() && Clipping::value(bad).is_err());
    }
}

#[test]
fn optimisers_clip_for_themselves() {
    let start = || vec![tensor(&[2], &[1.0, 1.0]), tensor(&[1], &[5.0]), tensor(&[1, 1], &[1.0])];
    let gradients = three();
    for (clipping, moved) in [
        (Clipping::norm(6.5).unwrap(), [[0.25, 2.0], [-2.0, 0.0]]),
        (Clipping::value(2.0).unwrap(), [[0.0, 2.0], [0.0, 0.0]]),
    ] {
        let mut parameters = start();
        let mut sgd = Sgd::new(0.5).unwrap().with_clipping(clipping);
        sgd.step(&mut parameters, &gradients).unwrap();
        assert_eq!(parameters[0].data(), moved[0]);
        assert_eq!((parameters[1].data()[0], parameters[2].data()[0]), (5.0, moved[1][0]));
        // As with gradients that were clipped before, at every step.
        let make: [Make; 2] = [
            || {
                let mut sgd = Sgd::new(0.1).unwrap().with_momentum(0.9).unwrap();
                Box::new(move |p, g| sgd.step(p, g))
            },
            || {
                let mut adam = Adam::new(0.1).unwrap();
                Box::new(move |p, g| adam.step(p, g))
            },
        ];
        let mut clipped = gradients.clone();
        clipped.clip(clipping).unwrap();
        let mut ours: [Box<Moves<'_>>; 2] = {
            let sgd = Sgd::new(0.1).unwrap().with_momentum(0.9).unwrap();
            let mut sgd = sgd.with_clipping(clipping);
            let mut adam = Adam::new(0.1).unwrap().with_clipping(clipping);
            [Box::new(move |p, g| sgd.step(p, g)), Box::new(move |p, g| adam.step(p, g))]
        };
        for (ours, make) in ours.iter_mut().zip(make) {
            let (mut found, mut expected) = (start(), start());
            let mut theirs = make();
            for _ in 0..3 {
                ours(&mut found, &gradients).unwrap();
                theirs(&mut expected, &clipped).unwrap();
            }
            assert_eq!(found, expected);
            assert_ne!(found, start());
        }
        assert_eq!(numbers(&gradients), numbers(&three()), "the caller's stay as they are");
    }
}

#[test]
fn gradients_are_added_or_refused() {
    let mut sum = three();
    sum.axpy(-2.0, &three()).unwrap();
    assert_eq!(numbers(&sum), [Some(vec![-3.0, 4.0]), None, Some(vec![-12.0])]);
    // Into memory that holds what an earlier step has left.
    sum.clear();
    sum.set(ParamId::new(1), tensor(&[1], &[2.0]));
    sum.axpy(0.5, &three()).unwrap();
    assert_eq!(numbers(&sum), [Some(vec![1.5, -2.0]), Some(vec![2.0]), Some(vec![6.0])]);
    let before = numbers(&sum);
    let mut other = three();
    other.set(ParamId::new(1), tensor(&[2], &[1.0; 2]));
    let error = sum.axpy(1.0, &other).unwrap_err();
    assert!(error.to_string().contains("parameter 1 have shapes [1] and [2]"), "{error}");
    assert!(sum.axpy(1.0, &Gradients::empty(2)).is_err());
    for bad in [f64::NAN, f64::INFINITY] {
        assert_eq!(sum.axpy(bad, &three()).unwrap_err().kind(), ErrorKind::NotFinite);
    }
    assert_eq!(numbers(&sum), before);
}
