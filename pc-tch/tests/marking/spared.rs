//! Passes after the first are spared what they share, and never more than that.

use std::cell::Cell;

use pc_tch::{Learned, PredictiveCoding, pc_core::Schedule, vertex};
use tch::{
    Kind, Tensor,
    nn::{self, Module, ModuleT, VarStore},
};

use crate::common::{cross_entropy, device, seeded, take_gradients, worst};

struct Net {
    store: VarStore,
    first: nn::Linear,
    second: nn::Linear,
    side: nn::Linear,
    out: nn::Linear,
    x: Tensor,
    y: Tensor,
}

fn net() -> Net {
    let mut store = VarStore::new(device());
    store.set_kind(Kind::Double);
    let linear =
        |name: &str, from, to| nn::linear(store.root() / name, from, to, Default::default());
    let (first, second) = (linear("first", 5, 8), linear("second", 8, 8));
    let (side, out) = (linear("side", 5, 8), linear("out", 8, 3));
    let x = Tensor::randn([6, 5], (Kind::Double, device()));
    let y = Tensor::randint(3, [6], (Kind::Int64, device()));
    Net { store, first, second, side, out, x, y }
}

type Found = (Learned, Vec<(String, Option<Tensor>)>);

fn learn(net: &Net, schedule: &Schedule, loss: impl FnMut() -> Tensor) -> Found {
    tch::manual_seed(5);
    let learned = PredictiveCoding::new(schedule.clone()).backward(loss).unwrap();
    (learned, take_gradients(&net.store))
}

/// Two programs that compute the same find the same.
fn same(net: &Net, a: impl Fn(&Net) -> Tensor, b: impl Fn(&Net) -> Tensor) -> [usize; 2] {
    let mut spared = [0; 2];
    for schedule in [Schedule::standard(0.1, 6).unwrap(), Schedule::epc(0.05, 6).unwrap()] {
        let (a, b) = (learn(net, &schedule, || a(net)), learn(net, &schedule, || b(net)));
        let (off, whose) = worst(&a.1, &b.1);
        assert!(off < 1e-13, "{schedule}: {whose} is off by {off:e}");
        assert_eq!(a.0.passes, 7);
        spared = [a.0.spared, b.0.spared];
    }
    spared
}

/// What follows the hidden value.
fn end(n: &Net, h: &Tensor) -> Tensor {
    let h = vertex(&n.second.forward(&vertex(h)).tanh());
    cross_entropy(&vertex(&n.out.forward(&h)), &n.y)
}

#[test]
fn what_comes_before_the_first_mark_is_computed_once() {
    let _turn = seeded();
    let n = net();
    // A tensor made anew in every pass is another, and what is computed from it too.
    let again = |n: &Net| {
        let x = &n.x + Tensor::zeros([1], (Kind::Double, device()));
        end(n, &n.first.forward(&x).tanh())
    };
    let spared = same(&n, |n| end(n, &n.first.forward(&n.x).tanh()), again);
    println!("spared {spared:?} operations");
    assert!(spared[0] > spared[1], "{spared:?}");
    // Rules that make one pass have nothing to spare, and neither have weights that move.
    let (learned, _) = learn(&n, &Schedule::zil(), || end(&n, &n.first.forward(&n.x).tanh()));
    assert_eq!((learned.spared, learned.passes), (0, 1));
}

#[test]
fn what_is_written_in_place_is_computed_again() {
    let _turn = seeded();
    let n = net();
    // Not idempotent: applied twice these are other functions.
    same(
        &n,
        |n| end(n, &n.first.forward(&n.x).sigmoid_()),
        |n| end(n, &n.first.forward(&n.x).sigmoid()),
    );
    same(
        &n,
        |n| {
            let h = n.first.forward(&n.x);
            let _ = h.narrow(1, 0, 4).exp_();
            end(n, &(h + 1.0))
        },
        |n| {
            let h = n.first.forward(&n.x);
            let parts = [h.narrow(1, 0, 4).exp(), h.narrow(1, 4, 4)];
            end(n, &(Tensor::cat(&parts, 1) + 1.0))
        },
    );
    // Into what was there before.
    let store = Tensor::zeros([6, 8], (Kind::Double, device()));
    same(
        &n,
        |n| {
            let mut own = store.shallow_clone();
            tch::no_grad(|| own.copy_(&n.side.forward(&n.x).sin()));
            let doubled = &own * 2.0;
            end(n, &(n.first.forward(&n.x) + doubled))
        },
        |n| {
            let side = tch::no_grad(|| n.side.forward(&n.x).sin());
            end(n, &(n.first.forward(&n.x) + side * 2.0))
        },
    );
}

