//! The free coordinates of one point, and what a rule keeps of them.

use crate::{
    Error, Result,
    point::Point,
    rows::FEW,
    rule::{FreeCoordinates, Slot, StateRule, Taken},
    tensor::{RowJob, Tensor},
};

/// What a rule keeps from step to step: made once, and zero at the start of a batch.
#[derive(Debug)]
pub(crate) struct Memory<T> {
    /// By vertex, then by slot; of a vertex that has never been free, none.
    slots: Vec<Vec<T>>,
    numbers: Vec<f64>,
    /// The parts of the present step, and those beyond the first of all steps.
    pub(crate) part: usize,
    pub(crate) parts: usize,
}

impl<T: Tensor> Memory<T> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), numbers: Vec::new(), part: 0, parts: 0 }
    }

    /// Makes what is missing for a batch, and sets it all to zero. `fresh` where the last batch's
    /// fits no longer.
    pub(crate) fn begin(&mut self, rule: &dyn StateRule, point: &Point<T>, fresh: bool) {
        (self.part, self.parts) = (0, 0);
        if rule.form().is_some() {
            return;
        }
        let values = &point.state.values;
        if fresh {
            self.slots.clear();
        }
        self.slots.resize_with(values.len(), Vec::new);
        self.numbers.resize(rule.numbers(), 0.0);
        self.numbers.fill(0.0);
        for ((own, value), free) in self.slots.iter_mut().zip(values).zip(&point.free) {
            own.iter_mut().for_each(|slot| slot.fill(0.0));
            if *free {
                own.resize_with(rule.slots(), || value.zeros(&value.shape()));
            }
        }
    }
}

/// All free coordinates at one point. The direction lies in the scratch of each vertex.
pub(crate) struct View<'a, T> {
    pub(crate) point: &'a mut Point<T>,
    pub(crate) memory: &'a mut Memory<T>,
    /// By vertex, the factor of its rate.
    pub(crate) factors: &'a [f64],
    pub(crate) rate: f64,
    pub(crate) taken: usize,
    pub(crate) energy: f64,
    /// What the rule has asked for that there is not.
    pub(crate) fault: Option<String>,
}

impl<T: Tensor> View<'_, T> {
    /// Lets the rule take a step, or a part of one.
    ///
    /// # Errors
    /// The rule asks for what it has not declared.
    pub(crate) fn take(mut self, rule: &dyn StateRule, name: &str) -> Result<Taken> {
        let taken = rule.step(&mut self);
        match self.fault {
            None => Ok(taken),
            Some(fault) => {
                Err(Error::schedule(format!("{name}: the rule {} {fault}", rule.name())))
            }
        }
    }

    /// Notes a slot that there is not. True where there is.
    fn has(&mut self, slot: Slot) -> bool {
        let free = self.point.free.iter().position(|free| *free);
        let (Slot::Memory(index), Some(vertex)) = (slot, free) else { return true };
        let count = self.memory.slots.get(vertex).map_or(0, Vec::len);
        if index >= count {
            let fault = || format!("uses memory slot {index} of {count}");
            self.fault.get_or_insert_with(fault);
        }
        index < count
    }

    /// Calls `job` with slot `to` and with `from`, by vertex; with `None` where they are one slot.
    fn pairs(&mut self, to: usize, from: Slot, mut job: impl FnMut(&mut T, Option<&T>)) {
        if !(self.has(Slot::Memory(to)) && self.has(from)) {
            return;
        }
        let free = self.point.free.iter().zip(&self.point.vertices).zip(&mut self.memory.slots);
        for ((_, vertex), own) in free.filter(|((free, _), _)| **free) {
            match from {
                Slot::Memory(same) if same == to => job(&mut own[to], None),
                Slot::Memory(other) => {
                    if let Ok([to, from]) = own.get_disjoint_mut([to, other]) {
                        job(to, Some(from));
                    }
                }
                Slot::Down => job(&mut own[to], vertex.scratch.as_ref()),
            }
        }
    }

    /// One slot of one vertex.
    fn read(&self, vertex: usize, slot: Slot) -> Option<&T> {
        match slot {
            Slot::Down => self.point.vertices[vertex].scratch.as_ref(),
            Slot::Memory(index) => self.memory.slots[vertex].get(index),
        }
    }
}

