//! What the marks of a program are to one another: found by a survey of one forward and one
//! backward pass, and checked at every mark of every pass.

use std::sync::Arc;

use burn::{
    module::{Module, ParamId},
    tensor::Device,
};
use pc_core::{Error, ErrorKind, Result, Tensor as _, Topology, VertexId, backend::Prediction};

use super::{
    model::{apart, nodes_of, parameters_of},
    pass::{self, Pass, PassPlan, Sight},
    program::Program,
    random::Draws,
    wiring::{Made, Wiring},
};
use crate::BurnTensor;

/// What one mark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A vertex of the network.
    Vertex(usize),
    /// It feeds the loss and nothing else. The loss holds it at its drive, so it is part of how the
    /// loss is predicted.
    Output,
    /// The loss does not depend on it: nothing drives it, and it drives nothing.
    Idle,
}

/// The marks of one program at one batch size.
#[derive(Debug)]
pub(super) struct Layout {
    names: Vec<Option<&'static str>>,
    shapes: Vec<Vec<usize>>,
    places: Vec<Place>,
    wiring: Wiring,
    /// The paths of the parameters that learn.
    parameters: Vec<String>,
    /// The vertices, and the loss as the last of them.
    pub(super) topology: Topology,
    /// Zeros shaped as each vertex, the loss last.
    pub(super) zeros: Vec<BurnTensor>,
    /// Whether the program draws random numbers.
    pub(super) random: bool,
    /// The model's devices, where the zeros lie. The copies of a model on several devices share
    /// what is known of it.
    devices: Vec<Device>,
}

impl Layout {
    /// The number of vertices, the loss not counted.
    pub(super) fn vertices(&self) -> usize {
        self.zeros.len() - 1
    }

    /// The number of marks.
    pub(super) fn count(&self) -> usize {
        self.places.len()
    }

