//! What marked programs need of the shim, made safe.

use std::{
    ffi::{c_char, c_int},
    ptr::{self, NonNull},
};

use pc_core::{Error, ErrorKind, Result};
use tch::Tensor;
use torch_sys::C_tensor;

use super::{checked, explained, from_raw, into_raw, raw};

#[repr(C)]
struct RawTape {
    _private: [u8; 0],
}

#[repr(C)]
struct RawWatch {
    _private: [u8; 0],
}

#[repr(C)]
struct RawMemo {
    _private: [u8; 0],
}

// As shim/pc_tch_marks.h declares them.
unsafe extern "C" {
    fn pc_tch_tape_new(
        roots: *const *mut C_tensor,
        count: usize,
        marks: *const *mut C_tensor,
        marked: usize,
        tape: *mut *mut RawTape,
    ) -> *mut c_char;
    fn pc_tch_tape_free(tape: *mut RawTape);
    fn pc_tch_tape_parameters(tape: *const RawTape) -> usize;
    fn pc_tch_tape_parameter(tape: *const RawTape, parameter: usize) -> *mut C_tensor;
    fn pc_tch_identity(value: *mut C_tensor) -> usize;
    fn pc_tch_tape_reach(tape: *const RawTape, root: usize, count: *mut usize) -> *const usize;
    fn pc_tch_tape_pull(
        tape: *mut RawTape,
        root: usize,
        cotangent: *mut C_tensor,
        what: c_int,
        results: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn pc_tch_tape_reduction(
        tape: *mut RawTape,
        root: usize,
        samples: usize,
        reduction: *mut c_int,
        why: *mut *mut c_char,
    ) -> *mut c_char;
    fn pc_tch_tape_rest(tape: *mut RawTape);
    safe fn pc_tch_memo_new() -> *mut RawMemo;
    fn pc_tch_memo_free(memo: *mut RawMemo);
    fn pc_tch_memo_on(memo: *mut RawMemo) -> *mut c_char;
    fn pc_tch_memo_off(memo: *mut RawMemo);
    safe fn pc_tch_memo_pause(paused: c_int);
    fn pc_tch_memo_moves(value: *mut C_tensor);
    fn pc_tch_memo_spared(memo: *const RawMemo) -> usize;
    fn pc_tch_leaf_accumulate(leaf: *mut C_tensor, gradient: *mut C_tensor) -> *mut c_char;
    safe fn pc_tch_grad_enabled() -> c_int;
    fn pc_tch_watch_new(watch: *mut *mut RawWatch) -> *mut c_char;
    fn pc_tch_watch_end(watch: *mut RawWatch);
    fn pc_tch_watch_free(watch: *mut RawWatch);
    fn pc_tch_watch_draws(watch: *const RawWatch) -> c_int;
    fn pc_tch_watch_written(watch: *const RawWatch) -> usize;
    fn pc_tch_watch_tensor(watch: *const RawWatch, index: usize) -> *mut C_tensor;
    fn pc_tch_generator_get(like: *mut C_tensor, state: *mut *mut C_tensor) -> *mut c_char;
    fn pc_tch_generator_set(like: *mut C_tensor, state: *mut C_tensor) -> *mut c_char;
    fn pc_tch_restore(target: *mut C_tensor, source: *mut C_tensor) -> *mut c_char;
}

/// What a pull is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The forces on marks.
    Marks,
    /// The gradients of parameters.
    Parameters,
    /// Both.
    Both,
}

impl After {
    /// As the header numbers them.
    fn code(self) -> c_int {
        match self {
            After::Marks => 1,
            After::Parameters => 2,
            After::Both => 3,
        }
    }
}

/// How a loss makes one number of its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reduced {
    /// It does not go by samples, as far as marks reach it.
    Not,
    Sum,
    Mean,
    /// Both fit: a weight of 1 on one sample, or of 1/2 on two.
    Either,
    /// That cannot be read off its operations; why.
    Unclear(String),
}

/// The graph that one forward pass has left, in segments: one for each root. Its leaves are
/// numbered, the marks first and then the parameters.
#[derive(Debug)]
pub(crate) struct Segments {
    raw: NonNull<RawTape>,
    marks: usize,
    parameters: Vec<Tensor>,
    reach: Vec<Vec<usize>>,
}

