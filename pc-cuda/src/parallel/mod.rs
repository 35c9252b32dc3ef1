//! One batch on several devices.

mod nccl;
mod reduce;

use std::ops::Range;

use pc_core::{
    Clamps, Energy, Error, ErrorKind, Event, Gradients, HandOver, Network, Outcome, ParamId,
    Reduction, Relaxation, Result, Schedule, Status, Tensor,
};

use crate::{device::Device, optimiser::OnDevice, tensor::DeviceTensor};

pub use nccl::Nccl;
pub use reduce::{AllReduce, ThroughHost};

/// Data-parallel training: each device has a net of its own and relaxes a share of every batch, the
/// gradients are summed over the devices, and each device steps its optimiser on the same sums, so
/// that the weights stay equal to the bit.
///
/// A net is a [`crate::FusedNet`] or a graph of [`crate::graph_to_device`]. Schedules whose weights
/// move while states relax (iPC) sum at each of their steps. A schedule by which samples depend on
/// one another is refused by name: see [`Schedule::coupling`]. So are graphs with batch norm, for
/// which devices have no kernels. Losses and gradients are summed over samples, or divided by the
/// size of the **whole** batch, as one device would.
///
/// One thread asks all devices for their work. A relaxation that measures no energies
/// ([`Schedule::unmeasured`]) does not wait for its device, so the devices work at the same time;
/// one that measures runs device after device.
///
/// What is tested are two and three simulated devices, by [`ThroughHost`]. Sums by [`Nccl`] need
/// two GPUs, and have not been run.
///
/// # Example
/// ```
/// # #[cfg(feature = "simulation")] {
/// use pc_core::{Clamps, Graph, Schedule, host::{Activation, HostLayers, HostTensor, Init}};
/// use pc_cuda::{DataParallel, Device, FusedNet, Precision, Sgd, Simulation, ThroughHost};
/// let mut init = Init::new(7);
/// let mut b = Graph::<HostTensor<f32>>::builder();
/// let x = b.input("x", &[2])?;
/// let y = b.dense("y", x, 1, Activation::Tanh, &mut init)?;
/// let graph = b.build()?;
/// // Device::cuda(0)? and Device::cuda(1)? where there are two GPUs, and Nccl::new(&devices)?.
/// let one = |seed| Device::simulated(&Simulation::new(seed));
/// let devices = [one(0)?, one(1)?];
/// let nets = devices.iter().map(|device| FusedNet::from_graph(&graph, device, Precision::F32));
/// let nets = nets.collect::<Result<Vec<_>, _>>()?;
/// let mut both = DataParallel::new(nets, &Schedule::standard(0.1, 8)?, ThroughHost)?;
/// let mut optimisers = [Sgd::new(0.1)?, Sgd::new(0.1)?];
/// let (xs, ys) = ([0.1_f32, 0.2, 0.3, 0.4, 0.5, 0.6], [0.0_f32, 1.0, 0.0]);
/// let outcome = both.train(
///     3,
///     |device, own| {
///         let (count, xs) = (own.len(), &xs[2 * own.start..2 * own.end]);
///         let held = Clamps::new().hold(x, device.tensor(&[count, 2], xs)?);
///         Ok(held.hold(y, device.tensor(&[count, 1], &ys[own])?))
///     },
///     |index, net, by| optimisers[index].step(net, by),
/// )?;
/// assert!(outcome.energy.total() > 0.0);
/// assert!(both.agree()?);
/// # }
/// # Ok::<(), pc_core::Error>(())
/// ```
pub struct DataParallel<N: Network<Tensor = DeviceTensor>> {
    replicas: Vec<Replica<N>>,
    sums: Box<dyn AllReduce>,
    mean: bool,
    /// What has failed while some nets had learned and others had not.
    torn: bool,
}

struct Replica<N: Network<Tensor = DeviceTensor>> {
    net: N,
    relaxation: Relaxation<N>,
    device: Device,
    /// The summed gradients, as optimisers take them; and their memory, by parameter, in between.
    gradients: Gradients<DeviceTensor>,
    room: Vec<Option<DeviceTensor>>,
}

