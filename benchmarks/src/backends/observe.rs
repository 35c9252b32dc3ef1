//! A relaxation of pc-core, looked at on its way: what `train` asks for by
//! [`Trainee::energies`](crate::contract::train::Trainee::energies).

use pc_core::{Clamps, Event, Network, Relaxation, Result, Schedule};

use crate::contract::train::VertexTrace;

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
