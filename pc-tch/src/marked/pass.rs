//! One pass of a user's program under marks: what every mark puts in its prediction's place, and
//! what it has seen.

use std::{cell::RefCell, rc::Rc};

use pc_core::{Error, ErrorKind, Result};
use tch::{Kind, Tensor};

use super::layout::{Layout, label};
use crate::{
    sys::marks::{self, Memo},
    tensor::reported,
};

thread_local! {
    /// The pass that marks on this thread belong to.
    static CURRENT: RefCell<Option<Pass>> = const { RefCell::new(None) };
}

/// What a mark puts in the place of its prediction.
#[derive(Debug)]
pub(super) enum Value {
    /// The prediction itself.
    Predicted,
    /// A state.
    Given(Tensor),
    /// The prediction and an error.
    Offset(Tensor),
}

/// What one mark has seen.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) name: Option<String>,
    /// What was predicted, with its graph.
    pub(super) predicted: Tensor,
    /// What took its place.
    pub(super) leaf: Tensor,
}

/// What the marks of a pass are to do: in the first pass nothing is known of them.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) layout: Option<Rc<Layout>>,
    /// By mark; those that are missing take their predictions.
    pub(super) values: Vec<Value>,
}

#[derive(Debug)]
struct Pass {
    orders: Orders,
    sights: Vec<Sight>,
    problem: Option<Error>,
}

impl Pass {
    fn meet(&mut self, x: &Tensor, name: Option<&str>) -> Tensor {
        if self.problem.is_none() {
            let _aside = marks::Aside::new();
            match self.leaf(x, name) {
                Ok(leaf) => {
                    marks::moves(&leaf);
                    let out = leaf.shallow_clone();
                    let (predicted, name) = (x.shallow_clone(), name.map(str::to_owned));
                    self.sights.push(Sight { name, predicted, leaf });
                    return out;
                }
                Err(error) => self.problem = Some(error.at(&label(self.sights.len(), name))),
            }
        }
        x.shallow_clone()
    }

    fn leaf(&self, x: &Tensor, name: Option<&str>) -> Result<Tensor> {
        let index = self.sights.len();
        if !x.defined() {
            return Err(refused("an undefined tensor is no vertex"));
        }
        let kind = x.f_kind().map_err(reported)?;
        if !matches!(kind, Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double) {
            return Err(refused(&format!(
                "a tensor of kind {kind:?} is no vertex: states are real numbers that move. Mark \
                 what is computed from it"
            )));
        }
        if x.is_sparse() {
            return Err(refused("a sparse tensor is no vertex: mark what is computed from it"));
        }
        if let Some(layout) = &self.orders.layout {
            layout.meet(index, name, &x.size(), kind)?;
        }
        let value = match self.orders.values.get(index) {
            None | Some(Value::Predicted) => x.f_detach(),
            Some(Value::Given(value)) => value.f_detach(),
            Some(Value::Offset(offset)) => x.f_detach().and_then(|x| x.f_add(offset)?.f_detach()),
        };
        value.and_then(|value| value.f_set_requires_grad(true)).map_err(reported)
    }
}

fn refused(message: &str) -> Error {
    Error::new(ErrorKind::Graph, message)
}

/// Ends the pass of this thread, also where the program panics.
struct Turn;

impl Drop for Turn {
    fn drop(&mut self) {
        CURRENT.with(|current| current.borrow_mut().take());
    }
}

/// # Errors
/// A pass can begin neither without gradients nor within another.
pub(super) fn check_free() -> Result<()> {
    let message = if !marks::records() {
        "gradients are off on this thread (`no_grad`), so that nothing can be learned"
    } else if CURRENT.with(|current| current.borrow().is_some()) {
        "a step of learning was asked for within a forward pass of another"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Misuse, message))
}

/// Runs a program under marks: its loss, and what each mark has seen.
///
/// # Errors
/// As [`check_free`]; a mark that cannot be a vertex, or is not as it was before.
pub(super) fn run(
    orders: Orders,
    memo: Option<&Memo>,
    program: &mut dyn FnMut() -> Tensor,
) -> Result<(Tensor, Vec<Sight>)> {
    check_free()?;
    let remembering = memo.map(Memo::on).transpose()?;
    let pass = Pass { orders, sights: Vec::new(), problem: None };
    CURRENT.with(|current| *current.borrow_mut() = Some(pass));
    let turn = Turn;
    let loss = program();
    let pass = CURRENT.with(|current| current.borrow_mut().take());
    drop((turn, remembering));
    let pass = pass.ok_or_else(|| Error::new(ErrorKind::Misuse, "the pass ended early"))?;
    match pass.problem {
        Some(problem) => Err(problem),
        None => Ok((loss, pass.sights)),
    }
}

/// What a mark does.
pub(super) fn mark(x: &Tensor, name: Option<&str>) -> Tensor {
    CURRENT.with(|current| match current.borrow_mut().as_mut() {
        // What runs without gradients is no part of what is learned: a teacher, a target network.
        Some(pass) if marks::records() => pass.meet(x, name),
        _ => x.shallow_clone(),
    })
}
