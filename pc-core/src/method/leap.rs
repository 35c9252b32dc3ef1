//! Frozen relaxations in one go: by one sweep, or by one pull for each path length.

use crate::{
    Error, Result,
    method::{
        Frame, Leap,
        frozen::{Found, Frozen},
    },
    network::{Drives, Network, Want},
    paths::Form,
    point::Point,
    tensor::Tensor,
};

impl<T: Tensor> Frozen<T> {
    /// Backprop's errors, each weighed by what the closed form says, in one reverse traversal.
    pub(crate) fn take_sweep<N: Network<Tensor = T>>(
        &mut self,
        frame: &mut Frame<N>,
        network: &mut N,
    ) -> Result<Leap> {
        let topology = network.topology();
        for (marked, prediction) in self.marked.iter_mut().zip(topology.predictions()) {
            // The cut error of an intervened vertex drives too: by zero.
            *marked = !frame.point.free[prediction.of.index()];
        }
        frame.point.weigh(topology);
        frame.gradients.clear();
        let arrivals = frame.measures() || frame.forces.any();
        let weights = self.sweep().unwrap_or_default();
        let drives = Drives {
            order: &frame.point.order,
            cotangents: frame.point.cotangents(),
            driven: &self.marked,
            forces: &frame.point.free,
            weights,
            arrivals,
        };
        let gradients = (!frame.infers).then_some(&mut frame.gradients);
        frame.pulled = true;
        network.reverse(&frame.point.state, drives, gradients, &mut frame.at)?;
        let driven = |index: usize| self.marked[index];
        frame.point.learn_terms(network, driven, &mut frame.gradients)?;
        frame.step = frame.steps;
        let topology = network.topology();
        for (index, prediction) in topology.predictions().iter().enumerate() {
            if let (true, true, Some(force)) = (
                arrivals,
                frame.point.free[prediction.of.index()],
                network.force(&frame.at, prediction.of),
            ) {
                let weight = weights.get(index).copied().unwrap_or(1.0);
                let error = &mut frame.point.errors[index];
                error.copy_from(force);
                error.scale(weight / prediction.precision);
            }
        }
        let Point { active, free, counts, .. } = &frame.point;
        let (topology, count) = (network.topology(), frame.gradients.len());
        self.reached.find(topology, active, free, counts, frame.steps, count);
        frame.point.active.copy_from_slice(&self.reached.predictions);
        frame.gradients.keep(|parameter| self.reached.parameters[parameter.index()]);
        Ok(Leap::Learned)
    }

    /// `e_i(T) = sum over k of P[Binomial(T, gamma) >= k] delta_i^(k)`: one pull per vertex and
    /// distinct path length.
    pub(crate) fn take_layers<N: Network<Tensor = T>>(
        &mut self,
        frame: &mut Frame<N>,
        network: &mut N,
    ) -> Result<Leap> {
        let Some(Found { form: Ok(Form::Layers(tails)), .. }) = &self.found else {
            return Err(Error::misuse("there is no closed form by path lengths"));
        };
        frame.point.weigh(network.topology());
        let fits = |front: &[T]| {
            let errors = &frame.point.errors;
            front.len() == errors.len()
                && front.first().map(T::batch) == errors.first().map(T::batch)
        };
        if !fits(&self.front) {
            self.front.clone_from(&frame.point.errors);
        }
        // The errors of path length 0: of held and driven vertices.
        for (front, cotangent) in self.front.iter_mut().zip(frame.point.cotangents()) {
            front.copy_from(cotangent);
        }
        let Point { state, errors, active, free, .. } = &mut frame.point;
        self.marked.copy_from_slice(active);
        // Errors of more edges than there are steps have not set out.
        for tail in tails.iter().skip(1).take(frame.steps) {
            if !self.marked.contains(&true) {
                break;
            }
            network.forget_pulls(&mut frame.at);
            let want = Want { predictions: &self.marked, forces: free };
            network.pull(state, &self.front, want, None, &mut frame.at)?;
            for (index, prediction) in network.topology().predictions().iter().enumerate() {
                let force = network.force(&frame.at, prediction.of);
                let force = force.filter(|_| free[prediction.of.index()]);
                self.marked[index] = force.is_some();
                if let Some(force) = force {
                    self.front[index].copy_from(force);
                    errors[index].axpy(tail / prediction.precision, force);
                    active[index] = true;
                }
            }
        }
        frame.pulled = true;
        frame.step = frame.steps;
        Ok(Leap::Taken)
    }
}