    /// The mark of each vertex, in order.
    pub(super) fn marks(&self) -> impl Iterator<Item = usize> + '_ {
        self.places
            .iter()
            .enumerate()
            .filter(|(_, place)| matches!(place, Place::Vertex(_)))
            .map(|(mark, _)| mark)
    }

    /// The marks that feed the loss and nothing else.
    pub(super) fn outputs(&self) -> impl Iterator<Item = usize> + '_ {
        self.places
            .iter()
            .enumerate()
            .filter(|(_, place)| matches!(place, Place::Output))
            .map(|(mark, _)| mark)
    }

    /// The number of samples: the first dimension of the first mark.
    pub(super) fn samples(&self) -> usize {
        self.shapes.first().and_then(|shape| shape.first()).copied().unwrap_or(1).max(1)
    }

    /// The shape of a mark.
    pub(super) fn shape(&self, index: usize) -> Option<&[usize]> {
        self.shapes.get(index).map(Vec::as_slice)
    }

    /// What mark `index` is.
    ///
    /// # Errors
    /// A mark that was not there before, or has another name or shape.
    pub(super) fn place(
        &self,
        index: usize,
        name: Option<&'static str>,
        shape: &[usize],
    ) -> Result<Place> {
        let Some(place) = self.places.get(index) else {
            return Err(changed(format!(
                "the program marks more vertices than before, which were {}",
                self.places.len()
            ))
            .at(&label(index, name)));
        };
        if self.names[index] != name {
            let before = label(index, self.names[index]);
            return Err(changed(format!(
                "the program marked `{before}` in its place before: vertices must come in one order"
            ))
            .at(&label(index, name)));
        }
        if self.shapes[index] != shape {
            return Err(changed(format!(
                "its shape is {shape:?}, and was {:?} before",
                self.shapes[index]
            ))
            .at(&label(index, name)));
        }
        Ok(*place)
    }

    /// # Errors
    /// Fewer marks than before.
    pub(super) fn check_count(&self, count: usize) -> Result<()> {
        if count < self.places.len() {
            return Err(changed(format!(
                "the program marked {count} vertices, and {} before",
                self.places.len()
            )));
        }
        Ok(())
    }

    /// # Errors
    /// A wiring other than the layout's.
    pub(super) fn check_wiring(&self, found: &Wiring) -> Result<()> {
        match self.wiring.differs(found) {
            None => Ok(()),
            Some(mark) => {
                let name = match self.names.get(mark) {
                    Some(name) => label(mark, *name),
                    None => "loss".to_owned(),
                };
                let message = "it is made of other vertices or parameters than before";
                Err(changed(message.to_owned()).at(&name))
            }
        }
    }

    /// Whether it is the layout of these marks and these parameters, so wired, on these devices.
    fn is_of(&self, seen: &Seen, parameters: &[(ParamId, String)], devices: &[Device]) -> bool {
        self.learns(parameters, devices)
            && self.places.len() == seen.marks.len()
            && seen
                .marks
                .iter()
                .enumerate()
                .all(|(index, (name, shape))| self.place(index, *name, shape).is_ok())
            && self.wiring.differs(&seen.wiring).is_none()
    }

    /// Whether these parameters learn, on these devices.
    fn learns(&self, parameters: &[(ParamId, String)], devices: &[Device]) -> bool {
        self.devices == devices
            && self.parameters.iter().eq(parameters.iter().map(|(_, path)| path))
    }

    fn of(
        sights: &[Sight],
        wiring: Wiring,
        parameters: &[(ParamId, String)],
        devices: &[Device],
        loss: BurnTensor,
        random: bool,
    ) -> Result<Self> {
        let feeds_a_mark = |mark: usize| {
            wiring.marks.iter().flatten().any(|made: &Made| made.parents.contains(&mark))
        };
        let mut places = Vec::with_capacity(sights.len());
        let mut count = 0;
        for (mark, made) in wiring.marks.iter().enumerate() {
            places.push(if made.is_none() {
                Place::Idle
            } else if wiring.loss.parents.contains(&mark) && !feeds_a_mark(mark) {
                Place::Output
            } else {
                count += 1;
                Place::Vertex(count - 1)
            });
        }
        let mut names = Vec::new();
        let mut predictions = Vec::new();
        let mut zeros = Vec::new();
        let vertex = |mark: &usize| match places[*mark] {
            Place::Vertex(vertex) => Some(VertexId::new(vertex)),
            Place::Output | Place::Idle => None,
        };
        let ids = |found: &[usize]| {
            found.iter().map(|&parameter| pc_core::ParamId::new(parameter)).collect()
        };
        let mut of_loss: (Vec<VertexId>, Vec<usize>) =
            (wiring.loss.parents.iter().filter_map(vertex).collect(), wiring.loss.uses.clone());
        for (mark, (sight, made)) in sights.iter().zip(&wiring.marks).enumerate() {
            let Some(Made { parents, uses }) = made else { continue };
            match vertex(&mark) {
                Some(of) => {
                    names.push(label(mark, sight.name));
                    let parents = parents.iter().filter_map(vertex).collect();
                    predictions.push(Prediction::new(of, parents, ids(uses)));
                    let mut zero = sight.predicted.clone();
                    zero.fill(0.0);
                    zeros.push(zero);
                }
                // What an output depends on, the loss depends on through it.
                None => {
                    of_loss.0.extend(parents.iter().filter_map(vertex));
                    of_loss.1.extend(uses);
                }
            }
        }
        of_loss.0.sort();
        of_loss.0.dedup();
        of_loss.1.sort_unstable();
        of_loss.1.dedup();
        names.push("loss".to_owned());
        let uses = ids(&of_loss.1);
        predictions.push(Prediction::new(VertexId::new(count), of_loss.0, uses));
        let mut zero = loss;
        zero.fill(0.0);
        zeros.push(zero);
        let parameters: Vec<String> = parameters.iter().map(|(_, name)| name.clone()).collect();
        Ok(Self {
            names: sights.iter().map(|sight| sight.name).collect(),
            shapes: sights.iter().map(|sight| sight.shape.clone()).collect(),
            places,
            wiring,
            topology: Topology::new(names, parameters.clone(), predictions)?,
            parameters,
            zeros,
            random,
            devices: devices.to_vec(),
        })
    }
}

/// What one pass has seen of a program.
#[derive(Debug)]
pub(super) struct Seen {
    marks: Vec<(Option<&'static str>, Vec<usize>)>,
    wiring: Wiring,
}

impl Seen {
    pub(super) fn new(pass: &Pass, wiring: Wiring) -> Self {
        let marks = pass.sights.iter().map(|sight| (sight.name, sight.shape.clone())).collect();
        Self { marks, wiring }
    }
}

/// The layouts met so far, the last used first: one for every batch size, length of sequence,
/// wiring and set of parameters that learn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layouts(Vec<Arc<Layout>>);

impl Layouts {
    /// More than this many are not kept; the longest unused goes first.
    const KEPT: usize = 64;

