//! Predictions whose energies are not the usual ones.

use crate::{
    Result,
    energy::{EnergyInputs, EnergyOf, Slopes},
    gradients::Gradients,
    network::Network,
    point::Point,
    tensor::Tensor,
    topology::PredictionId,
    vertex::Pulled,
};

/// What an energy comes to at the current point.
#[derive(Debug)]
pub(crate) struct Term<T> {
    /// `mu`, where the prediction now is.
    predicted: T,
    /// `-dE/dmu` and `-dE/dv`.
    pub(crate) on_prediction: T,
    pub(crate) on_value: T,
    /// `E`, summed over the batch.
    pub(crate) energy: f64,
}

impl<T: Tensor> Point<T> {
    /// Makes room for the energies that a network has, for a batch whose values are there.
    pub(crate) fn allocate_terms<N: Network<Tensor = T>>(&mut self, network: &N) {
        let each = network.topology().predictions().iter().enumerate();
        let vertices = network.topology().vertices();
        self.projects = vertices.map(|vertex| network.projection(vertex).is_some()).collect();
        self.terms.clear();
        self.terms.extend(each.map(|(index, prediction)| {
            network.energy(PredictionId::new(index))?;
            let like = &self.state.values[prediction.of.index()];
            let room = || like.zeros(&like.shape());
            let (predicted, on_prediction, on_value) = (room(), room(), room());
            Some(Term { predicted, on_prediction, on_value, energy: 0.0 })
        }));
    }

    /// Whether all energies are the usual ones.
    pub(crate) fn is_gaussian(&self) -> bool {
        self.terms.iter().all(Option::is_none)
    }

    /// Evaluates the energies that are not the usual ones, where states and predictions now are.
    pub(crate) fn evaluate_terms<N: Network<Tensor = T>>(
        &mut self,
        network: &N,
        at: &N::Linearisation,
    ) -> Result<()> {
        let Self { terms, state, errors, counts, roles, active, .. } = self;
        let topology = network.topology();
        for (index, term) in terms.iter_mut().enumerate() {
            let id = PredictionId::new(index);
            let prediction = topology.at(id);
            let of = prediction.of;
            let (Some(term), Some(energy), Some(predicted)) =
                (term, network.energy(id), network.prediction(at, id))
            else {
                continue;
            };
            if !counts[index] || roles[of.index()].is_driven() {
                // A loss, or an intervention, stands in its place.
                term.energy = 0.0;
                continue;
            }
            match network.change(at, id) {
                Some(change) => term.predicted.set_sum(predicted, change),
                None => term.predicted.copy_from(predicted),
            }
            let inputs = EnergyInputs {
                value: &state.values[of.index()],
                prediction: &term.predicted,
                error: &errors[index],
                parameters: energy.parameters,
                uses: energy.uses,
            };
            let slopes =
                Slopes { on_prediction: &mut term.on_prediction, on_value: &mut term.on_value };
            let evaluated = energy.energy.evaluate(&inputs, slopes);
            term.energy = evaluated.map_err(|error| error.at(topology.label(of)))?;
            if prediction.precision != 1.0 {
                term.energy *= prediction.precision;
                term.on_prediction.scale(prediction.precision);
                term.on_value.scale(prediction.precision);
            }
            active[index] = true;
        }
        Ok(())
    }

    /// Adds the gradients of the energies' own parameters, for the predictions that `reads`
    /// selects, at the point that was evaluated last.
    pub(crate) fn learn_terms<N: Network<Tensor = T>>(
        &self,
        network: &N,
        reads: impl Fn(usize) -> bool,
        gradients: &mut Gradients<T>,
    ) -> Result<()> {
        let topology = network.topology();
        for (index, term) in self.terms.iter().enumerate() {
            let id = PredictionId::new(index);
            let prediction = topology.at(id);
            let of = prediction.of;
            let counts = self.counts[index] && reads(index);
            let (Some(term), Some(energy), true) = (term, network.energy(id), counts) else {
                continue;
            };
            if energy.uses.is_empty() || self.roles[of.index()].is_driven() {
                continue;
            }
            let EnergyOf { energy, parameters, uses } = energy;
            let inputs = EnergyInputs {
                value: &self.state.values[of.index()],
                prediction: &term.predicted,
                error: &self.errors[index],
                parameters,
                uses,
            };
            let slots = Some(gradients.slots.as_mut_slice());
            let mut pulled =
                Pulled { forces: &mut [], gradients: slots, uses, scale: prediction.precision };
            energy.learn(&inputs, &mut pulled).map_err(|error| error.at(topology.label(of)))?;
        }
        Ok(())
    }
}
