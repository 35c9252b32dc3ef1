//! Which vertices a pass sends something to, and passes that pull some of them.

use burn::{module::Module, optim::GradientsParams};
use pc_core::{Error, ErrorKind, Gradients, Result, Tensor as _, Topology, VertexId};

use super::{
    gradients,
    pass::{Links, Values},
    program::Program,
    step::{Marked, Request, Tape},
};

impl<M: Module, P: Program<M>> Marked<'_, M, P> {
    /// By vertex: whether it sends an error, or what arrives, to what predicted it.
    pub(super) fn seeded(&self, links: &Links) -> Vec<bool> {
        (0..self.layout.vertices())
            .map(|vertex| match links {
                Links::Errors(errors) => errors[vertex].is_some(),
                Links::Deltas(deltas) => deltas[vertex].is_some(),
                Links::Gaps | Links::Passing(_) => true,
            })
            .collect()
    }

    /// Whether a vertex has a child that sends anything; the loss always does.
    pub(super) fn is_pulled(&self, vertex: usize, seeded: &[bool]) -> bool {
        let children = self.layout.topology.children(VertexId::new(vertex)).unwrap_or_default();
        children.iter().any(|(child, _)| seeded.get(child.index()).copied().unwrap_or(true))
    }

    /// The gradients without those of parameters that only vertices use which send nothing: where a
    /// pass is watched, zeros come by there.
    pub(super) fn without_unpulled(
        &self,
        mut found: GradientsParams,
        seeded: &[bool],
    ) -> GradientsParams {
        let mut pulled = vec![false; self.parameters.len()];
        for prediction in self.layout.topology.predictions() {
            if seeded.get(prediction.of.index()).copied().unwrap_or(true) {
                for parameter in &prediction.parameters {
                    pulled[parameter.index()] = true;
                }
            }
        }
        if pulled.iter().all(|pulled| *pulled) {
            return found;
        }
        gradients::remove(&self.model, &self.parameters, &pulled, &mut found);
        found
    }

    /// By vertex: whether something before it is pulled, so that the backward pass must get there,
    /// also where the vertex itself sends nothing.
    pub(super) fn passed(&self, seeded: &[bool]) -> Vec<bool> {
        let mut passed = vec![false; self.layout.vertices()];
        for vertex in 0..passed.len() {
            let parents = &self.layout.topology.predictions()[vertex].parents;
            passed[vertex] =
                parents.iter().any(|parent| seeded[parent.index()] || passed[parent.index()]);
        }
        passed
    }

    /// A pass that pulls given errors. The program always pulls its loss; where that is not wanted,
    /// its part is taken away again.
    pub(super) fn pull_pass(&mut self, request: Request, loss: bool, at: &mut Tape) -> Result<()> {
        if loss {
            return self.pass(request, at).map(drop);
        }
        let Request { values, links, learns, .. } = request;
        let Values::Given(given) = &values else {
            return Err(Error::new(ErrorKind::Misuse, "pulls are at given values"));
        };
        let alone = Request {
            values: Values::Given(given.clone()),
            links: Links::Errors(vec![None; given.len()]),
            learns,
            known: Vec::new(),
        };
        self.pass(alone, at)?;
        let of_loss = std::mem::take(&mut at.forces);
        let mut without = Gradients::empty(self.parameters.len());
        self.hand_out(at, Some(&mut without))?;
        self.pass(Request { values, links, learns, known: Vec::new() }, at)?;
        for (force, of_loss) in at.forces.iter_mut().zip(of_loss) {
            if let (Some(force), Some(of_loss)) = (force, of_loss) {
                force.axpy(-1.0, &of_loss);
            }
        }
        if let Some(found) = at.gradients.take() {
            let mut all = Gradients::empty(self.parameters.len());
            self.collect(found, &mut all)?;
            let mut left = Gradients::empty(self.parameters.len());
            for (id, gradient) in all.iter() {
                if let Some(gradient) = gradient {
                    let mut gradient = gradient.clone();
                    if let Some(of_loss) = without.get(id) {
                        gradient.axpy(-1.0, of_loss);
                    }
                    gradient.scale(1.0 / self.weight);
                    left.set(id, gradient);
                }
            }
            at.gradients = Some(self.gradients_params(&left)?);
        }
        Ok(())
    }
}

/// The factor of all passings between the loss and a vertex, along any path: they agree.
pub(super) fn arriving(topology: &Topology, factors: &[f64], vertex: usize) -> f64 {
    let mut product = 1.0;
    let mut at = vertex;
    let next = |at: usize| {
        let (child, _) = topology.children(VertexId::new(at)).ok()?.first()?;
        Some(topology.prediction(*child).ok()?.of.index())
    };
    while let Some(child) = next(at) {
        at = child;
        product *= factors.get(at).copied().unwrap_or(1.0);
    }
    product
}
