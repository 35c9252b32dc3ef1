//! The method of frozen predictions: Jacobians keep their feed-forward values, and errors move.
//!
//! One linear recursion, `e <- e + gamma (J^T e - pi e)`, in four evaluations: every vertex at
//! every step, the front alone, the closed form by path lengths, and one sweep.

use crate::{
    Error, Result,
    clamp::Role,
    method::{Frame, Leap, Which, fuse},
    network::Network,
    paths::{self, Form, Question, Reached},
    plan::Way,
    point::{Point, VertexPoint},
    rule::Pace,
    tensor::Tensor,
    topology::VertexId,
};

/// What the evaluations keep from one batch to the next.
#[derive(Debug)]
pub(crate) struct Frozen<T> {
    pub(crate) way: Way,
    /// What was found of the closed form, for as long as the same vertices are free.
    pub(crate) found: Option<Found>,
    pub(crate) reached: Reached,
    /// By prediction: whether its error changed in the last step; what is pulled next or drives a
    /// sweep; and what was active before a step.
    changed: Vec<bool>,
    pub(crate) marked: Vec<bool>,
    before: Vec<bool>,
    /// The errors of one path length.
    pub(crate) front: Vec<T>,
}

/// What was found of the closed form, and for which clamps.
#[derive(Debug)]
pub(crate) struct Found {
    free: Vec<bool>,
    counts: Vec<bool>,
    precisions: Vec<f64>,
    /// Whether free vertices started at their predictions, without which no form was looked for.
    zero_start: bool,
    pub(crate) form: Result<Form>,
}

impl<T: Tensor> Frozen<T> {
    pub(crate) fn new(way: Way, predictions: usize) -> Self {
        Self {
            way,
            found: None,
            reached: Reached::default(),
            changed: vec![false; predictions],
            marked: vec![false; predictions],
            before: vec![false; predictions],
            front: Vec::new(),
        }
    }

