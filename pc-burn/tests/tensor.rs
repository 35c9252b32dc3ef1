//! `BurnTensor` itself: conversions, both ways of computing, and the contract that seeds give the
//! host's numbers.

use burn::tensor::{DType, Device, Int, Tensor};
use pc_burn::BurnTensor;
use pc_core::{ErrorKind, Result, Tensor as _, backend::StateStep, host::HostTensor};

#[allow(clippy::unwrap_used)]
fn make(values: &[f64], dtype: DType) -> BurnTensor {
    BurnTensor::from_values(&[1, values.len()], values, &Device::flex(), dtype).unwrap()
}

/// In half precision every operation takes Burn's own operations, in `f32` and `f64` the slices;
/// these numbers are exact in all.
const PRECISIONS: [DType; 4] = [DType::F64, DType::F32, DType::F16, DType::BF16];

#[test]
fn conversions_check_the_rank() -> Result<()> {
    let device = Device::flex();
    let matrix = Tensor::<2>::from_floats([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device);
    let x = BurnTensor::new(matrix.clone())?;
    assert_eq!((x.rank(), x.dtype(), x.device() == device), (2, DType::F32, true));
    assert_eq!(x.to_vec(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let error = x.to_tensor::<3>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert!(
        error.to_string().contains("rank 3") && error.to_string().contains("[2, 3]"),
        "{error}"
    );
    // A view that does not lie row by row.
    let mut turned = BurnTensor::new(matrix.clone().transpose())?;
    assert_eq!(turned.to_vec(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    turned.scale(2.0);
    assert_eq!(turned.to_vec(), [2.0, 8.0, 4.0, 10.0, 6.0, 12.0]);
    let mut narrow = BurnTensor::new(matrix.clone().narrow(0, 1, 1))?;
    narrow.axpy(1.0, &narrow.clone());
    assert_eq!(narrow.to_vec(), [8.0, 10.0, 12.0]);
    // Nothing of this has touched the tensor they came from.
    assert_eq!(
        matrix.into_data().iter::<f64>().collect::<Vec<_>>(),
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    );
    Ok(())
}

#[test]
fn autodiff_is_left_behind() -> Result<()> {
    let tracked = Tensor::<1>::from_floats([1.0, 2.0], &Device::flex().autodiff()).require_grad();
    let x = BurnTensor::new(tracked * 3.0)?;
    assert_eq!(x.to_vec(), [3.0, 6.0]);
    assert!(!x.to_tensor::<1>()?.is_autodiff());
    let y = BurnTensor::from_values(&[2], &[1.0, 2.0], &Device::flex().autodiff(), DType::F32)?;
    assert!(!y.to_tensor::<1>()?.is_autodiff());
    Ok(())
}

#[test]
fn what_holds_no_floats_is_refused() {
    let integers = Tensor::<1, Int>::from_ints([1, 2], &Device::flex());
    assert!(
        BurnTensor::from_dispatch(integers.into_dispatch())
            .unwrap_err()
            .to_string()
            .contains("floats")
    );
    assert!(BurnTensor::from_values(&[2], &[1.0, 2.0], &Device::flex(), DType::I32).is_err());
    assert_eq!(
        BurnTensor::from_values(&[3], &[1.0, 2.0], &Device::flex(), DType::F32).unwrap_err().kind(),
        ErrorKind::Shape
    );
    let error = make(&[1.0], DType::F32).check_like(&make(&[1.0], DType::F64)).unwrap_err();
    assert!(error.to_string().contains("F32") && error.to_string().contains("F64"), "{error}");
}

#[test]
fn a_clone_is_a_copy() {
    for dtype in PRECISIONS {
        let x = make(&[1.0, 2.0], dtype);
        let (mut y, mut z) = (x.clone(), x.clone());
        y.fill(7.0);
        z.axpy(2.0, &x);
        assert_eq!(
            (x.to_vec(), y.to_vec(), z.to_vec()),
            (vec![1.0, 2.0], vec![7.0, 7.0], vec![3.0, 6.0]),
            "{dtype:?}"
        );
    }
}

#[test]
fn operations_agree_in_every_precision() {
    for dtype in PRECISIONS {
        let (a, b, c) = (
            make(&[1.0, -2.0, 0.5], dtype),
            make(&[4.0, 0.25, -1.0], dtype),
            make(&[0.5, 8.0, 2.0], dtype),
        );
        let mut x = a.clone();
        x.axpy(-0.5, &b);
        x.scale(2.0);
        x.multiply(&c);
        assert_eq!(x.to_vec(), [-1.0, -34.0, 4.0], "{dtype:?}");
        assert_eq!((a.dot(&b), a.norm_squared()), (3.0, 5.25), "{dtype:?}");
        x.set_sum(&a, &b);
        assert_eq!(x.to_vec(), [5.0, -1.75, -0.5], "{dtype:?}");
        x.set_difference(&a, &b);
        assert_eq!(x.to_vec(), [-3.0, -2.25, 1.5], "{dtype:?}");
        x.set_error(Some(&a), Some(&b), Some(&c));
        assert_eq!(x.to_vec(), [4.5, -9.75, -2.5], "{dtype:?}");
        x.set_error(None, None, Some(&c));
        assert_eq!(x.to_vec(), [-0.5, -8.0, -2.0], "{dtype:?}");
        x.set_error(None, None, None);
        assert_eq!((x.to_vec(), x.is_finite()), (vec![0.0; 3], true), "{dtype:?}");
        assert_eq!(
            BurnTensor::gap_squared(Some(&a), 0.5, Some(&b)),
            3.5 * 3.5 + 1.25 * 1.25 + 1.25 * 1.25,
            "{dtype:?}"
        );
    }
}

#[test]
fn steps_agree_in_every_precision() {
    for dtype in PRECISIONS {
        let tensor = |x: f64| make(&[x], dtype);
        for (error, force) in
            [(Some(2.0), Some(3.0)), (Some(2.0), None), (None, Some(3.0)), (None, None)]
        {
            let gap = force.unwrap_or(0.0) - 0.5 * error.unwrap_or(0.0);
            for momentum in [None, Some(0.5)] {
                let (mut d, mut v, mut u) = (tensor(1.0), tensor(9.0), tensor(4.0));
                BurnTensor::step_state(StateStep {
                    displacement: &mut d,
                    value: &mut v,
                    reference: &tensor(10.0),
                    error: error.map(tensor).as_ref(),
                    precision: 0.5,
                    force: force.map(tensor).as_ref(),
                    rate: 0.25,
                    velocity: momentum.map(|momentum| (&mut u, momentum)),
                });
                let step = 0.25 * (gap + if momentum.is_some() { 2.0 } else { 0.0 });
                assert_eq!(
                    (d.to_vec(), v.to_vec()),
                    (vec![1.0 + step], vec![11.0 + step]),
                    "{dtype:?} {error:?} {force:?} {momentum:?}"
                );
                let Some(error) = error else { continue };
                let (mut e, mut u) = (tensor(error), tensor(4.0));
                BurnTensor::step_error(
                    &mut e,
                    0.5,
                    force.map(tensor).as_ref(),
                    0.25,
                    momentum.map(|momentum| (&mut u, momentum)),
                );
                assert_eq!(e.to_vec(), [error + step], "{dtype:?} {force:?} {momentum:?}");
            }
        }
    }
}

#[test]
fn what_is_not_finite_is_seen() {
    for dtype in PRECISIONS {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(!make(&[1.0, bad, 0.0], dtype).is_finite(), "{dtype:?} {bad}");
        }
        assert!(make(&[1.0, f64::NAN], dtype).norm_squared().is_nan(), "{dtype:?}");
    }
}

#[test]
fn seeds_give_the_hosts_numbers() {
    let values: Vec<f64> = (0..40).map(f64::from).collect();
    let mut host =
        HostTensor::<f32>::new(&[1, 40], values.iter().map(|x| *x as f32).collect()).unwrap();
    let mut burn = make(&values, DType::F32);
    host.add_normal(0.3, 11);
    burn.add_normal(0.3, 11);
    assert_eq!(burn.to_vec(), host.to_vec());
    let mut host = HostTensor::<f64>::new(&[1, 40], values.clone()).unwrap();
    let mut burn = make(&values, DType::F64);
    host.add_normal(0.3, 12);
    burn.add_normal(0.3, 12);
    assert_eq!(burn.to_vec(), host.to_vec());
}
