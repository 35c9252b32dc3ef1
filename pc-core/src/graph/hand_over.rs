//! A graph's parameters, to be handed from one to another.

use crate::{
    Result,
    graph::{Graph, GraphTensor},
    hand_over::HandOver,
    topology::ParamId,
    vertex::Vertex,
};

impl<T: GraphTensor> HandOver for Graph<T> {
    type Tensor = T;

    fn named(&self) -> (&[String], &[T]) {
        (self.topology.parameter_names(), &self.parameters)
    }

    fn take_over(&mut self, parameters: Vec<T>, statistics: Vec<T>) -> Result<()> {
        let mut statistics = statistics.into_iter();
        for vertex in &self.vertices {
            let count = vertex.statistics().len();
            if count > 0 {
                vertex.set_statistics(statistics.by_ref().take(count).collect())?;
            }
        }
        self.set_all(parameters);
        Ok(())
    }

    fn is_buffer(&self, parameter: ParamId) -> bool {
        Graph::is_buffer(self, parameter)
    }

    fn inputs_first(&self, parameter: ParamId) -> bool {
        let uses = self.topology.predictions().iter().zip(&self.vertices);
        uses.into_iter().any(|(prediction, vertex)| {
            let own = prediction.parameters.iter().enumerate();
            own.into_iter().any(|(k, used)| *used == parameter && vertex.inputs_first(k))
        })
    }

    fn statistics(&self) -> Vec<(String, T)> {
        let mut all: Vec<(String, T)> = Vec::new();
        for (prediction, vertex) in self.topology.predictions().iter().zip(&self.vertices) {
            let of = self.topology.label(prediction.of);
            all.extend(
                vertex.statistics().into_iter().map(|(name, held)| (format!("{of}.{name}"), held)),
            );
        }
        all
    }

    fn failure(&self) -> Result<()> {
        T::failure()
    }
}
