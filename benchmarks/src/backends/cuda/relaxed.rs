//! Single relaxations on the device: checked, asked for their gradients, timed.

use std::{marker::PhantomData, time::Instant};

use pc_core::{
    Clamps, Event, Learning, Network, ParamId, Relaxation, Schedule, Status, Tensor, VertexId,
    host::{Element, HostTensor},
};
use pc_cuda::{CrossEntropy, Device, DeviceTensor, FusedNet, OnDevice, Precision};

use super::{
    Way,
    transfer::{hold, upload},
};
use crate::{
    backends::{
        chain::{self, Chain},
        host,
    },
    contract::{
        ScheduleKind,
        check::{Checked, LossKind, Subject},
        gradients::{Findings, LayerChain, Number, Ways},
        speed::{Arithmetic, Case, Contender, ContenderRole, STEPS, Seconds, Timed},
    },
    error::CommandError,
    models::ModelKind,
};

/// A network on the device, and what it is held at.
struct Held<N> {
    net: N,
    clamps: Clamps<DeviceTensor>,
}

/// A subject on the device, and its twin for Z-IL, with identity vertices where an edge spans more
/// than one level. A chain is levelled as it is.
pub(super) struct Subjected<N> {
    plain: Held<N>,
    levelled: Option<Held<N>>,
    device: Device,
    depth: usize,
    structure: String,
}

/// What a subject's vertices are held at or driven to, on the device.
fn clamps<F: Element>(
    subject: &Subject<F>,
    device: &Device,
) -> pc_core::Result<Clamps<DeviceTensor>> {
    let of = |(vertex, value): &(VertexId, HostTensor<F>)| Ok((*vertex, upload(device, value)?));
    let mut clamps = Clamps::new();
    for (vertex, value) in subject.inputs.iter().map(of).collect::<pc_core::Result<Vec<_>>>()? {
        clamps = clamps.hold(vertex, value);
    }
    for (vertex, target) in subject.targets.iter().map(of).collect::<pc_core::Result<Vec<_>>>()? {
        clamps = match subject.loss {
            LossKind::SquaredError => clamps.hold(vertex, target),
            LossKind::CrossEntropy => clamps.drive(vertex, CrossEntropy::new(target)),
        };
    }
    Ok(clamps)
}

/// A subject in the way that its graph allows.
pub(super) fn checked<F: Element>(
    subject: &Subject<F>,
    device: &Device,
) -> Result<Box<dyn Checked<F>>, CommandError> {
    let graph = &subject.model.graph;
    let counts =
        format!("{} vertices, {} parameters", graph.topology().len(), graph.parameters().len());
    let (device, depth) = (device.clone(), subject.depth());
    let held = clamps(subject, &device)?;
    Ok(match Way::of(graph, &device)? {
        Way::Fused(net) => {
            let structure = format!("{counts}, {}", net.plan(3, true)?);
            let plain = Held { net, clamps: held };
            Box::new(Subjected { plain, levelled: None, device, depth, structure })
        }
        Way::Stepped(net, why) => {
            let structure = format!("{counts}, step by step: {why}");
            let plain = Held { net, clamps: held };
            let twin = subject.converted::<F>()?;
            let twin = Subject { model: twin.model.levelled()?, ..twin };
            let net = Way::stepped(&twin.model.graph, &device)?;
            let levelled = Some(Held { net, clamps: clamps(&twin, &device)? });
            Box::new(Subjected { plain, levelled, device, depth, structure })
        }
    })
}

/// Every parameter's gradient; zeros where no error has arrived, NaN where it diverged.
fn gradients_of<N: Network<Tensor = DeviceTensor> + OnDevice>(
    Held { net, clamps }: &mut Held<N>,
    schedule: Schedule,
) -> Result<Vec<Vec<f64>>, CommandError> {
    let mut relaxation = Relaxation::new(net, schedule)?;
    let outcome = relaxation.run(net, clamps)?;
    let diverged = outcome.status == Status::Diverged;
    let list = |(index, parameter): (usize, &DeviceTensor)| match relaxation
        .gradients()
        .get(ParamId::new(index))
    {
        _ if diverged => vec![f64::NAN; parameter.count()],
        gradient => gradient.map_or_else(|| vec![0.0; parameter.count()], Tensor::to_vec),
    };
    Ok(net.on_device().iter().enumerate().map(list).collect())
}

