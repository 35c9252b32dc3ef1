//! Weights handed over between graphs and nets of every two backends: by kind, each ordered pair.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(feature = "dfdx")]
mod dfdx;
mod sides;

use pc_core::{Agreement, HandOver, ParamId, Tensor};

use sides::{Check, LAYERS, OTHER_LAYERS, Side, WIDE, all};

/// All numbers, matrices as the host has them.
fn numbers(net: &impl HandOver) -> Vec<Vec<f64>> {
    let parameters = net.named().1.iter().enumerate();
    parameters
        .map(|(index, parameter)| {
            let (numbers, shape) = (parameter.to_vec(), parameter.shape());
            match shape[..] {
                [inputs, outputs] if net.inputs_first(ParamId::new(index)) => (0..inputs * outputs)
                    .map(|k| numbers[k % inputs * outputs + k / inputs])
                    .collect(),
                _ => numbers,
            }
        })
        .collect()
}

fn rounded(numbers: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let round = |numbers: Vec<f64>| numbers.into_iter().map(|x| f64::from(x as f32)).collect();
    numbers.into_iter().map(round).collect()
}

fn distance(one: &impl HandOver, other: &impl HandOver) -> f64 {
    let (one, other) = (numbers(one).concat(), numbers(other).concat());
    assert_eq!(one.len(), other.len());
    Agreement::of_slices(&one, &other).max_difference
}

/// The name that `A` has for what is called so in `B`.
fn renamed<A: Side, B: Side>(name: &str) -> String {
    let (theirs, own) = (A::names(LAYERS), B::names(LAYERS));
    let layer = own.iter().position(|own| name.starts_with(&format!("{own}.")));
    let layer = layer.unwrap_or_else(|| panic!("{} has a parameter {name}", B::NAME));
    name.replacen(&own[layer], &theirs[layer], 1)
}

/// `to` has what `from` has, each as far as its numbers go.
fn same<A: Side, B: Side>(to: &B::Net, from: &A::Net) {
    let (mut found, mut wanted) = (numbers(to), numbers(from));
    if B::NARROW {
        (found, wanted) = (rounded(found), rounded(wanted));
    }
    assert_eq!(found, wanted, "{} to {}", A::NAME, B::NAME);
}

/// Training that is handed from one to the other, back and there again, with steps on each, comes
/// to where it would have on the host alone; and both learn alike from equal weights.
struct Training;

impl Check for Training {
    fn pair<A: Side, B: Side>() {
        let pair = format!("{} to {}", A::NAME, B::NAME);
        let tolerance = if A::NARROW || B::NARROW { 1e-5 } else { 1e-10 };
        let mut whole = sides::HostWide::net(LAYERS, WIDE, 1);
        let mut from = A::net(LAYERS, WIDE, 3);
        from.copy_parameters_renamed(&whole, renamed::<sides::HostWide, A>).unwrap();
        let mut to = B::net(LAYERS, WIDE, 2);
        let start = numbers(&whole);
        assert_ne!(numbers(&to), start);
        for turn in 0..2 {
            let batch = 3 * turn;
            (batch..batch + 3).for_each(|batch| sides::HostWide::learn(&mut whole, batch));
            A::learn(&mut from, batch);
            to.copy_parameters_renamed(&from, renamed::<A, B>).unwrap();
            same::<A, B>(&to, &from);
            B::learn(&mut to, batch + 1);
            A::learn(&mut from, batch + 1);
            let off = distance(&to, &from);
            assert!(off <= tolerance, "{pair}: they learn otherwise, by {off:.1e}");
            B::learn(&mut to, batch + 2);
            from.copy_parameters_renamed(&to, renamed::<B, A>).unwrap();
            same::<B, A>(&from, &to);
            let off = distance(&from, &whole);
            assert!(off <= tolerance, "{pair}: off by {off:.1e}");
        }
        assert!(numbers(&whole).iter().zip(&start).all(|(now, before)| now != before));
    }
}

/// Shapes and names that are not the receiver's are named, and nothing has changed.
struct Refusals;

impl Check for Refusals {
    fn pair<A: Side, B: Side>() {
        let pair = format!("{} to {}", A::NAME, B::NAME);
        let mut to = B::net(LAYERS, WIDE, 2);
        let before = numbers(&to);
        let narrow = A::net(LAYERS, [5, 4, 3], 1);
        let error = to.copy_parameters_renamed(&narrow, renamed::<A, B>).unwrap_err().to_string();
        let weight = format!("{}.weight", A::names(LAYERS)[0]);
        assert!(error.contains(&format!("`{weight}` has shape")), "{pair}: {error}");
        assert_eq!(numbers(&to), before, "{pair}");

        let from = A::net(OTHER_LAYERS, WIDE, 1);
        let names = [A::names(OTHER_LAYERS), B::names(LAYERS)];
        if names[0] != names[1] {
            let error = to.copy_parameters_from(&from).unwrap_err().to_string();
            let named = names.iter().flatten().any(|name| error.contains(&format!("{name}.")));
            assert!(named, "{pair}: {error}");
            assert_eq!(numbers(&to), before, "{pair}");
        }
        // Two names here for one there, and a name that is not there.
        let one = |_: &str| format!("{}.bias", A::names(OTHER_LAYERS)[0]);
        assert!(to.copy_parameters_renamed(&from, one).is_err(), "{pair}");
        let error = to.copy_parameters_renamed(&from, |name| format!("my.{name}")).unwrap_err();
        assert!(error.to_string().contains("my."), "{pair}: {error}");
        assert_eq!(numbers(&to), before, "{pair}");
    }
}

#[test]
fn training_goes_on_between_every_two_backends() {
    all::<Training>();
}

#[test]
fn what_does_not_fit_is_refused_between_every_two_backends() {
    all::<Refusals>();
}
