//! A model as a relaxation needs it: its parameters that learn, copies that leave it alone, and
//! parameters that are one and stay one.

use std::collections::HashMap;

use burn::{
    backend::DispatchTensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{GradientCheckpointingStrategy, Tensor},
};
use pc_core::{Error, ErrorKind, Result};

use super::cut::node_of;

/// The parameters that learn, with their paths in the module. Parameters of one id are one, with
/// the path of the first.
///
/// # Errors
/// A model none of whose parameters learns; parameters of one id that are no longer one.
pub(super) fn parameters_of<M: Module>(model: &M) -> Result<Vec<(ParamId, String)>> {
    #[derive(Default)]
    struct Names {
        path: Vec<String>,
        found: Vec<(ParamId, String)>,
        any: bool,
        tracked: bool,
        repeated: bool,
    }
    impl ModuleVisitor for Names {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            // Reading a lazily initialised parameter makes it; before that no copy of it would have
            // the same numbers.
            let made = param.val();
            self.any = true;
            self.tracked |= made.is_autodiff();
            if !param.is_require_grad() {
                return;
            }
            if self.found.iter().any(|(id, _)| *id == param.id) {
                self.repeated = true;
            } else {
                self.found.push((param.id, self.path.join(".")));
            }
        }
    }
    let mut names = Names::default();
    model.visit(&mut names);
    if names.found.is_empty() {
        return Err(Error::new(
            ErrorKind::Misuse,
            if !names.any {
                "the model has no parameters that could learn"
            } else if names.tracked {
                "every parameter of the model is frozen, so that nothing can learn: \
                 `set_require_grad(true)` or `unfreeze()` those that shall"
            } else {
                "the model's tensors have no autodiff, so that nothing can learn: it is a \
                 `valid()` model (`train()` makes one that learns), or its device is none of \
                 `Device::autodiff()`"
            },
        ));
    }
    if names.repeated {
        check_ties(model)?;
    }
    Ok(names.found)
}

/// The parameters that come more than once, by id, with their autodiff nodes: one layer cloned into
/// several places.
#[derive(Default)]
struct Ties {
    path: Vec<String>,
    first: HashMap<ParamId, (String, Option<u64>)>,
    broken: Option<(String, String)>,
}

impl ModuleVisitor for Ties {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        let (path, node) = (self.path.join("."), node_of(param.val()));
        match self.first.get(&param.id) {
            Some((first, other)) if *other != node => {
                self.broken.get_or_insert((first.clone(), path));
            }
            Some(_) => {}
            None => {
                self.first.insert(param.id, (path, node));
            }
        }
    }
}

/// # Errors
/// Parameters of one id that are two tensors.
fn check_ties<M: Module>(model: &M) -> Result<()> {
    let mut ties = Ties::default();
    model.visit(&mut ties);
    match ties.broken {
        Some((first, second)) => Err(Error::new(
            ErrorKind::Misuse,
            format!(
                "`{first}` and `{second}` have one parameter id, as clones of a layer do, and are \
                 two tensors: Burn's optimisers move the first alone, and its gradients are those \
                 of one of them. Use one layer twice in `forward`, or clone it into its places \
                 again after every step (`PredictiveCoding::train` does)"
            ),
        )),
        None => Ok(()),
    }
}

/// Puts the first of the parameters that have one id into the places of the others.
pub(super) fn tied<M: Module>(model: M) -> M {
    struct Count(HashMap<ParamId, usize>);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            *self.0.entry(param.id).or_default() += 1;
        }
    }
    struct Tie {
        count: HashMap<ParamId, usize>,
        first: HashMap<ParamId, DispatchTensor>,
    }
    impl ModuleMapper for Tie {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if self.count.get(&param.id).is_none_or(|count| *count < 2) {
                return param;
            }
            match self.first.get(&param.id) {
                Some(first) => param.map(|_| Tensor::from_dispatch(first.clone())),
                None => {
                    self.first.insert(param.id, param.val().into_dispatch());
                    param
                }
            }
        }
    }
    let mut count = Count(HashMap::new());
    model.visit(&mut count);
    if count.0.values().all(|count| *count < 2) {
        return model;
    }
    model.map(&mut Tie { count: count.0, first: HashMap::new() })
}

/// A training copy of a model with running statistics of its own, and the model's gradient
/// checkpointing and ties.
pub(super) fn apart<M: Module>(model: &M) -> M {
    struct Kept(Vec<(ParamId, GradientCheckpointingStrategy)>);
    impl ModuleVisitor for Kept {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(strategy) = param.val().gradient_checkpointing_strategy() {
                self.0.push((param.id, strategy));
            }
        }
    }
    impl ModuleMapper for Kept {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            match self.0.iter().find(|(id, _)| *id == param.id) {
                Some((_, strategy)) => {
                    param.map(|tensor| tensor.with_gradient_checkpointing_strategy(*strategy))
                }
                None => param,
            }
        }
    }
    let mut kept = Kept(Vec::new());
    model.visit(&mut kept);
    // Going to validation and back leaves the strategy behind, and makes two of what was one.
    let copy = model.valid().train();
    let copy =
        if kept.0.iter().all(|(_, strategy)| *strategy == GradientCheckpointingStrategy::default())
        {
            copy
        } else {
            copy.map(&mut kept)
        };
    tied(copy)
}

/// The autodiff nodes of parameters, by index.
pub(super) fn nodes_of<M: Module>(model: &M, parameters: &[(ParamId, String)]) -> Vec<Vec<u64>> {
    struct Nodes<'a> {
        parameters: &'a [(ParamId, String)],
        found: Vec<Vec<u64>>,
    }
    impl ModuleVisitor for Nodes<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(index) = self.parameters.iter().position(|(id, _)| *id == param.id) {
                self.found[index].extend(node_of(param.val()));
            }
        }
    }
    let mut nodes = Nodes { parameters, found: vec![Vec::new(); parameters.len()] };
    model.visit(&mut nodes);
    nodes.found
}
