//! Attention of several heads, with its scores as vertices.

use std::borrow::Borrow;

use pc_core::{Error, ErrorKind, Result};
use tch::{
    Tensor,
    nn::{self, Init, Module, Path},
};

use crate::marked::named_vertex;

/// How [`Attention`] attends.
#[derive(Clone, Copy, Debug)]
pub struct AttentionConfig {
    /// How many heads share the width out.
    pub heads: i64,
    /// Whether a place sees itself and what comes before it alone.
    pub causal: bool,
    /// Whether its maps have biases.
    pub bias: bool,
}

impl Default for AttentionConfig {
    fn default() -> Self {
        Self { heads: 1, causal: false, bias: true }
    }
}

/// Self-attention, `softmax(Q K^T / sqrt d) V` by heads, from `[batch, places, width]` to the same:
/// queries, keys, values, scores, shares (the softmax), what they mix, and the output are each a
/// vertex ([`crate::vertex`]).
///
/// tch has no such module; parameters are named and laid out as PyTorch's `nn.MultiheadAttention`
/// has them (`in_proj_weight`, `in_proj_bias`, `out_proj.weight`, `out_proj.bias`), so that its
/// weight files load.
///
/// # Example
/// ```
/// use pc_tch::modules::{Attention, AttentionConfig};
/// use tch::{Device, Kind, Tensor, nn::{self, Module}};
/// let store = nn::VarStore::new(Device::Cpu);
/// let config = AttentionConfig { heads: 2, causal: true, ..Default::default() };
/// let attention = Attention::new(store.root() / "attention", 8, config)?;
/// let x = Tensor::rand([3, 5, 8], (Kind::Float, Device::Cpu));
/// let y = attention.forward(&x);
/// assert_eq!(y.size(), [3, 5, 8]);
/// // The first place sees nothing of the others.
/// let alone = attention.forward(&x.narrow(1, 0, 1));
/// assert!((y.narrow(1, 0, 1) - alone).abs().max().double_value(&[]) < 1e-6);
/// # Ok::<(), pc_tch::pc_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Attention {
    projection: Tensor,
    biases: Option<Tensor>,
    output: nn::Linear,
    config: AttentionConfig,
}

impl Attention {
    /// Attention over values of this width.
    ///
    /// # Errors
    /// A width that the heads do not divide.
    pub fn new<'a>(
        path: impl Borrow<Path<'a>>,
        width: i64,
        config: AttentionConfig,
    ) -> Result<Self> {
        let path = path.borrow();
        if config.heads < 1 || width < 1 || width % config.heads != 0 {
            return Err(Error::new(
                ErrorKind::Shape,
                format!("{} heads do not divide a width of {width}", config.heads),
            ));
        }
        // Glorot's bounds over the three maps together, as PyTorch draws them.
        let bound = (6.0 / (4 * width) as f64).sqrt();
        let uniform = Init::Uniform { lo: -bound, up: bound };
        let biases = config.bias.then(|| path.zeros("in_proj_bias", &[3 * width]));
        let of_output = nn::LinearConfig {
            bias: config.bias,
            bs_init: Some(Init::Const(0.0)),
            ..Default::default()
        };
        Ok(Self {
            projection: path.var("in_proj_weight", &[3 * width, width], uniform),
            biases,
            output: nn::linear(path / "out_proj", width, width, of_output),
            config,
        })
    }
}

impl Module for Attention {
    fn forward(&self, x: &Tensor) -> Tensor {
        let &[batch, places, width] = x.size().as_slice() else {
            // libtorch's message is the better one.
            return x.linear(&self.projection, self.biases.as_ref());
        };
        let (heads, size) = (self.config.heads, width / self.config.heads);
        let part = |index: i64, name: &str| {
            let rows = |x: &Tensor| x.narrow(0, index * width, width);
            let of = x.linear(&rows(&self.projection), self.biases.as_ref().map(rows).as_ref());
            named_vertex(name, &of).view([batch, places, heads, size]).transpose(1, 2)
        };
        let query = part(0, "attention.query");
        let key = part(1, "attention.key");
        let value = part(2, "attention.value");
        let scores = query.matmul(&key.transpose(-2, -1)) / (size as f64).sqrt();
        let mut scores = named_vertex("attention.scores", &scores);
        if self.config.causal {
            let later = scores.ones_like().triu(1).to_kind(tch::Kind::Bool);
            scores = scores.masked_fill(&later, f64::NEG_INFINITY);
        }
        let shares = named_vertex("attention.shares", &scores.softmax(-1, None::<tch::Kind>));
        let mixed = shares.matmul(&value).transpose(1, 2).reshape([batch, places, width]);
        let mixed = named_vertex("attention.mixed", &mixed);
        named_vertex("attention.output", &self.output.forward(&mixed))
    }
}
