//! Predictive coding for [`tch`]: any libtorch model trains by it, unmarked and unchanged.
//!
//! Replace `opt.backward_step(&loss)` by [`opt.pc_step(&loss, &pc)?`](PcOptimizer::pc_step), or
//! `loss.backward()` by [`pc.backward(&loss)?`](Pc::backward), and keep everything else: the model,
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
//! let pc = Pc::fixed_prediction(0.1, 100)?;
//! let x = Tensor::randn([16, 4], (Kind::Float, Device::Cpu));
//! let y = Tensor::randint(3, [16], (Kind::Int64, Device::Cpu));
//! let loss = net.forward(&x).cross_entropy_for_logits(&y);
//! let outcome = opt.pc_step(&loss, &pc)?;
//! // Linear, tanh, linear, log softmax, likelihood.
//! assert_eq!((outcome.depth, outcome.vertices), (4, 5));
//! # Ok::<(), pc_core::Error>(())
//! ```
//!
//! # What a vertex is
//! An operation, as libtorch recorded it. Views, casts, clones, transposes and concatenation only
//! pass values on: they are no vertices and cost no step. [`depth`] says how many steps the last
//! error takes at rate 1, and [`BackwardOutcome::shallow`] that there were fewer. With
//! [`Pc::exact`] the gradients are backprop's, to the last bit where the sums are taken in the same
//! order. **Below rate 1 what counts as one vertex changes the result**, and libtorch's fused
//! kernels decide that: an LSTM in f32 on the CPU is one operation a layer, in f64 it is hundreds.
//! Paths of many lengths meet there, so that below rate 1 the closed form is no single pass
//! ([`Pc::evaluated_by`]). So compare layers at rates below 1 on [explicit graphs](Function), whose
//! vertices you choose. The loss's own operations are vertices too, unless the model's outputs are
//! named: [`Pc::backward_from`]. Only frozen predictions are possible: live schedules need new
//! predictions, which an autograd graph cannot make.
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
//! - Sparse embeddings, autocast, bf16, complex numbers: yes, by libtorch's own rules.
//! - Several threads: yes, each with its own model, as in libtorch.
//! - Hooks on tensors and nodes (set from C++; tch sets none): run at every pull; those that keep a
//!   gradient run at the last, with the final errors.
//! - `create_graph`: no. There is no second derivative of a relaxation.
//! - TorchScript: operation by operation yes; blocks that its optimiser has fused are refused by
//!   name.
//! - CUDA: nothing here is particular to the CPU, and nodes run under libtorch's guards of device
//!   and stream; a forward pass on another stream than the current one is refused. It is not
//!   tested.
//!
//! # libtorch
//! [`tch`] 0.26 pairs with libtorch 2.13.0. In this workspace `cargo xtask libtorch` brings it. In
//! a workspace of your own set `LIBTORCH`, and let the build script of each crate with a program
//! say where the library lies: `println!("cargo::rustc-link-arg=-Wl,-rpath,{}/lib",
//! std::env::var("LIBTORCH").unwrap())`. Documentation needs no libtorch: `cargo doc -p pc-tch
//! --no-deps --features doc-only`. Where burn 0.22 is in the same workspace, an empty `burn-tch`
//! has to stand in for burn's own: see `ARCHITECTURE.md`.

mod autograd;
mod backward;
mod function;
mod graph;
mod marked;
mod optimiser;
mod sys;
mod tensor;

pub use backward::{BackwardOutcome, Pc, depth};
pub use function::Function;
pub use marked::{Learned, LossReduction, PredictiveCoding, named_vertex, vertex};
pub use optimiser::PcOptimizer;
pub use pc_core;
pub use sys::live_graphs;
pub use tensor::TchTensor;
