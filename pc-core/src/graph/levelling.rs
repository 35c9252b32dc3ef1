//! Levelling: identity vertices on edges that span more than one level, which makes Z-IL exact on
//! any DAG.

use crate::{
    Error, Result,
    graph::{Graph, GraphTensor},
    topology::{Prediction, Topology, VertexId},
};

impl<T: GraphTensor> Graph<T> {
    /// The same function, with every edge from a predicted vertex spanning just one level: an edge
    /// from level `l` to level `m` gets `l - m - 1` identity vertices (a level is the longest
    /// distance to a vertex without children). Edges out of one vertex share them. Edges out of
    /// inputs are left alone, for nothing is ever sent back along them to a held input.
    ///
    /// Existing [`VertexId`]s and [`crate::ParamId`]s stay valid; the new vertices come after them,
    /// named `vertex~1`, `vertex~2`, ...
    ///
    /// # Errors
    /// A cyclic graph has no levels.
    ///
    /// # Example
    /// ```
    /// use pc_core::{Graph, host::{Activation, HostLayers, HostTensor, Init}};
    /// let mut init = Init::new(1);
    /// let mut b = Graph::<HostTensor<f64>>::builder();
    /// let x = b.input("x", &[4])?;
    /// let a = b.dense("a", x, 4, Activation::Tanh, &mut init)?;
    /// let c = b.dense("c", a, 4, Activation::Tanh, &mut init)?;
    /// let y = b.sum("y", &[a, c])?; // a skip: a -> y spans two levels
    /// let graph = b.build()?.levelled()?;
    /// assert!(graph.topology().unlevelled_edge().is_none());
    /// assert!(graph.vertex("a~1").is_ok());
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn levelled(self) -> Result<Self> {
        let Self { topology, mut vertices, mut shapes, parameters, mut additions, .. } = self;
        if !topology.is_acyclic() {
            return Err(Error::graph("a cyclic graph has no levels"));
        }
        let mut names: Vec<String> =
            topology.vertices().map(|v| topology.label(v).to_owned()).collect();
        let mut predictions = topology.predictions().to_vec();
        let mut relays: Vec<Vec<VertexId>> = topology.vertices().map(|v| vec![v]).collect();
        let level = |v| topology.level(v).unwrap_or(0);
        for prediction in &mut predictions[..topology.predictions().len()] {
            let target = level(prediction.of);
            let cut = &prediction.cut;
            let sends = |slot: usize| !cut.get(slot).copied().unwrap_or(false);
            let parents = prediction.parents.iter_mut().enumerate();
            // Nothing is sent back along the others, so they have no levels to keep.
            let along = parents.filter(|(slot, parent)| {
                sends(*slot) && prediction.term.is_none() && !topology.is_root(**parent)
            });
            for (_, parent) in along {
                let relays = &mut relays[parent.index()];
                let wanted = level(*parent) - target - 1;
                while relays.len() <= wanted {
                    names.push(format!("{}~{}", topology.label(*parent), relays.len()));
                    shapes.push(shapes[parent.index()].clone());
                    relays.push(VertexId::new(names.len() - 1));
                }
                *parent = relays[wanted];
            }
        }
        for pair in relays.iter().flat_map(|relays| relays.windows(2)) {
            predictions.push(Prediction::new(pair[1], vec![pair[0]], Vec::new()));
            vertices.push(T::identity_vertex());
        }
        let topology = Topology::new(names, topology.parameter_names().to_vec(), predictions)?;
        additions.grow(&topology);
        Ok(Self::assemble(topology, vertices, shapes, parameters, additions))
    }
}