impl<T: Tensor> FreeCoordinates for View<'_, T> {
    fn rate(&self) -> f64 {
        self.rate
    }

    fn taken(&self) -> usize {
        self.taken
    }

    fn part(&self) -> usize {
        self.memory.part
    }

    fn energy(&self) -> f64 {
        self.energy
    }

    fn numbers(&mut self) -> &mut [f64] {
        &mut self.memory.numbers
    }

    fn copy(&mut self, to: usize, from: Slot) {
        self.pairs(to, from, |to, from| {
            if let Some(from) = from {
                to.copy_from(from);
            }
        });
    }

    fn axpy(&mut self, to: usize, a: f64, from: Slot) {
        self.pairs(to, from, |to, from| match from {
            Some(from) => to.axpy(a, from),
            None => to.scale(1.0 + a),
        });
    }

    fn scale(&mut self, slot: usize, a: f64) {
        self.pairs(slot, Slot::Memory(slot), |slot, _| slot.scale(a));
    }

    fn multiply(&mut self, to: usize, by: Slot) {
        if by == Slot::Memory(to) {
            self.map(&[], &[to], &mut |_, own| {
                own.iter_mut().for_each(|own| own.iter_mut().for_each(|x| *x *= *x));
            });
        } else {
            self.pairs(to, by, |to, by| {
                if let Some(by) = by {
                    to.multiply(by);
                }
            });
        }
    }

    fn dot(&mut self, a: Slot, b: Slot) -> f64 {
        if !(self.has(a) && self.has(b)) {
            return f64::NAN;
        }
        let mut sum = 0.0;
        for (index, free) in self.point.free.iter().enumerate() {
            if let (true, Some(a), Some(b)) = (free, self.read(index, a), self.read(index, b)) {
                sum += self.factors[index] * a.dot(b);
            }
        }
        sum
    }

    fn map(&mut self, inputs: &[Slot], outputs: &[usize], job: &mut RowJob<'_>) {
        let known = inputs.iter().all(|slot| self.has(*slot))
            && outputs.iter().all(|slot| self.has(Slot::Memory(*slot)));
        if !known {
            return;
        }
        let twice = |slot: &usize| outputs.iter().filter(|other| *other == slot).count() > 1;
        let both = outputs.iter().any(|o| inputs.contains(&Slot::Memory(*o)) || twice(o));
        if both || inputs.len() > FEW || outputs.is_empty() || outputs.len() > 4 {
            let fault = "maps a slot twice, or too many slots at once, or to none".to_owned();
            self.fault.get_or_insert(fault);
            return;
        }
        let free = self.point.free.iter().zip(&self.point.vertices).zip(&mut self.memory.slots);
        for ((_, vertex), own) in free.filter(|((free, _), _)| **free) {
            let Some(down) = vertex.scratch.as_ref() else { continue };
            let mut read = [down; FEW];
            let mut written: [Option<&mut T>; 4] = [const { None }; 4];
            for (index, slot) in own.iter_mut().enumerate() {
                if let Some(place) = outputs.iter().position(|output| *output == index) {
                    written[place] = Some(slot);
                } else {
                    let places = read.iter_mut().zip(inputs);
                    let slot: &T = slot;
                    for (place, _) in places.filter(|(_, i)| **i == Slot::Memory(index)) {
                        *place = slot;
                    }
                }
            }
            let read = &read[..inputs.len()];
            let mut call = |written: &mut [&mut T]| {
                T::by_rows(read, written, job);
                if let Some(mask) = &vertex.free_mask {
                    written.iter_mut().for_each(|written| written.multiply(mask));
                }
            };
            match written {
                [Some(a), None, ..] => call(&mut [a]),
                [Some(a), Some(b), None, _] => call(&mut [a, b]),
                [Some(a), Some(b), Some(c), None] => call(&mut [a, b, c]),
                [Some(a), Some(b), Some(c), Some(d)] => call(&mut [a, b, c, d]),
                _ => {}
            }
        }
    }

    fn travel(&mut self, a: f64, along: Slot) {
        if !self.has(along) {
            return;
        }
        let Self { point, memory, factors, .. } = self;
        let Point { state, vertices, free, .. } = &mut **point;
        for (index, displacement) in state.displacements.iter_mut().enumerate() {
            let along = match along {
                Slot::Down => vertices[index].scratch.as_ref(),
                Slot::Memory(slot) => memory.slots[index].get(slot),
            };
            if let (true, Some(along)) = (free[index], along) {
                displacement.axpy(a * factors[index], along);
            }
        }
    }
}
