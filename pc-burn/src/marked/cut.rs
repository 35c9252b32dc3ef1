//! The two custom operations that marks are made of, and the slot through which their backward
//! passes report.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, DispatchTensor, DispatchTensorKind,
    TensorMetadata,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    ops::FloatTensorOps,
    tensor::FloatTensor,
};
use burn::tensor::Tensor;

use super::wiring::{Nodes, Watch};
use crate::BurnTensor;

/// Where one mark leaves what it has seen: its nodes, and in the backward pass the cotangent that
/// arrived. It belongs to one pass of one relaxation, so that relaxations on several threads share
/// nothing.
#[derive(Clone, Default)]
pub(crate) struct Slot {
    report: Arc<Mutex<Report>>,
    watch: Option<Watch>,
}

#[derive(Default)]
struct Report {
    cotangent: Option<Box<dyn Any + Send>>,
    nodes: Option<Nodes>,
}

impl Slot {
    /// Of a pass whose wiring is wanted, where `watch` is given.
    fn of(watch: Option<&Watch>) -> Self {
        Self { watch: watch.cloned(), ..Self::default() }
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, cotangent: Box<dyn Any + Send>) {
        self.report().cotangent = Some(cotangent);
    }

    fn take(&self) -> Option<Box<dyn Any + Send>> {
        self.report().cotangent.take()
    }

    fn is_filled(&self) -> bool {
        self.report().cotangent.is_some()
    }

    fn note(&self, predicted: Option<u64>, out: u64) {
        self.report().nodes = Some(Nodes { predicted, out });
    }

    /// The mark's autodiff nodes.
    pub(super) fn nodes(&self) -> Option<Nodes> {
        self.report().nodes
    }

    fn see(&self, checkpointer: &Checkpointer) {
        if let Some(watch) = &self.watch {
            watch.see(checkpointer);
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").field(&self.is_filled()).finish()
    }
}

/// The operations of a mark, for every backend of Burn. Users never call them.
///
/// They move no numbers: forward is a value that is there already, and backward is one of Burn's
/// own products at most. So on devices of other machines they are the client's alone, and any
/// server of Burn's hosts a marked program, without being told of marks.
#[backend_extension(Flex: cfg(feature = "flex"), Cube: cfg(any(feature = "wgpu",
feature = "cuda")), Remote: cfg(feature = "remote"), Autodiff)]
pub(crate) trait MarkOps: Backend {
    /// Forward: `value`. Backward: leaves the cotangent in `slot`, and sends `seed` to what was
    /// `predicted`.
    fn pc_cut(
        predicted: FloatTensor<Self>,
        value: FloatTensor<Self>,
        seed: FloatTensor<Self>,
        slot: Slot,
    ) -> FloatTensor<Self> {
        let _ = (predicted, seed, slot);
        value
    }

    /// Forward: `value`. Backward: leaves the cotangent in `slot`, and sends `factor` times it to
    /// what was `predicted`.
    fn pc_pass(
        predicted: FloatTensor<Self>,
        value: FloatTensor<Self>,
        factor: f64,
        slot: Slot,
    ) -> FloatTensor<Self> {
        let _ = (predicted, factor, slot);
        value
    }

    /// Notes the node of `tensor` in `slot`.
    fn pc_note(tensor: FloatTensor<Self>, slot: Slot) -> FloatTensor<Self> {
        let _ = slot;
        tensor
    }

    /// The cotangent that a backward pass has left in `slot`; `like` where it left none.
    fn pc_take(like: FloatTensor<Self>, slot: Slot) -> FloatTensor<Self>
    where
        FloatTensor<Self>: 'static,
    {
        match slot.take().map(|left| left.downcast::<FloatTensor<Self>>()) {
            Some(Ok(left)) => *left,
            _ => like,
        }
    }
}

#[cfg(feature = "flex")]
impl MarkOps for burn::backend::Flex {}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl MarkOps for burn::backend::Cube {}

#[cfg(feature = "remote")]
impl MarkOps for burn::backend::Remote {}

impl<B: MarkOps, C: CheckpointStrategy> MarkOps for Autodiff<B, C> {
    fn pc_cut(
        predicted: FloatTensor<Self>,
        value: FloatTensor<Self>,
        seed: FloatTensor<Self>,
        slot: Slot,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Cut;
        impl<B: MarkOps> Backward<B, 2> for Cut {
            type State = (Slot, FloatTensor<B>);

            fn backward(
                self,
                ops: Ops<Self::State, 2>,
                grads: &mut Gradients,
                checkpointer: &mut Checkpointer,
            ) {
                let cotangent = grads.consume::<B>(&ops.node);
                let (slot, seed) = ops.state;
                slot.see(checkpointer);
                slot.put(Box::new(cotangent));
                let [predicted, _] = ops.parents;
                if let Some(predicted) = predicted {
                    grads.register::<B>(predicted.id, seed);
                }
            }
        }
        let node = predicted.is_tracked().then(|| predicted.id().value);
        let (predicted, predicted_node) = predicted.into_parts();
        let (value, value_node) = value.into_parts();
        match Cut.prepare::<C>([predicted_node, value_node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let seed = seed.into_primitive();
                let out = B::pc_cut(predicted, value, seed.clone(), slot.clone());
                let out = prepared.finish((slot.clone(), seed), out);
                slot.note(node, out.id().value);
                out
            }
            OpsKind::UnTracked(prepared) => prepared.finish(value),
        }
    }