#[test]
fn what_is_drawn_before_the_first_mark_is_the_same_in_all_passes() {
    let _turn = seeded();
    let n = net();
    let drawn = |n: &Net| {
        let x = n.x.dropout(0.4, true);
        let h = n.first.forward(&x).tanh().dropout(0.3, true);
        let h = vertex(&h);
        let h = vertex(&n.second.forward(&h).dropout(0.2, true));
        cross_entropy(&vertex(&n.out.forward(&h)), &n.y)
    };
    // The masks taken along are the same numbers.
    let by_hand = |n: &Net| {
        let mask = |like: &Tensor, p| Tensor::ones_like(like).dropout(p, true);
        let x = &n.x * mask(&n.x, 0.4);
        let h = n.first.forward(&x).tanh();
        let h = &h * mask(&h, 0.3);
        let h = n.second.forward(&vertex(&h));
        let h = vertex(&(&h * mask(&h, 0.2)));
        cross_entropy(&vertex(&n.out.forward(&h)), &n.y)
    };
    same(&n, drawn, by_hand);
}

#[test]
fn a_side_way_into_a_later_vertex_keeps_its_gradients() {
    let _turn = seeded();
    let n = net();
    let with = |fresh: bool| {
        move |n: &Net| {
            let x = if fresh {
                &n.x + Tensor::zeros([1], (Kind::Double, device()))
            } else {
                n.x.shallow_clone()
            };
            let h = vertex(&n.first.forward(&x).tanh());
            let h = vertex(&(n.second.forward(&h) + n.side.forward(&x)).tanh());
            cross_entropy(&vertex(&n.out.forward(&h)), &n.y)
        }
    };
    let spared = same(&n, with(false), with(true));
    assert!(spared[0] > spared[1], "{spared:?}");
}

#[test]
fn statistics_of_what_is_spared_move_once() {
    let _turn = seeded();
    let n = net();
    let mut store = VarStore::new(device());
    let norm = nn::batch_norm1d(store.root(), 5, Default::default());
    store.double();
    let forward = || end(&n, &n.first.forward(&norm.forward_t(&n.x, true)).tanh());
    let before = norm.running_var.copy();
    drop(forward());
    let after = norm.running_var.copy();
    tch::no_grad(|| norm.running_var.shallow_clone().copy_(&before));
    let (learned, _) = learn(&n, &Schedule::standard(0.1, 6).unwrap(), forward);
    assert!(learned.spared > 0 && before != after);
    assert_eq!(norm.running_var, after);
}

#[test]
fn a_program_that_goes_on_elsewhere_is_seen() {
    let _turn = seeded();
    let n = net();
    let passes = Cell::new(0);
    // The same operations on other data, in later passes.
    let other = &n.x * 3.0;
    let refused = PredictiveCoding::new(Schedule::standard(0.1, 3).unwrap()).backward(|| {
        let first = passes.replace(passes.get() + 1) == 0;
        let x = if first { &n.x } else { &other };
        let h = vertex(&n.first.forward(x).tanh());
        let h = vertex(&n.second.forward(&h).tanh());
        cross_entropy(&vertex(&n.out.forward(&h)), &n.y)
    });
    // Its prediction moves, as it would without a memo: nothing stale is handed out.
    let learned = refused.unwrap();
    assert!(learned.passes == 4 && learned.outcome.energy.internal > 0.1);
}