impl<F: Element, N: Network<Tensor = DeviceTensor> + OnDevice> Checked<F> for Subjected<N> {
    fn structure(&self) -> Result<String, CommandError> {
        Ok(self.structure.clone())
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn gradients(&mut self, schedule: Schedule) -> Result<Vec<Vec<f64>>, CommandError> {
        let held = match &mut self.levelled {
            Some(levelled) if schedule.learning() == Learning::AtLevel => levelled,
            _ => &mut self.plain,
        };
        let gradients = gradients_of(held, schedule)?;
        self.device.synchronize()?;
        Ok(gradients)
    }

    fn has_the_hosts_vertices(&self) -> bool {
        true
    }
}

/// Runs a schedule on a chain, as the host backend builds it.
pub(super) fn gradients<F: Number>(
    net: LayerChain<F>,
    ways: &Ways,
    device: &Device,
) -> Result<Findings<F>, CommandError> {
    let (graph, Chain { layers, clamps }) = chain::build(net, ways.activation, &host::parts())?;
    let mut fused = FusedNet::from_graph(&graph, device, Precision::F32)?;
    let findings =
        chain::relax(&mut fused, &Chain { layers, clamps: hold(device, &clamps)? }, ways)?;
    device.synchronize()?;
    Ok(findings)
}

/// A net and its contenders, timed until the device is done.
pub(super) struct Clocked<F: Element> {
    net: FusedNet,
    clamps: Clamps<DeviceTensor>,
    description: String,
    arithmetic: Option<Arithmetic>,
    contenders: Vec<Contender>,
    runners: Vec<Relaxation<FusedNet>>,
    numbers: PhantomData<F>,
}

impl<F: Element> Clocked<F> {
    pub(super) fn new(
        kind: ModelKind,
        batch: usize,
        rules: &[ScheduleKind],
        device: &Device,
    ) -> Result<Self, CommandError> {
        let plain = host::timed_net::<F>(&Case::new(kind, batch))?;
        let net = FusedNet::from_graph(&plain.graph, device, Precision::F32)?;
        // A loss that watches would run on the host.
        let contenders: Vec<Contender> = host::contenders(rules, STEPS)?
            .into_iter()
            .filter(|one| one.role != ContenderRole::Watched)
            .collect();
        let runners = contenders
            .iter()
            .map(|one| Relaxation::new(&net, one.schedule.clone()))
            .collect::<pc_core::Result<_>>()?;
        let description = format!("{}, {}", plain.description, net.plan(batch, true)?);
        let clamps = hold(device, &plain.clamps)?;
        Ok(Self {
            net,
            clamps,
            description,
            arithmetic: plain.arithmetic,
            contenders,
            runners,
            numbers: PhantomData,
        })
    }
}

impl<F: Element> Timed for Clocked<F> {
    fn description(&self) -> String {
        self.description.clone()
    }

    fn arithmetic(&self) -> Option<Arithmetic> {
        self.arithmetic.clone()
    }

    fn contenders(&self) -> Vec<Contender> {
        self.contenders.clone()
    }

    fn step(&mut self, contender: usize) -> Result<Seconds, CommandError> {
        let (net, relaxation) = (&mut self.net, &mut self.runners[contender]);
        let start = Instant::now();
        relaxation.begin(net, &self.clamps)?;
        let forward = start.elapsed().as_secs_f64();
        let outcome = loop {
            if let Event::Finished(outcome) = relaxation.advance(net)? {
                break outcome;
            }
        };
        net.device().synchronize()?;
        let total = start.elapsed().as_secs_f64();
        self.contenders[contender].must_hold(outcome.status)?;
        Ok(Seconds { forward: Some(forward), relaxed: None, total })
    }
}