    fn pc_pass(
        predicted: FloatTensor<Self>,
        value: FloatTensor<Self>,
        factor: f64,
        slot: Slot,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Pass;
        impl<B: MarkOps> Backward<B, 2> for Pass {
            type State = (Slot, f64);

            fn backward(
                self,
                ops: Ops<Self::State, 2>,
                grads: &mut Gradients,
                checkpointer: &mut Checkpointer,
            ) {
                let cotangent = grads.consume::<B>(&ops.node);
                let (slot, factor) = ops.state;
                slot.see(checkpointer);
                let [predicted, _] = ops.parents;
                if let Some(predicted) = predicted {
                    let sent = if factor == 1.0 {
                        cotangent.clone()
                    } else {
                        B::float_mul_scalar(cotangent.clone(), factor.into())
                    };
                    grads.register::<B>(predicted.id, sent);
                }
                slot.put(Box::new(cotangent));
            }
        }
        let node = predicted.is_tracked().then(|| predicted.id().value);
        let (predicted, predicted_node) = predicted.into_parts();
        let (value, value_node) = value.into_parts();
        match Pass.prepare::<C>([predicted_node, value_node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let out = B::pc_pass(predicted, value, factor, slot.clone());
                let out = prepared.finish((slot.clone(), factor), out);
                slot.note(node, out.id().value);
                out
            }
            OpsKind::UnTracked(prepared) => prepared.finish(value),
        }
    }

    fn pc_note(tensor: FloatTensor<Self>, slot: Slot) -> FloatTensor<Self> {
        let node = tensor.id().value;
        slot.note(tensor.is_tracked().then_some(node), node);
        tensor
    }
}

/// Marks are operations of a backend, and each backend is a feature of this crate.
///
/// # Errors
/// A tensor of a backend that Burn was built with, and this crate was not.
pub(super) fn hosts(tensor: &DispatchTensor) -> pc_core::Result<()> {
    fn known(kind: &DispatchTensorKind) -> bool {
        // Which backends there are besides is for the whole program to say.
        #[allow(unreachable_patterns)]
        match kind {
            #[cfg(feature = "flex")]
            DispatchTensorKind::Flex(_) => true,
            #[cfg(any(feature = "wgpu", feature = "cuda"))]
            DispatchTensorKind::Cube(_) => true,
            #[cfg(feature = "remote")]
            DispatchTensorKind::Remote(_) => true,
            DispatchTensorKind::Autodiff(inner) => known(inner),
            _ => false,
        }
    }
    if known(&tensor.kind) {
        return Ok(());
    }
    let message = format!(
        "a mark met a tensor on {:?}, and pc-burn was built without that backend: name its feature \
         (`flex`, `wgpu`, `cuda`, `remote`) on `pc-burn` in Cargo.toml, not on `burn` alone",
        tensor.device()
    );
    Err(pc_core::Error::new(pc_core::ErrorKind::Unsupported, message))
}

/// What a mark does to the graph behind it.
#[derive(Clone, Debug)]
pub(super) enum Link {
    /// Nothing comes from behind: what was predicted is forgotten.
    Severed,
    /// This cotangent goes on to what was predicted.
    Seeded(BurnTensor),
    /// What arrives goes on, times a factor.
    Passing(f64),
}

/// Puts `value` in the place of `predicted`, and says where its cotangent will be left.
pub(super) fn link(
    predicted: DispatchTensor,
    value: &BurnTensor,
    link: Link,
    watch: Option<&Watch>,
) -> (DispatchTensor, Slot) {
    // The caller's gradient checkpointing strategy is kept.
    let strategy = predicted.autodiff;
    let lift = |tensor: &BurnTensor| {
        let mut tensor = Dispatch::from_inner(tensor.as_dispatch().clone());
        tensor.autodiff = strategy;
        tensor
    };
    // A leaf that wants its gradient keeps the output tracked where nothing before it is.
    let leaf = Dispatch::float_set_require_grad(lift(value), true);
    let slot = Slot::of(watch);
    let linked = match link {
        Link::Severed => Dispatch::pc_pass(lift(value), leaf, 1.0, slot.clone()),
        Link::Seeded(seed) => Dispatch::pc_cut(predicted, leaf, lift(&seed), slot.clone()),
        Link::Passing(factor) => Dispatch::pc_pass(predicted, leaf, factor, slot.clone()),
    };
    (linked, slot)
}

/// The cotangent that the backward pass left, where it came by.
pub(super) fn arrived(slot: &Slot, like: &BurnTensor) -> Option<BurnTensor> {
    slot.is_filled()
        .then(|| BurnTensor::wrap(Dispatch::pc_take(like.as_dispatch().clone(), slot.clone())))
}

/// The autodiff node of a tensor. Returns `None` if it has none.
pub(super) fn node_of<const D: usize>(tensor: Tensor<D>) -> Option<u64> {
    if !tensor.is_autodiff() {
        return None;
    }
    let slot = Slot::default();
    drop(Dispatch::pc_note(tensor.into_dispatch(), slot.clone()));
    slot.nodes().map(|nodes| nodes.out)
}
