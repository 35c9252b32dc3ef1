//! A warm relaxation allocates nothing, but for the packing buffers inside the `gemm` crate's
//! products, which are told apart and not counted.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use pc_core::{
    Clamps, Clipping, Graph, Map, Predictor, Relaxation, Schedule,
    host::{Activation, ConvLayer, Dense, HostLayers, HostTensor, Init, Sgd, SwapAxes},
    rule::{Adam, Anderson, Heun, Nesterov},
};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !pc_core::host::in_product() {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !pc_core::host::in_product() {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(work: impl FnOnce()) -> usize {
    let before = COUNT.load(Ordering::Relaxed);
    work();
    COUNT.load(Ordering::Relaxed) - before
}

type Net = (Graph<HostTensor<f32>>, Vec<Clamps<HostTensor<f32>>>);

/// Convolutions and dense layers, with an output driven or held.
fn images(init: &mut Init) -> Net {
    let mut b = Graph::<HostTensor<f32>>::builder();
    let x = b.input("x", &[1, 12, 12]).unwrap();
    let c = b
        .conv(
            "c",
            x,
            &ConvLayer::new(4, 3).padding(1).activation(Activation::Relu).max_pool(2, 2),
            init,
        )
        .unwrap();
    let d = b
        .conv(
            "d",
            c,
            &ConvLayer::new(8, 3).padding(1).activation(Activation::Tanh).max_pool(2, 2),
            init,
        )
        .unwrap();
    let flat = b.flatten("flat", d).unwrap();
    let h = b.dense("h", flat, 32, Activation::Tanh, init).unwrap();
    let k = b.dense("k", h, 32, Activation::Sigmoid, init).unwrap();
    let hard = Dense::new(32).activation_before(Activation::HardTanh);
    let p = b.layer("p", &[h, k], &hard, &mut *init).unwrap();
    let q = b.layer("q", &[p], &hard.scale(0.5).residual(), &mut *init).unwrap();
    let sine = Map::new("sine", f64::sin, f64::cos);
    let m = b.vertex("m", Box::new(sine), &[q], &[]).unwrap();
    let s = b.sum("s", &[h, k, m]).unwrap();
    let y = b.dense("y", s, 5, Activation::Identity, init).unwrap();
    let (input, target) =
        (init.uniform(&[8, 1, 12, 12], 1.0).unwrap(), init.uniform(&[8, 5], 1.0).unwrap());
    let loss = pc_core::host::CrossEntropy::labels(&[0, 1, 2, 3, 4, 0, 1, 2], 5).unwrap();
    let driven = Clamps::new().hold(x, input.clone()).drive(y, loss);
    (b.build().unwrap(), vec![driven, Clamps::new().hold(x, input).hold(y, target)])
}

/// Every vertex that is written once for all backends, in cells and by itself.
fn cells(init: &mut Init) -> Net {
    let mut b = Graph::<HostTensor<f32>>::builder();
    let x = b.input("x", &[4, 6]).unwrap();
    let placed = b.add_parameter("placed", x, 0.3, init).unwrap();
    let attention = b.self_attention("attention", placed, 2, true, init).unwrap();
    let skip = b.sum("skip", &[placed, attention.output]).unwrap();
    let turned = b.vertex("turned", Box::new(SwapAxes), &[skip], &[]).unwrap();
    let left = b.split("left", turned, 0, 0, 3).unwrap();
    let right = b.split("right", turned, 0, 3, 3).unwrap();
    let product = b.product("product", &[left, right]).unwrap();
    let scaled = b.scale("scaled", product, -0.7).unwrap();
    let both = b.concat("both", &[left, scaled], 1).unwrap();
    let row = b.flatten("row", both).unwrap();
    let h = b.dense("h", row, 5, Activation::Tanh, init).unwrap();
    let c = b.dense("c", row, 5, Activation::Tanh, init).unwrap();
    let gates = b.lstm_parameters("lstm", 24, 5, init).unwrap();
    let y = b.lstm_cell("t", row, h, c, &gates).unwrap().hidden;
    let (input, target) =
        (init.uniform(&[8, 4, 6], 0.5).unwrap(), init.uniform(&[8, 5], 0.5).unwrap());
    (b.build().unwrap(), vec![Clamps::new().hold(x, input).hold(y, target)])
}

/// One test, for the count is the process's: other tests running meanwhile would be counted too.
#[test]
fn a_warm_relaxation_allocates_nothing() {
    assert!(count(|| drop(std::hint::black_box(vec![1_u8; 64]))) > 0, "the counter does not count");

    let schedules = [
        Schedule::backprop(),
        Schedule::fixed_prediction(0.5, 7).unwrap().evaluated_by(pc_core::Evaluation::Simulate),
        Schedule::fixed_prediction(0.5, 7).unwrap().evaluated_by(pc_core::Evaluation::Front),
        Schedule::standard(0.1, 20).unwrap(),
        Schedule::standard(0.1, 20).unwrap().with_momentum(0.5).unwrap(),
        Schedule::standard(0.1, 20).unwrap().until(1e-30).unwrap(),
        Schedule::epc(0.1, 10).unwrap(),
        Schedule::ipc(0.1, 10).unwrap(),
        Schedule::standard(0.1, 10).unwrap().adaptive(),
        Schedule::standard(0.1, 10).unwrap().rate_by_precision().observed(),
        Schedule::standard(0.1, 10).unwrap().ruled_by(Nesterov::new(0.5).unwrap()),
        Schedule::ipc(0.1, 10).unwrap().ruled_by(Adam::default()),
        Schedule::epc(0.1, 10).unwrap().ruled_by(Adam::default()),
        Schedule::standard(0.1, 10).unwrap().ruled_by(Heun),
        Schedule::epc(0.01, 10).unwrap().ruled_by(Heun),
        Schedule::epc(0.01, 10).unwrap().ruled_by(Anderson::new(3).unwrap()),
    ];
    let clipping = Clipping::norm(1.0).unwrap();
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut init = Init::new(1);
            for (graph, clamps) in &mut [images(&mut init), cells(&mut init)] {
                for (schedule, clamps) in
                    schedules.iter().flat_map(|schedule| clamps.iter().map(move |c| (schedule, c)))
                {
                    let mut relaxation = Relaxation::new(graph, schedule.clone()).unwrap();
                    let mut sgd = Sgd::new(1e-3).unwrap().with_clipping(clipping);
                    let mut batch = || {
                        relaxation
                            .train(graph, clamps, |graph, gradients| {
                                sgd.step(graph.parameters_mut(), gradients)
                            })
                            .unwrap();
                    };
                    // Cold: buffers, caches, each thread's working memory.
                    (0..3).for_each(|_| batch());
                    // Which thread runs what is up to the scheduler, and a thread's working memory
                    // grows the first time it is needed there; so with several threads one batch
                    // without allocations among some is asked for.
                    let tries = if threads == 1 { 1 } else { 20 };
                    let allocations = (0..tries).map(|_| count(&mut batch)).min().unwrap();
                    assert_eq!(
                        allocations, 0,
                        "{schedule} on {threads} threads: allocations in a warm batch"
                    );
                    relaxation.ask_forces(graph, &[]).unwrap();
                    let mut infer = || drop(relaxation.infer(graph, clamps).unwrap());
                    (0..3).for_each(|_| infer());
                    let allocations = (0..tries).map(|_| count(&mut infer)).min().unwrap();
                    assert_eq!(
                        allocations, 0,
                        "{schedule} on {threads} threads: allocations in a warm inference"
                    );
                }
            }
            let (mut graph, _) = images(&mut init);
            let [x, k, y] = ["x", "k", "y"].map(|name| graph.vertex(name).unwrap());
            let input = init.uniform(&[8, 1, 12, 12], 1.0).unwrap();
            let mut predictor = Predictor::new(&graph);
            let mut predict = || {
                predictor.run(&mut graph, &[(x, &input)], &[k, y]).unwrap();
                assert_eq!(predictor.value(y).unwrap().dims(), [8, 5]);
            };
            (0..3).for_each(|_| predict());
            let allocations = (0..20).map(|_| count(&mut predict)).min().unwrap();
            assert_eq!(allocations, 0, "{threads} threads: allocations in a warm prediction");
        });
    }
}
