//! Memories that compare in a space of features.

use pc_core::{Error, ErrorKind, Graph, Predictor, Result, VertexId, backend::GraphTensor};

use crate::hopfield::Memory;

/// An associative memory in the feature space (Salvatori, Millidge, Song, Bogacz and Lukasiewicz,
/// "Associative Memories in the Feature Space", ECAI 2023): an encoder `e` in front of a universal
/// Hopfield network, `z = P sep(sim(e(M), e(q)))`. Queries are compared where pictures of one thing
/// lie close together, say after an encoder that a contrastive loss has trained.
///
/// The encoder is any graph. It is run forward, and it can be trained by any rule before and after:
/// what is stored is encoded when [`FeatureMemory::store`] or
/// [`FeatureMemory::store_embeddings`] is called.
///
/// # Example
/// ```
/// use pc_core::{Graph, host::{Activation, HostLayers, HostTensor, Init}};
/// use pc_models::{FeatureMemory, hopfield::{Euclidean, Max}};
/// let mut b = Graph::<HostTensor<f32>>::builder();
/// let image = b.input("image", &[4])?;
/// let code = b.dense("code", image, 2, Activation::Tanh, &mut Init::new(1))?;
/// let mut memory = FeatureMemory::new(b.build()?, image, code)?;
/// let pictures = HostTensor::new(&[2, 4], vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0])?;
/// memory.store(&pictures, |keys| keys.similarity(Euclidean).separation(Max))?;
/// assert_eq!(memory.recall(&pictures)?, pictures);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Debug)]
pub struct FeatureMemory<T: GraphTensor> {
    encoder: Graph<T>,
    predictor: Predictor<T>,
    input: VertexId,
    embedding: VertexId,
    memory: Option<Memory>,
}

impl<T: GraphTensor> FeatureMemory<T> {
    /// A memory behind this encoder, of which `input` is given a picture and `embedding` is read.
    /// Nothing is stored yet.
    ///
    /// # Errors
    /// A vertex that is not in the graph.
    pub fn new(encoder: Graph<T>, input: VertexId, embedding: VertexId) -> Result<Self> {
        encoder.shape(input)?;
        encoder.shape(embedding)?;
        let predictor = Predictor::new(&encoder);
        Ok(Self { encoder, predictor, input, embedding, memory: None })
    }

    /// The encoder.
    pub fn graph(&self) -> &Graph<T> {
        &self.encoder
    }

    /// The encoder, to be loaded or trained. What is stored stays as it was encoded: store it
    /// again afterwards.
    pub fn graph_mut(&mut self) -> &mut Graph<T> {
        &mut self.encoder
    }

    /// What the encoder makes of pictures.
    ///
    /// # Errors
    /// As [`Predictor::run`].
    pub fn encode(&mut self, pictures: &T) -> Result<T> {
        self.predictor.run(&mut self.encoder, &[(self.input, pictures)], &[self.embedding])?;
        self.predictor.value(self.embedding).cloned()
    }

    /// Stores pictures `[count, shape...]` under their embeddings, in place of what was stored.
    /// `with` says how keys are compared and separated.
    ///
    /// # Errors
    /// As [`FeatureMemory::encode`] and [`Memory::of_pairs`].
    pub fn store(&mut self, pictures: &T, with: impl FnOnce(Memory) -> Memory) -> Result<()> {
        let keys = self.encode(pictures)?;
        self.memory = Some(with(Memory::of_pairs(&keys, pictures)?));
        Ok(())
    }

    /// Stores the embeddings of pictures alone, in place of what was stored: recall gives an
    /// embedding, and a picture takes many times less room.
    ///
    /// # Errors
    /// As [`FeatureMemory::encode`] and [`Memory::new`].
    pub fn store_embeddings(
        &mut self,
        pictures: &T,
        with: impl FnOnce(Memory) -> Memory,
    ) -> Result<()> {
        let keys = self.encode(pictures)?;
        self.memory = Some(with(Memory::new(&keys)?));
        Ok(())
    }

    /// The memory of embeddings, where something is stored.
    pub fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    /// What comes out for a batch of pictures: pictures, or embeddings where those alone are
    /// stored.
    ///
    /// # Errors
    /// Nothing is stored; as [`FeatureMemory::encode`] and [`Memory::recall`].
    pub fn recall(&mut self, queries: &T) -> Result<T> {
        let features = self.encode(queries)?;
        self.recall_features(&features)
    }

    /// What comes out for features that are encoded already.
    ///
    /// # Errors
    /// As [`FeatureMemory::recall`].
    pub fn recall_features(&self, features: &T) -> Result<T> {
        let memory = self.memory.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Misuse, "nothing is stored in this memory: call `store` first")
        })?;
        memory.recall(features)
    }
}