impl Segments {
    /// Takes hold of what lies between `roots` (what was predicted, the loss last) and `marks`, the
    /// leaves that took the predictions' places.
    ///
    /// # Errors
    /// What libtorch reports.
    pub(crate) fn new(roots: &[&Tensor], marks: &[&Tensor]) -> Result<Self> {
        let handles = |tensors: &[&Tensor]| -> Vec<*mut C_tensor> {
            tensors.iter().map(|tensor| raw(tensor)).collect()
        };
        let (roots, leaves) = (handles(roots), handles(marks));
        let mut tape = ptr::null_mut();
        // SAFETY: the handles are of live tensors, as many as said, and the shim writes one
        // pointer.
        checked(unsafe {
            pc_tch_tape_new(
                roots.as_ptr(),
                roots.len(),
                leaves.as_ptr(),
                leaves.len(),
                &raw mut tape,
            )
        })?;
        let raw = NonNull::new(tape)
            .ok_or_else(|| Error::new(ErrorKind::Backend, "the shim made no tape"))?;
        let mut held = Self { raw, marks: marks.len(), parameters: Vec::new(), reach: Vec::new() };
        let own = held.raw.as_ptr();
        // SAFETY: the tape is live, as in every call below; indices are below the counts it gave.
        let count = unsafe { pc_tch_tape_parameters(own) };
        held.parameters = (0..count)
            // SAFETY: as above; each handle is new and given out once.
            .filter_map(|parameter| from_raw(unsafe { pc_tch_tape_parameter(own, parameter) }))
            .collect();
        held.reach = (0..roots.len())
            .map(|root| {
                let mut count = 0;
                // SAFETY: the root is one of those given, and the shim writes one number.
                let first = unsafe { pc_tch_tape_reach(own, root, &raw mut count) };
                if count == 0 {
                    return Vec::new();
                }
                // SAFETY: the shim keeps so many numbers there as long as the tape lives.
                unsafe { std::slice::from_raw_parts(first, count) }.to_vec()
            })
            .collect();
        Ok(held)
    }

    /// The parameters that any segment reaches.
    pub(crate) fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// The leaves of a segment, ascending: marks are below `marks`, parameters come after them.
    pub(crate) fn reach(&self, root: usize) -> &[usize] {
        self.reach.get(root).map_or(&[], Vec::as_slice)
    }

    /// The marks of a segment.
    pub(crate) fn marks(&self, root: usize) -> impl Iterator<Item = usize> + '_ {
        self.reach(root).iter().copied().filter(|leaf| *leaf < self.marks)
    }

    /// The parameters of a segment.
    pub(crate) fn uses(&self, root: usize) -> impl Iterator<Item = usize> + '_ {
        self.reach(root).iter().filter_map(|leaf| leaf.checked_sub(self.marks))
    }

    /// Pulls a cotangent back through a segment: what arrives at each of its leaves, in order.
    ///
    /// # Errors
    /// What libtorch reports.
    pub(crate) fn pull(
        &mut self,
        root: usize,
        cotangent: &Tensor,
        after: After,
    ) -> Result<Vec<Option<Tensor>>> {
        let mut results = vec![ptr::null_mut(); self.reach(root).len()];
        if results.is_empty() {
            return Ok(Vec::new());
        }
        // SAFETY: a root with leaves is one of the tape's, the cotangent is live, and there is room
        // for each of the segment's leaves.
        let message = unsafe {
            pc_tch_tape_pull(
                self.raw.as_ptr(),
                root,
                raw(cotangent),
                after.code(),
                results.as_mut_ptr(),
            )
        };
        let results = results.into_iter().map(from_raw).collect();
        checked(message).map_err(|error| explained(error, "its prediction"))?;
        Ok(results)
    }

    /// How the loss, which is root `root`, was reduced over so many samples.
    ///
    /// # Errors
    /// What libtorch reports.
    pub(crate) fn reduction(&mut self, root: usize, samples: usize) -> Result<Reduced> {
        if self.reach(root).is_empty() {
            return Ok(Reduced::Not);
        }
        let (mut reduction, mut why) = (0, ptr::null_mut());
        // SAFETY: the root is one of the tape's, and the shim writes a number and a pointer.
        checked(unsafe {
            pc_tch_tape_reduction(
                self.raw.as_ptr(),
                root,
                samples,
                &raw mut reduction,
                &raw mut why,
            )
        })?;
        Ok(match (reduction, checked(why)) {
            (_, Err(why)) => Reduced::Unclear(why.to_string()),
            (1, Ok(())) => Reduced::Sum,
            (2, Ok(())) => Reduced::Mean,
            (4, Ok(())) => Reduced::Either,
            _ => Reduced::Not,
        })
    }
}

impl Segments {
    /// Puts back what pulls have taken out of the graph, parts of which other passes may share.
    pub(crate) fn rest(&mut self) {
        // SAFETY: the tape is live and ours alone.
        unsafe { pc_tch_tape_rest(self.raw.as_ptr()) };
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        // SAFETY: the tape is live and ours alone.
        unsafe { pc_tch_tape_free(self.raw.as_ptr()) };
    }
}

/// What the passes of one step of training share: operations whose arguments are the very same
/// tensors in each, unwritten since, are computed in the first and not again.
#[derive(Debug)]
pub(crate) struct Memo(NonNull<RawMemo>);

impl Memo {
    pub(crate) fn new() -> Option<Self> {
        NonNull::new(pc_tch_memo_new()).map(Self)
    }

