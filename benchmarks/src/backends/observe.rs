//! A relaxation of pc-core, looked at on its way: what `train` asks for by
//! [`Trainee::energies`](crate::contract::train::Trainee::energies) and
//! [`Trainee::gradients`](crate::contract::train::Trainee::gradients), and experiments by
//! themselves.

use pc_core::{
    Clamps, Event, Graph, Network, Relaxation, Result, Schedule,
    host::{Element, HostTensor},
};

use crate::contract::train::{Traced, VertexTrace};

/// The energies of all vertices that are predicted. Weights stay where they are.
pub(super) fn energies<N: Network>(
    network: &mut N,
    clamps: &Clamps<N::Tensor>,
    schedule: Schedule,
) -> Result<Vec<VertexTrace>> {
    let topology = network.topology();
    let mut vertices = Vec::new();
    for vertex in topology.vertices() {
        let own = topology.predictions_of(vertex)?.to_vec();
        if !own.is_empty() {
            let name = topology.name(vertex)?.to_owned();
            vertices.push((own, VertexTrace { name, energy: Vec::new() }));
        }
    }
    let mut relaxation = Relaxation::new(network, schedule.observed())?;
    relaxation.begin(network, clamps)?;
    loop {
        match relaxation.advance(network)? {
            Event::Step => {
                for (own, trace) in &mut vertices {
                    let of = |id| relaxation.energy(network, id).unwrap_or(f64::NAN);
                    trace.energy.push(own.iter().copied().map(of).sum());
                }
            }
            Event::Learn => {}
            Event::Finished(_) => break,
        }
    }
    Ok(vertices.into_iter().map(|(_, trace)| trace).collect())
}

/// The gradients of every parameter, summed over the learning events, and the energies of every
/// step where the schedule is traced. Weights stay where they are.
pub(crate) fn gradients<F: Element>(
    mut relaxation: Relaxation<Graph<HostTensor<F>>>,
    graph: &mut Graph<HostTensor<F>>,
    clamps: &Clamps<HostTensor<F>>,
) -> Result<Traced> {
    let mut sums: Vec<Vec<f64>> =
        graph.parameters().iter().map(|parameter| vec![0.0; parameter.data().len()]).collect();
    let outcome = relaxation.train(graph, clamps, |_, gradients| {
        for ((_, gradient), sum) in gradients.iter().zip(&mut sums) {
            let numbers = gradient.map(HostTensor::data).unwrap_or_default();
            sum.iter_mut().zip(numbers).for_each(|(s, g)| *s += g.value());
        }
        Ok(())
    })?;
    Ok(Traced { gradients: sums, energy: outcome.trace })
}