    /// How it is computed, in words.
    pub(crate) fn describe(&self) -> &'static str {
        match (self.way, self.found.as_ref().map(|found| &found.form)) {
            (Way::Backprop, _) => "reverse sweep",
            (Way::Required | Way::Preferred { .. }, None) => "closed form",
            (_, Some(Ok(Form::Sweep(_)))) => "closed form in one sweep",
            (_, Some(Ok(Form::Layers(_)))) => "closed form by path lengths",
            _ if self.simulates() => "frozen simulation",
            _ => "frozen front",
        }
    }

    /// Whether steps, where they are taken, are those of every vertex.
    fn simulates(&self) -> bool {
        matches!(self.way, Way::Simulate | Way::Preferred { front: false })
    }

    /// Settles how this batch is computed, once its clamps are known.
    ///
    /// # Errors
    /// Where the closed form is required and does not hold.
    pub(crate) fn settle<N: Network<Tensor = T>>(
        &mut self,
        frame: &Frame<N>,
        network: &N,
    ) -> Result<()> {
        let Point { free, counts, order, .. } = &frame.point;
        let topology = network.topology();
        if self.way == Way::Backprop {
            return paths::single(topology, free, counts).map_err(|vertex| {
                let why = "a sweep goes by one prediction of each vertex, and this has several";
                let message = format!("{}: {why}", frame.schedule.name());
                Error::schedule(message).at(topology.label(vertex))
            });
        }
        if !matches!(self.way, Way::Required | Way::Preferred { .. }) {
            return Ok(());
        }
        let zero_start = zero_start(frame, network);
        let stale = self.found.as_ref().is_none_or(|found| {
            !found.zero_start
                || found.free != *free
                || found.counts != *counts
                || found.precisions != frame.precisions
        });
        if stale || zero_start.is_err() {
            let can = network.abilities();
            let question = Question {
                topology,
                order,
                free,
                counts,
                rate: frame.schedule.rate,
                steps: frame.steps,
                traverse: can.traverse,
                single: can.single && can.repull,
            };
            self.found = Some(Found {
                free: free.clone(),
                counts: counts.clone(),
                precisions: frame.precisions.clone(),
                zero_start: zero_start.is_ok(),
                form: zero_start.and_then(|()| paths::find(&question)),
            });
        }
        match self.found.as_ref().map(|found| &found.form) {
            Some(Err(why)) if self.way == Way::Required => Err(why.clone()),
            _ => Ok(()),
        }
    }

    /// The weights of the sweep, if one sweep is all that this batch takes. Empty means 1.
    pub(crate) fn sweep(&self) -> Option<&[f64]> {
        match (self.way, self.found.as_ref().map(|found| &found.form)) {
            (Way::Backprop, _) => Some(&[]),
            (_, Some(Ok(Form::Sweep(weights)))) => Some(weights),
            _ => None,
        }
    }

    /// All steps at once, where there is a way and nothing watches them.
    pub(crate) fn leap<N: Network<Tensor = T>>(
        &mut self,
        frame: &mut Frame<N>,
        network: &mut N,
    ) -> Result<Leap> {
        self.changed.copy_from_slice(&frame.point.active);
        if self.sweep().is_some() {
            return self.take_sweep(frame, network);
        }
        if let Some(Found { form: Ok(Form::Layers(_)), .. }) = &self.found {
            return self.take_layers(frame, network);
        }
        if !fuse::steps(frame, network, self.simulates())? {
            return Ok(Leap::None);
        }
        let Point { free, counts, active, .. } = &mut frame.point;
        paths::reach(network.topology(), free, counts, frame.step, active);
        Ok(Leap::Taken)
    }

    /// Finds the forces that the next step goes by.
    pub(crate) fn pull<N: Network<Tensor = T>>(
        &mut self,
        frame: &mut Frame<N>,
        network: &mut N,
    ) -> Result<()> {
        frame.renew(network)?;
        if self.simulates() {
            frame.pull(network, Which::Counted, true, false)
        } else if self.changed.contains(&true) {
            frame.pull(network, Which::These(&self.changed), true, false)
        } else {
            Ok(())
        }
    }

    /// One synchronous step of the errors, which notes which of them it may have changed.
    pub(crate) fn step<N: Network<Tensor = T>>(&mut self, frame: &mut Frame<N>, network: &N) {
        let topology = network.topology();
        let momentum = frame.momentum();
        // Held errors are constant: only what moves below can have changed by the next step.
        self.marked.fill(false);
        self.before.copy_from_slice(&frame.point.active);
        for vertex in topology.vertices() {
            let own = topology.own(vertex);
            let Some(first) = own.first().filter(|_| frame.point.free[vertex.index()]) else {
                continue;
            };
            let precision = topology.at(*first).precision;
            // At gamma pi = 1 an error is forgotten at each step; else it goes on changing once
            // the front has reached it.
            let steady = momentum == 0.0 && frame.schedule.rates.pace == Pace::Constant;
            let forgets = steady && frame.rate_of(vertex) * precision == 1.0 && own.len() == 1;
            let arrives = |flags: &[bool]| {
                let mut uses = topology.uses(vertex).iter();
                uses.any(|(child, slot)| flags[child.index()] && topology.at(*child).sends(*slot))
            };
            let goes_on = own
                .iter()
                .map(|id| id.index())
                .any(|index| self.before[index] && (!forgets || frame.point.residual[index]));
            let moves = if self.simulates() {
                arrives(&self.before) || own.iter().any(|id| self.before[id.index()])
            } else {
                arrives(&self.changed) || goes_on
            };
            if moves {
                move_errors(frame, network, vertex, precision, momentum);
                for id in own {
                    self.marked[id.index()] = true;
                    frame.point.active[id.index()] = frame.point.counts[id.index()];
                }
            }
        }
        self.changed.copy_from_slice(&self.marked);
        let watched = frame.schedule.tolerance.is_some() || frame.schedule.is_watched();
        if !self.simulates() && !watched && !self.changed.contains(&true) {
            // No step from here on would change anything: the rest is taken at once, and the loop
            // counts this one.
            frame.step = frame.steps - 1;
        }
    }
}

/// One step of the errors of one vertex.
fn move_errors<N: Network>(
    frame: &mut Frame<N>,
    network: &N,
    vertex: VertexId,
    precision: f64,
    momentum: f64,
) {
    let (topology, rate) = (network.topology(), frame.rate_of(vertex));
    let force = network.force(&frame.at, vertex);
    let composed = frame.point.compose(topology, vertex, force);
    let Point { vertices, errors, .. } = &mut frame.point;
    let VertexPoint { velocity, scratch, .. } = &mut vertices[vertex.index()];
    let velocity = velocity.as_mut().map(|velocity| (velocity, momentum));
    let own = topology.own(vertex);
    match (scratch, velocity) {
        (Some(step), velocity) if composed => {
            let step = match velocity {
                Some((velocity, momentum)) => {
                    velocity.scale(momentum);
                    velocity.axpy(1.0, step);
                    &*velocity
                }
                None => step,
            };
            for id in own {
                errors[id.index()].axpy(rate, step);
            }
        }
        (_, velocity) => {
            let error = &mut errors[own[0].index()];
            N::Tensor::step_error(error, precision, force, rate, velocity);
        }
    }
}

/// The closed form begins with zero errors where vertices are free.
fn zero_start<N: Network>(frame: &Frame<N>, network: &N) -> Result<()> {
    let topology = network.topology();
    for vertex in topology.vertices().filter(|vertex| frame.point.free[vertex.index()]) {
        let refused = |why: &str| {
            let message = format!("the closed form does not hold here: {why}");
            Err(Error::schedule(message).at(topology.label(vertex)))
        };
        if matches!(frame.point.roles[vertex.index()], Role::Masked) {
            return refused("it is partly held");
        }
        if !frame.point.follows[vertex.index()] && !topology.own(vertex).is_empty() {
            return refused("it starts elsewhere than at its prediction");
        }
    }
    Ok(())
}
