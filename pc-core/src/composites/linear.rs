//! Vertices that are linear in their one parent and have no parameters.

/// Such a vertex: made of `$structure(self)`, its shape by `$shape(self, parent)`, its numbers by
/// `$map(self, from, to)`, a force by the transpose `$back(self, from, to)`.
macro_rules! linear_in_parent {
    ($vertex:ty, $kind:literal, $structure:expr, $shape:expr, $map:expr, $back:expr) => {
        impl<T: GraphTensor> Vertex<T> for $vertex {
            fn kind(&self) -> &str {
                $kind
            }

            fn structure(&self) -> Structure {
                $structure(self)
            }

            fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
                $shape(self, single($kind, parents)?)
            }

            fn reads_values(&self) -> bool {
                false
            }

            fn predict(
                &self,
                at: &Inputs<'_, T>,
                _cache: &mut Cache<T>,
                output: &mut T,
            ) -> Result<()> {
                $map(self, at.value(0), output);
                Ok(())
            }

            fn change(
                &self,
                at: &Inputs<'_, T>,
                _cache: &mut Cache<T>,
                _predicted: &T,
                output: &mut T,
            ) -> Result<()> {
                match at.displacement(0) {
                    Some(displacement) => $map(self, displacement, output),
                    None => output.fill(0.0),
                }
                Ok(())
            }

            fn pull(
                &self,
                _at: &Inputs<'_, T>,
                _cache: &mut Cache<T>,
                cotangent: &T,
                pulled: &mut Pulled<'_, T>,
            ) -> Result<()> {
                if let Some(force) = pulled.force(0) {
                    $back(self, cotangent, force);
                }
                Ok(())
            }
        }
    };
}
pub(super) use linear_in_parent;