    /// The layout last used with these parameters on these devices, which is likely the next.
    pub(super) fn last(
        &mut self,
        parameters: &[(ParamId, String)],
        devices: &[Device],
    ) -> Option<Arc<Layout>> {
        let index = self.0.iter().position(|layout| layout.learns(parameters, devices))?;
        Some(self.used(index))
    }

    /// The layout of what was seen, if it is known.
    pub(super) fn known(
        &mut self,
        seen: &Seen,
        parameters: &[(ParamId, String)],
        devices: &[Device],
    ) -> Option<Arc<Layout>> {
        let index = self.0.iter().position(|layout| layout.is_of(seen, parameters, devices))?;
        Some(self.used(index))
    }

    /// Finds the layout of a program by running it: once, forward and backward, and again where it
    /// seems to draw random numbers, since another thread may have been it that drew. Its numbers
    /// are those of `draws`.
    ///
    /// # Errors
    /// A loss that is not one number; a graph that Burn does not show.
    pub(super) fn survey<M: Module, P: Program<M>>(
        &mut self,
        model: &M,
        parameters: &[(ParamId, String)],
        program: &mut P,
        draws: &Draws,
    ) -> Result<Arc<Layout>> {
        // A copy of its own running statistics, so that a survey leaves no trace.
        let copy = apart(model);
        let nodes = nodes_of(&copy, parameters);
        let ((loss, mut pass), mut random) = draws.noticed(|| {
            pass::run(PassPlan::Survey, true, &draws.drawn, || {
                let (_, loss, _) = program.step(&copy);
                loss
            })
        });
        pass.check()?;
        let tracked = loss.is_tracked();
        let wiring = pass.wiring(Some(&nodes))?;
        let loss = one_number(loss)?;
        if !(tracked && wiring.uses_any()) {
            return Err(Error::new(
                ErrorKind::Misuse,
                "the loss depends on none of the parameters that learn: compute it with the model \
                 that the function is given, and detach nothing on the way",
            )
            .at("loss"));
        }
        for _ in 0..2 {
            if random {
                let again = || {
                    pass::run(PassPlan::Survey, false, &draws.drawn, || drop(program.step(&copy)));
                };
                random &= draws.noticed(again).1;
            }
        }
        let devices = model.devices();
        let layout = Layout::of(&pass.sights, wiring, parameters, &devices, loss, random)?;
        let layout = Arc::new(layout);
        self.0.insert(0, Arc::clone(&layout));
        self.0.truncate(Self::KEPT);
        Ok(layout)
    }

    fn used(&mut self, index: usize) -> Arc<Layout> {
        let layout = self.0.remove(index);
        self.0.insert(0, Arc::clone(&layout));
        layout
    }
}

/// The loss of a program, and the first dimension of its first mark.
///
/// # Errors
/// A model that cannot learn; a program without marks; a loss that is not one number.
pub(crate) fn probe<M: Module, P: Program<M>>(model: &M, program: &mut P) -> Result<(f64, usize)> {
    parameters_of(model)?;
    let copy = apart(model);
    let draws = Draws::new(&model.devices());
    let (loss, mut pass) = pass::run(PassPlan::Survey, false, &draws.drawn, || {
        let (_, loss, _) = program.step(&copy);
        loss
    });
    pass.check()?;
    let loss = one_number(loss)?.to_vec().first().copied().unwrap_or(f64::NAN);
    let Some(samples) = pass.sights.first().and_then(|sight| sight.shape.first()) else {
        return Err(changed("the program has no mark".to_owned()));
    };
    Ok((loss, *samples))
}

/// # Errors
/// A loss that is not one number.
pub(super) fn one_number(loss: burn::tensor::Tensor<1>) -> Result<BurnTensor> {
    let loss = BurnTensor::new(loss)?;
    if loss.shape().iter().product::<usize>() != 1 {
        let message = format!(
            "the loss must be one number, not a tensor shaped {:?}: reduce it by its mean or sum",
            loss.shape()
        );
        return Err(Error::new(ErrorKind::Shape, message).at("loss"));
    }
    Ok(loss)
}

fn label(index: usize, name: Option<&'static str>) -> String {
    // Two marks may have one name (a layer in a loop): the number tells them apart.
    name.map_or_else(|| format!("vertex {index}"), |name| format!("{name} ({index})"))
}

fn changed(message: String) -> Error {
    Error::new(ErrorKind::Graph, message)
}