impl<N: Network<Tensor = DeviceTensor>> std::fmt::Debug for DataParallel<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.replicas.iter().map(|replica| &replica.device)).finish()
    }
}

fn misuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Misuse, message)
}

impl<N> DataParallel<N>
where
    N: Network<Tensor = DeviceTensor> + HandOver<Tensor = DeviceTensor> + OnDevice,
{
    /// Of these nets, each made from one graph and on a device of its own; all start from the first
    /// one's weights.
    ///
    /// # Errors
    /// No nets; two on one device; nets of different graphs, or without parameters; a schedule by
    /// which samples depend on one another, or that does not suit the net; what the devices report.
    pub fn new(nets: Vec<N>, schedule: &Schedule, sums: impl AllReduce + 'static) -> Result<Self> {
        if let Some(what) = schedule.coupling() {
            let why = format!(
                "{} cannot be shared out over devices: {what}, and a device sees its share alone",
                schedule.name()
            );
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        let mut replicas: Vec<Replica<N>> = Vec::with_capacity(nets.len());
        for (index, net) in nets.into_iter().enumerate() {
            let Some(device) = net.on_device().first().map(|own| own.device().clone()) else {
                return Err(misuse(format!("net {index} has no parameters that could learn")));
            };
            if let Some(other) = replicas.iter().position(|other| other.device.is(&device)) {
                let what =
                    format!("nets {other} and {index} lie on one device, or one stream of it");
                return Err(misuse(what));
            }
            if replicas.first().is_some_and(|first| first.net.signature() != net.signature()) {
                return Err(misuse(format!("net {index} is of another graph than net 0")));
            }
            // Shares are summed, and divided by the size of the whole batch after that.
            let own = schedule.clone().reduced_by(Reduction::Sum);
            let count = net.on_device().len();
            let (relaxation, gradients) = (Relaxation::new(&net, own)?, Gradients::empty(count));
            let room = (0..count).map(|_| None).collect();
            replicas.push(Replica { net, relaxation, device, gradients, room });
        }
        if replicas.is_empty() {
            return Err(misuse("there are no nets to train"));
        }
        let mean = schedule.reduction() == Reduction::Mean;
        let mut all = Self { replicas, sums: Box::new(sums), mean, torn: false };
        all.spread()?;
        Ok(all)
    }

    /// How many devices there are.
    pub fn devices(&self) -> usize {
        self.replicas.len()
    }

    /// The nets, in order of the devices.
    pub fn nets(&self) -> impl ExactSizeIterator<Item = &N> {
        self.replicas.iter().map(|replica| &replica.net)
    }

    /// Does the same to every net: freezes a parameter, sets a precision. Weights are set by
    /// [`HandOver`], which this is.
    ///
    /// # Errors
    /// What `job` returns; the nets that it had reached by then stay changed.
    pub fn on_each(&mut self, mut job: impl FnMut(&mut N) -> Result<()>) -> Result<()> {
        self.replicas.iter_mut().try_for_each(|replica| job(&mut replica.net))
    }

    /// Whether all nets have the same weights, to the bit. It brings them all to the host.
    ///
    /// # Errors
    /// What the devices report.
    pub fn agree(&self) -> Result<bool> {
        let bits = |net: &N| -> Result<Vec<u32>> {
            let mut all = Vec::new();
            for parameter in net.on_device() {
                all.extend(parameter.numbers()?.into_iter().map(f32::to_bits));
            }
            Ok(all)
        };
        let mut all = self.nets();
        let Some(first) = all.next().map(bits).transpose()? else { return Ok(true) };
        for other in all {
            if bits(other)? != first {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Relaxes a batch of so many samples, shared out over the devices, and learns from it.
    ///
    /// `clamps` makes the clamps of one device's share: the samples of this range, on this device.
    /// Shares differ by one sample at most; in a batch with fewer samples than devices, the last
    /// devices get none and are not asked for clamps. `learn` steps the optimiser of device `index`
    /// by the summed gradients, at every learning event of the schedule: give each device an
    /// optimiser of its own, made alike.
    ///
    /// The outcome is that of the batch: energies are sums over the devices. If a share diverges,
    /// the batch has diverged, and nothing more is learned from it.
    ///
    /// # Errors
    /// An empty batch; an observed schedule, for which there is nothing to read here; a parameter
    /// that one device has a gradient of and another has not (freeze it by
    /// [`DataParallel::on_each`]); what `clamps`, the devices, the sum or `learn` report. Learning
    /// events before that have moved the weights of all nets. If `learn` itself fails, nets and
    /// optimisers may differ: training is refused until weights are handed over ([`HandOver`]), and
    /// wants new optimisers, or states handed to all of them.
    pub fn train(
        &mut self,
        samples: usize,
        mut clamps: impl FnMut(&Device, Range<usize>) -> Result<Clamps<DeviceTensor>>,
        mut learn: impl FnMut(usize, &mut N, &Gradients<DeviceTensor>) -> Result<()>,
    ) -> Result<Outcome> {
        if self.torn {
            return Err(misuse(
                "the nets differ since an optimiser failed: hand weights over to all of them first",
            ));
        }
        let shares = shares(samples, self.replicas.len())?;
        for (replica, own) in self.replicas.iter_mut().zip(&shares) {
            let clamps = clamps(&replica.device, own.clone())?;
            let (found, asked) = (clamps.batch(replica.net.topology())?, own.len());
            if found != asked {
                return Err(Error::new(
                    ErrorKind::Clamp,
                    format!("the clamps of samples {own:?} have a batch of {found}, not {asked}"),
                ));
            }
            replica.relaxation.begin(&mut replica.net, &clamps)?;
        }
        loop {
            let mut events = Vec::with_capacity(shares.len());
            for replica in &mut self.replicas[..shares.len()] {
                events.push(replica.relaxation.advance(&mut replica.net)?);
            }
            let finished: Vec<&Outcome> = events.iter().filter_map(outcome_of).collect();
            let diverged = finished.iter().any(|outcome| outcome.status == Status::Diverged);
            if diverged || finished.len() == shares.len() {
                return Ok(together(&finished));
            }
            if let Some(index) = events.iter().position(|event| *event != Event::Learn) {
                let what = match events[index] {
                    Event::Step => {
                        "an observed schedule stops at every step, where nothing can be \
                                    read here: observe one net by a `Relaxation` of its own"
                            .to_owned()
                    }
                    _ => format!("device {index} has ended where others learn"),
                };
                return Err(Error::new(ErrorKind::Unsupported, what));
            }
            self.sum(shares.len(), samples)?;
            let last = self.replicas.len() - 1;
            for (index, replica) in self.replicas.iter_mut().enumerate() {
                let learned = learn(index, &mut replica.net, &replica.gradients);
                let learned = learned.and_then(|()| Network::failure(&replica.net));
                if learned.is_err() {
                    self.torn = last > 0;
                }
                learned?;
            }
        }
    }

    /// Sums the gradients of the devices that have a share, and leaves the sums on all.
    fn sum(&mut self, active: usize, samples: usize) -> Result<()> {
        let count = self.replicas.first().map_or(0, |replica| replica.room.len());
        let mut learned = Vec::with_capacity(count);
        for id in (0..count).map(ParamId::new) {
            let mut all = self.replicas[..active]
                .iter()
                .map(|replica| replica.relaxation.gradients().get(id).is_some());
            let first = all.next().unwrap_or(false);
            if all.any(|other| other != first) {
                return Err(misuse(format!(
                    "one device has a gradient of parameter {} and another has none: freeze it on \
                     all of them",
                    id.index()
                )));
            }
            if first {
                learned.push(id);
            }
        }
        for (index, replica) in self.replicas.iter_mut().enumerate() {
            let Replica { relaxation, gradients, room, net, .. } = replica;
            for id in (0..count).map(ParamId::new) {
                if let Some(held) = gradients.take(id) {
                    room[id.index()] = Some(held);
                }
            }
            for id in &learned {
                let like = &net.on_device()[id.index()];
                let to = room[id.index()].get_or_insert_with(|| like.zeros(like.dims()));
                match relaxation.gradients().get(*id).filter(|_| index < active) {
                    Some(own) => to.copy_from(own),
                    // It has no share of this batch.
                    None => to.fill(0.0),
                }
            }
        }
        for replica in &self.replicas {
            Network::failure(&replica.net)?;
        }
        let mut parts: Vec<Vec<&mut DeviceTensor>> = self
            .replicas
            .iter_mut()
            .map(|replica| {
                let room = replica.room.iter_mut().enumerate();
                let learned = room.filter(|(index, _)| learned.contains(&ParamId::new(*index)));
                learned.filter_map(|(_, held)| held.as_mut()).collect()
            })
            .collect();
        self.sums.sum(&mut parts)?;
        let scale = if self.mean { 1.0 / samples as f64 } else { 1.0 };
        for replica in &mut self.replicas {
            for id in &learned {
                if let Some(sum) = replica.room[id.index()].take() {
                    replica.gradients.set(*id, sum);
                }
            }
            replica.gradients.scale(scale);
            Network::failure(&replica.net)?;
        }
        Ok(())
    }

    /// Brings the first net's weights to all others.
    fn spread(&mut self) -> Result<()> {
        if let Some((first, others)) = self.replicas.split_first_mut() {
            for other in others {
                other.net.copy_parameters_from(&first.net)?;
            }
        }
        self.torn = false;
        Ok(())
    }
}

/// Weights come from the first net, and go to all.
impl<N> HandOver for DataParallel<N>
where
    N: Network<Tensor = DeviceTensor> + HandOver<Tensor = DeviceTensor> + OnDevice,
{
    type Tensor = DeviceTensor;

    fn named(&self) -> (&[String], &[DeviceTensor]) {
        self.replicas.first().map_or((&[], &[]), |replica| replica.net.named())
    }

    fn take_over(
        &mut self,
        parameters: Vec<DeviceTensor>,
        statistics: Vec<DeviceTensor>,
    ) -> Result<()> {
        // Until all have them.
        self.torn = true;
        if let Some(first) = self.replicas.first_mut() {
            first.net.take_over(parameters, statistics)?;
        }
        self.spread()
    }

    fn is_buffer(&self, parameter: ParamId) -> bool {
        self.replicas.first().is_some_and(|replica| replica.net.is_buffer(parameter))
    }

    fn failure(&self) -> Result<()> {
        self.replicas.iter().try_for_each(|replica| HandOver::failure(&replica.net))
    }
}

/// The samples of each device that gets any.
fn shares(samples: usize, devices: usize) -> Result<Vec<Range<usize>>> {
    if samples == 0 {
        return Err(Error::new(ErrorKind::Clamp, "an empty batch cannot be shared out"));
    }
    let (least, more) = (samples / devices, samples % devices);
    let mut shares = Vec::with_capacity(devices);
    let mut start = 0;
    for index in 0..devices.min(samples) {
        let end = start + least + usize::from(index < more);
        shares.push(start..end);
        start = end;
    }
    Ok(shares)
}

fn outcome_of(event: &Event) -> Option<&Outcome> {
    match event {
        Event::Finished(outcome) => Some(outcome),
        _ => None,
    }
}

/// What the outcomes of the shares come to.
fn together(all: &[&Outcome]) -> Outcome {
    let mut energy = Energy::default();
    let steps = all.iter().map(|one| one.steps).max().unwrap_or(0);
    let traced = all.iter().map(|one| one.trace.len()).min().unwrap_or(0);
    let mut trace = vec![0.0; traced];
    let mut status = Status::Spent;
    for one in all {
        energy.internal += one.energy.internal;
        energy.loss += one.energy.loss;
        trace.iter_mut().zip(&one.trace).for_each(|(sum, x)| *sum += x);
        if one.status == Status::Diverged {
            status = Status::Diverged;
        }
    }
    let shallow = all.iter().any(|one| one.shallow);
    Outcome { status, steps, energy, residual: None, trace, shallow }
}
