//! What a plan is made for, and what its products are made of.

use crate::precision::Precision;

/// What a plan is made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NetShape {
    /// The widths of the chain, input first.
    pub widths: Vec<usize>,
    /// The samples of a batch.
    pub batch: usize,
    /// Live predictions, or frozen ones.
    pub live: bool,
    /// The precision of the products.
    pub precision: Precision,
    /// Whether any vertex is a relu.
    pub relu: bool,
    /// What the output does.
    pub output: Output,
}

/// What the output of a net does while it relaxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Output {
    /// It is held; or its predictions are frozen, so that what drives it is constant.
    #[default]
    Held,
    /// It follows its live prediction, and the squared error there drives it.
    SquaredError,
    /// It follows its live prediction, and cross-entropy there drives it. A cluster keeps all of
    /// such an output in one block.
    CrossEntropy,
}

impl NetShape {
    /// What the kernels' products are made of; none where they have to be full. Live relus have
    /// split ones, whatever is asked for.
    pub(crate) fn operand(&self) -> Option<Operand> {
        let split = self.split();
        match self.precision {
            Precision::F32 => None,
            Precision::Tf32 => Some(Operand::Tf32 { split }),
            Precision::Bf16 => Some(Operand::Bf16 { split }),
        }
    }

    /// What the library's products may round to: it has no split ones.
    pub(crate) fn library(&self) -> Precision {
        if self.split() { Precision::F32 } else { self.precision }
    }

    /// Whether products that round would move the places where slopes jump.
    fn split(&self) -> bool {
        self.live && self.relu
    }
}

/// Rounded numbers; split ones are two each, a rounded part and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Tf32 { split: bool },
    Bf16 { split: bool },
}

impl Operand {
    /// The bytes of a number.
    pub(crate) fn size(self) -> usize {
        match self {
            Operand::Tf32 { .. } => 4,
            Operand::Bf16 { .. } => 2,
        }
    }

    /// The products that one takes.
    pub(crate) fn parts(self) -> usize {
        match self {
            Operand::Tf32 { split } | Operand::Bf16 { split } => {
                if split {
                    3
                } else {
                    1
                }
            }
        }
    }
}