    /// Has this thread's operations go through it, until the guard is dropped.
    ///
    /// # Errors
    /// This thread remembers another pass.
    pub(crate) fn on(&self) -> Result<Remembering<'_>> {
        // SAFETY: the memo is live, and stays so as long as the guard.
        checked(unsafe { pc_tch_memo_on(self.0.as_ptr()) })?;
        Ok(Remembering(self))
    }

    /// How many operations it has spared.
    pub(crate) fn spared(&self) -> usize {
        // SAFETY: the memo is live.
        unsafe { pc_tch_memo_spared(self.0.as_ptr()) }
    }
}

impl Drop for Memo {
    fn drop(&mut self) {
        // SAFETY: the memo is live and ours alone; freeing it turns it off.
        unsafe { pc_tch_memo_free(self.0.as_ptr()) };
    }
}

/// A pass that is remembered, or spared what was.
#[derive(Debug)]
pub(crate) struct Remembering<'a>(&'a Memo);

impl Drop for Remembering<'_> {
    fn drop(&mut self) {
        // SAFETY: the memo is live.
        unsafe { pc_tch_memo_off(self.0.0.as_ptr()) };
    }
}

/// What is computed until it is dropped is no part of the program that is remembered.
#[derive(Debug)]
pub(crate) struct Aside(());

impl Aside {
    pub(crate) fn new() -> Self {
        pc_tch_memo_pause(1);
        Self(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        pc_tch_memo_pause(0);
    }
}

/// Says that a tensor moves from pass to pass, so that nothing computed from it is remembered.
pub(crate) fn moves(tensor: &Tensor) {
    // SAFETY: the tensor is live.
    unsafe { pc_tch_memo_moves(raw(tensor)) };
}

/// What tells a tensor from all others, as long as it lives.
pub(crate) fn identity(tensor: &Tensor) -> usize {
    // SAFETY: the tensor is live.
    unsafe { pc_tch_identity(raw(tensor)) }
}

/// Adds to the `.grad` of a leaf, by libtorch's own rules.
///
/// # Errors
/// What libtorch reports.
pub(crate) fn accumulate(leaf: &Tensor, gradient: Tensor) -> Result<()> {
    // SAFETY: the leaf is live, and the gradient's handle is given up to the shim.
    checked(unsafe { pc_tch_leaf_accumulate(raw(leaf), into_raw(gradient)) })
}

/// Whether this thread records gradients just now.
pub(crate) fn records() -> bool {
    pc_tch_grad_enabled() != 0
}

/// Watches what this thread computes, until it is read or dropped.
#[derive(Debug)]
pub(crate) struct Watch(NonNull<RawWatch>);

impl Watch {
    /// # Errors
    /// This thread is watched already.
    pub(crate) fn new() -> Result<Self> {
        let mut watch = ptr::null_mut();
        // SAFETY: the shim writes one pointer.
        checked(unsafe { pc_tch_watch_new(&raw mut watch) })?;
        NonNull::new(watch)
            .map(Self)
            .ok_or_else(|| Error::new(ErrorKind::Backend, "the shim made no watch"))
    }

    /// Whether random numbers were drawn, and the tensors that were there before and were written.
    pub(crate) fn read(self) -> (bool, Vec<Tensor>) {
        let own = self.0.as_ptr();
        // SAFETY: the watch is live; indices are below the count that it gives, and each handle is
        // new.
        unsafe {
            pc_tch_watch_end(own);
            let written = (0..pc_tch_watch_written(own))
                .filter_map(|index| from_raw(pc_tch_watch_tensor(own, index)))
                .collect();
            (pc_tch_watch_draws(own) != 0, written)
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: the watch is live and ours alone; freeing it ends it.
        unsafe { pc_tch_watch_free(self.0.as_ptr()) };
    }
}

/// The state of the default generator of a tensor's device.
///
/// # Errors
/// What libtorch reports.
pub(crate) fn generator(like: &Tensor) -> Result<Tensor> {
    let mut state = ptr::null_mut();
    // SAFETY: the tensor is live, and the shim writes one pointer.
    checked(unsafe { pc_tch_generator_get(raw(like), &raw mut state) })?;
    from_raw(state).ok_or_else(|| Error::new(ErrorKind::Backend, "a generator has no state"))
}

/// Sets the default generator of a tensor's device to a state that it had.
///
/// # Errors
/// What libtorch reports.
pub(crate) fn set_generator(like: &Tensor, state: &Tensor) -> Result<()> {
    // SAFETY: both tensors are live.
    checked(unsafe { pc_tch_generator_set(raw(like), raw(state)) })
}

/// Writes `source` over `target`.
///
/// # Errors
/// What libtorch reports.
pub(crate) fn restore(target: &Tensor, source: &Tensor) -> Result<()> {
    // SAFETY: both tensors are live, and nothing in Rust holds their numbers.
    checked(unsafe { pc_tch_restore(raw(target), raw(source)) })
}
