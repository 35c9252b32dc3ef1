//! Burn models train by predictive coding (PC), in place of `loss.backward()`.
//!
//! A *vertex* is a value of the model's graph that PC may move. Every vertex is predicted by those
//! before it; its error is value minus prediction. Errors relax over a few steps, and then every
//! parameter learns from the error of the vertex that it helps to predict. `pc-core` holds the
//! rules, as values of one type, [`Schedule`](pc_core::Schedule); this crate runs them on stock
//! Burn, on any backend that it knows.
//!
//! # Three ways
//! **Marks, and a loop of your own.** Put [`vertex`] around the values that are to be vertices: one
//! call each, the identity at any other time. Then one line of the training loop changes:
//! ```
//! use burn::module::Module;
//! use burn::nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig};
//! use burn::optim::{GradientsParams, SgdConfig};
//! use burn::tensor::{Device, Int, Tensor, activation};
//! use pc_burn::{LossReduction, PredictiveCoding, vertex};
//! use pc_core::Schedule;
//!
//! #[derive(Module, Debug)]
//! struct Mlp { hidden: Linear, output: Linear }
//!
//! impl Mlp {
//!     fn loss(&self, x: Tensor<2>, y: Tensor<1, Int>) -> Tensor<1> {
//!         let h = vertex(activation::tanh(self.hidden.forward(x)));
//!         let logits = vertex(self.output.forward(h));
//!         CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, y)
//!     }
//! }
//!
//! let device = Device::flex().autodiff();
//! let mut model = Mlp {
//!     hidden: LinearConfig::new(4, 8).init(&device),
//!     output: LinearConfig::new(8, 3).init(&device),
//! };
//! let mut optimiser = SgdConfig::new().init();
//! let (x, y) = (Tensor::<2>::ones([6, 4], &device), Tensor::<1, Int>::arange(0..6, &device) % 3);
//!
//! let mut pc = PredictiveCoding::new(Schedule::standard(0.1, 20)?, LossReduction::Mean);
//! for _ in 0..5 {
//!     // By backprop:
//!     // let loss = model.loss(x.clone(), y.clone());
//!     // let gradients = GradientsParams::from_grads(loss.backward(), &model);
//!     let learned = pc.learn(&model, |model| model.loss(x.clone(), y.clone()))?;
//!     assert_eq!(learned.passes, 21);
//!     model = optimiser.step(0.1, model, learned.gradients);
//! }
//! # Ok::<(), pc_core::Error>(())
//! ```
//! Gradients are Burn's own [`GradientsParams`](burn::optim::GradientsParams): every optimiser,
//! gradient clipping, accumulation and parameter group works as before. [`named_vertex`] gives a
//! vertex a name for messages.
//!
//! **burn-train's `Learner`** (feature `train`). Mark the model, wrap it once in `PcModel`, and
//! keep its `TrainStep`, the optimiser, the data loaders, the checkpoints and the dashboard. This
//! is the whole difference between `examples/digits_backprop.rs` and `examples/digits.rs`:
//! ```diff
//!  use common::{DigitBatch, DigitBatcher, Lines, Options, load_digits};
//! +use pc_burn::{EnergyMetric, LossReduction, PassesMetric, PcModel, PredictiveCoding, vertex};
//!
//!      fn forward(&self, images: Tensor<4>) -> Tensor<2> {
//! -        let x = relu(self.norm1.forward(self.conv1.forward(images)));
//! -        let x = self.pool.forward(relu(self.norm2.forward(self.conv2.forward(x))));
//! +        let x = vertex(relu(self.norm1.forward(self.conv1.forward(images))));
//! +        let x = vertex(self.pool.forward(relu(self.norm2.forward(self.conv2.forward(x)))));
//!          let x = self.dropout.forward(x.flatten(1, 3));
//! -        let x = relu(self.dense.forward(x));
//! -        self.head.forward(x)
//! +        let x = vertex(relu(self.dense.forward(x)));
//! +        vertex(self.head.forward(x))
//!      }
//!
//!      device.seed(options.seed);
//! -    let model = Cnn::new(options.dropout, &device);
//! +    let pc = PredictiveCoding::new(options.schedule()?, LossReduction::Mean);
//! +    let model = PcModel::new(Cnn::new(options.dropout, &device), pc);
//!      let optimiser = AdamConfig::new().init();
//!
//!          .metrics((AccuracyMetric::new(), LossMetric::new()))
//! +        .metric_train_numeric(EnergyMetric::new())
//! +        .metric_train_numeric(PassesMetric::new())
//!          .num_epochs(options.epochs)
//! ```
//! The last two lines are for the dashboard; `ResidualMetric` and `AgreementMetric` are others.
//!
//! **An explicit graph.** [`BurnTensor`] is the engine's tensor on Burn:
//! `pc_core::Graph<BurnTensor>` takes vertices of one's own, clamps that hold any of them, cycles
//! and carried states, which a marked forward pass cannot say.
//!
//! # How schedules map
//! The engine asks a marked program for forward and backward passes: `vertex` replaces a value by
//! what relaxation has made of it, and in the backward pass sends the vertex's error, not the
//! cotangent, to what predicted it. So a pass costs what a backprop step of yours costs.
//!
//! | schedule | passes a step | gradients |
//! |---|---|---|
//! | `backprop` | 1 | backprop's |
//! | `fixed_prediction`, any rate up to 1, in closed form | 1 | each depth's rescaled |
//! | `fixed_prediction`, simulated or with momentum | `T` + 1 | the same, by simulation |
//! | `zil` | 1, and 4 for each level below the output | backprop's; see below |
//! | `standard(rate, T)` | `T` + 1 | standard PC's own |
//! | `epc(rate, T)` | `T` + 1 | those of standard PC's equilibrium, in the limit |
//! | `ipc(rate, T)` | `T` + 1 | weights move at every step; see below |
//!
//! At rate 1, with at least as many steps as the net is deep, fixed prediction's gradients are
//! backprop's. Z-IL is refused where an edge spans more than one level. iPC needs
//! [`PredictiveCoding::train`], which takes the optimiser.
//!
//! A tolerance (`.until(..)`) adds one, and may save many. In closed form a rate below 1 costs some
//! more passes where paths of several lengths meet (skips).
//! [`PredictiveCoding::compared_every`] adds a pass of backprop at the steps where it compares.
//!
//! Before it relaxes for the first time a program is surveyed, by one pass (three at most), however
//! many marks it has. 64 programs are remembered: of other shapes, wirings and sets of parameters
//! that learn. The first pass of every step sees which of them it is, and is lost where it is
//! another than at the step before. So one `PredictiveCoding` can train networks in turn, layers
//! can be frozen and thawed, and branches can be drawn or depend on the batch.
//!
//! [`vertex_of`] takes the function that predicts a vertex and does not call it while nothing that
//! it is made of has moved. Around the first layers that is most of what a live step need not do.
//!
//! # What to know
//! - **Loss reduction.** Drives are per sample: say by [`LossReduction`] what the loss was divided
//!   by, or live schedules run another rule, one whose drive weakens as batches grow. `Mean` is of
//!   the first dimension of the first vertex; over tokens or outputs say `MeanOver(n)`.
//!   [`PredictiveCoding::check_reduction`] tells whether the loss is what was said.
//! - **The vertices next to the loss** are held by its drive: to mark the logits or not changes
//!   nothing.
//! - **Batch norm** keeps its running statistics: they move once a step, in the pass that learns.
//!   The batch's statistics are part of a prediction.
//! - **Dropout** keeps one mask for all passes of a step: Burn's generator is set back before each.
//!   It belongs to the process, so that models which draw random numbers relax in turn, and their
//!   masks are others than backprop's from the same seed. Where other threads draw from it too (a
//!   loader's workers, for augmentation), let the numbers belong to the step: [`dropout`] in place
//!   of `Dropout::forward`, and [`drawn`] around any other random tensor.
//! - **Tied weights** are one layer used twice, or clones of one. Burn's optimisers move the first
//!   of clones alone. [`PredictiveCoding::train`] ties them again; in a loop of your own, clones
//!   that have come apart are refused.
//! - **Draws that begin later.** Whether a program draws from the process's generator is found when
//!   it is surveyed. A program that begins to draw afterwards, with the same marks and the same
//!   wiring, has to be told apart: by another `PredictiveCoding`, or by [`drawn`].
//! - **A mark that the loss does not depend on** (detached, or unused) is no vertex.
//! - **Lazily initialised parameters** are initialised by the first pass, in the module's order.
//! - **Several devices.** `ExecutionStrategy::multi` works, with either optimiser strategy. It adds
//!   the workers' gradients: for `k` workers and mean losses a `k`-th of the learning rate gives
//!   the steps of one worker with the joined batch. The data-parallel strategy reduces gradients
//!   inside of every backward pass, in whatever order workers come to it; relaxing workers come
//!   there more than once, so that `PcModel` refuses it. (Flex cannot run it at all.)
//! - **Devices on other machines** (Burn's `remote`) are devices like any. Marks move no numbers,
//!   so any server of Burn's hosts a marked program. A server that is lost is an error of the step,
//!   not a relaxation that diverged. `docs/bring-your-model.md` starts servers and clients.
//! - **A backend is a feature of this crate**: named on `burn` alone, its tensors meet marks that
//!   do not know it, and the step is refused.
//! - **Single precision.** A marked program shows its predictions and not how they change, so that
//!   in a live relaxation an error is the difference of two rounded predictions: an error `e` of a
//!   prediction `mu` is known to about `6e-8 |mu| / |e|`. Near the outputs that is nothing; where a
//!   relaxation has only begun to reach a layer (eight below the output after 20 steps at rate 0.1,
//!   say) it is some `1e-4` of its gradient. Explicit graphs take differences without that loss,
//!   and `f64` has digits to spare; exact schedules lose nothing either way.
//! - **Divergence** is an outcome, not an error: no gradients, so that the optimiser leaves the
//!   weights alone.
//!
//! # What is refused
//! Each with an error that names the vertex, the step and the pass where there is one: marks that
//! change in number, order, name or shape within a step; a loss that is not one number, or depends
//! on no parameter that learns (a model used in the closure other than the one it is given, one
//! that is `valid()` or frozen); a program in which nothing is left to relax, unless by `backprop`;
//! a schedule whose weights move at every step where there is no optimiser (`learn`, and so the
//! `Learner`). In a `Learner` an error is a worker's failure. `PcModel::interrupting` makes it one
//! on one device too, where it is a panic with the message otherwise, since a `TrainStep` returns
//! no error.
//!
//! # Cargo features
//! | feature | |
//! |---|---|
//! | `flex` (default) | Burn's own CPU backend |
//! | `wgpu`, `cuda` | its GPU backends |
//! | `remote`, `remote-websocket` | devices of other machines, by Iroh, and by WebSocket too |
//! | `remote-server` | `burn::server`, which lends this machine's devices |
//! | `train` | `PcModel`, its metrics, and burn-train |

pub mod explicit;
#[cfg(feature = "train")]
mod learner;
mod marked;
mod predictive;
mod reduction;
mod tensor;

#[cfg(feature = "train")]
pub use learner::{
    AgreementMetric, EnergyMetric, HasLoss, PassesMetric, PcModel, PcOutput, RelaxationInput,
    Relaxed, ResidualMetric,
};
pub use marked::{drawn, dropout, named_vertex, named_vertex_of, vertex, vertex_of};
pub use pc_core::LossReduction;
pub use predictive::{Learned, PredictiveCoding};
pub use tensor::BurnTensor;
#[doc(hidden)]
pub use tensor::with_operations_only;
