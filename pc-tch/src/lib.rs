//! Predictive coding for [`tch`]: any libtorch model trains by it, unmarked and unchanged.
//!
//! Replace `opt.backward_step(&loss)` by [`opt.pc_step(&loss, &pc)`](PcOptimizer::pc_step), or
//! `loss.backward()` by [`pc.backward(&loss)`](Pc::backward), and keep everything else: the model,
//! its `VarStore`, the optimiser, clipping, checkpoints. libtorch's autograd graph *is* a
//! computation graph. Its operations are the vertices, and each can be pulled back again and again
//! while the graph is kept; the errors relax over it under the fixed-prediction assumption, and the
//! gradients land in `.grad`.
//!
//! ```
//! use pc_tch::{Pc, PcOptimizer};
//! use tch::{Device, Kind, Tensor, nn::{self, Module, OptimizerConfig}};
//! let vs = nn::VarStore::new(Device::Cpu);
//! let net = nn::seq()
//!     .add(nn::linear(vs.root() / "a", 4, 8, Default::default()))
//!     .add_fn(Tensor::tanh)
//!     .add(nn::linear(vs.root() / "b", 8, 3, Default::default()));
//! let mut opt = nn::Adam::default().build(&vs, 1e-3).expect("an optimiser");
//! let pc = Pc::exact();
//! let x = Tensor::randn([16, 4], (Kind::Float, Device::Cpu));
//! let y = Tensor::randint(3, [16], (Kind::Int64, Device::Cpu));
//! let loss = net.forward(&x).cross_entropy_for_logits(&y);
//! let outcome = opt.f_pc_step(&loss, &pc)?; // or opt.pc_step(&loss, &pc), which panics
//! // Linear, tanh, linear, log softmax, likelihood.
//! assert_eq!((outcome.depth, outcome.vertices), (4, 5));
//! # Ok::<(), pc_core::Error>(())
//! ```
//!
//! # What a vertex is
//! Unmarked, an operation, as libtorch recorded it. Views, casts, clones, transposes and
//! concatenation only pass values on: they are no vertices and cost no step. With [`Pc::exact`] the
//! gradients are backprop's, to the last bit where the sums are taken in the same order. **Below
//! rate 1 what counts as one vertex changes the result**, and operations are too fine for real
//! models: a ResNet is 33 of them deep, a GPT of 8 layers 175, and at rate 0.1 over 100 steps an
//! error brings 1e-2 of backprop's gradient over 18 edges and 1e-9 over 33. Paths of many lengths
//! meet there too, so that the closed form is no single pass ([`Pc::evaluated_by`]). So [`depth`]
//! is to be asked first, fewer steps than that are an error, and the outcome of
//! [`Pc::f_backward`], which must be used, says how much has come to the first operations and what
//! it cost. [`Pc::backward_from`] leaves the loss's own operations out.
//!
//! With **marks** the layers are the vertices: one [`vertex`] call for each in the model's
//! `forward`, and [`PredictiveCoding::learn`] by any schedule, live ones included, which unmarked
//! graphs cannot do. [`modules`] has recurrent layers, attention and residual blocks with their
//! inner values marked, on the weight files of the plain ones. Where no program can express the
//! graph, [explicit graphs](Function) are built of functions and of tch's layers ([`TchLayers`]).
//!
//! # Marks
//! Every other rule (standard PC, incremental PC, error-based PC, Z-IL, and frozen ones with layers
//! for vertices) trains the same program once its `forward` says where its values are:
//! [`vertex`] marks one, and [`PredictiveCoding::learn`] takes the program's forward pass and loss
//! as a closure, and its own optimiser. What lies between two marks is one vertex. A live step
//! costs one forward pass, less what comes before the first mark, and pulls no weight.
//!
//! # What is supported
//! - Convolution, recurrence, attention, normalisation, dropout, tied weights and custom C++
//!   functions: yes; what was drawn or saved in the forward pass is used again.
//! - Several losses, micro-batches: yes. `.grad` accumulates as ever, with [`Pc::keep_graph`] where
//!   losses share a graph.
//! - Sparse embeddings, autocast, bf16, complex numbers on the way to a real loss: yes, by
//!   libtorch's own rules.
//! - Several threads: yes, each with its own model, as in libtorch.
//! - Hooks on tensors and nodes (set from C++; tch sets none): run at every pull; those that keep a
//!   gradient run at the last, with the final errors.
//! - `create_graph`: no. There is no second derivative of a relaxation.
//! - TorchScript: after `tch::jit::set_graph_executor_optimize(false)`, yes; blocks that its
//!   optimiser has fused are refused by name.
//! - CUDA: nothing here is particular to the CPU, and nodes run under libtorch's guards of device
//!   and stream; a forward pass on another stream than the current one is refused. It is not
//!   tested.
//!
//! # libtorch
//! [`tch`] 0.26 pairs with libtorch 2.13.0. In this workspace `cargo xtask libtorch` brings it. In
//! a workspace of your own set `LIBTORCH`, and let the build script of each crate with a program
//! say where the library lies: `println!("cargo::rustc-link-arg=-Wl,-rpath,{}/lib",
//! std::env::var("LIBTORCH").unwrap())`. The tests run on the CPU; `PC_TCH_DEVICE=cuda` points
//! them at the first GPU, and nobody has done so yet. Documentation needs no libtorch: `cargo doc
//! -p pc-tch --no-deps --features doc-only`. Where burn 0.22 is in the same workspace, an empty
//! `burn-tch` has to stand in for burn's own: see `ARCHITECTURE.md`.

mod autograd;
mod backward;
mod explicit;
mod function;
mod graph;
mod marked;
pub mod modules;
mod optimiser;
mod resumable;
mod stepping;
mod sys;
mod tensor;

pub use backward::{BackwardOutcome, Pc, depth};
pub use explicit::{CrossEntropy, LossFunction, StoredWeights, TchLayers, identity};
pub use function::Function;
pub use marked::{Learned, PredictiveCoding, named_vertex, vertex};
pub use optimiser::PcOptimizer;
pub use pc_core::{self, LossReduction};
pub use resumable::{ResumableConfig, ResumableOptimizer};
pub use stepping::SteppingOptimizer;
pub use sys::live_graphs;
pub use tensor::TchTensor;
