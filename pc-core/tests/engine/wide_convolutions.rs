//! Convolutions that are made of tiles, against the definition by loops: under every method, twice,
//! with a change of weights between.

use pc_core::{
    Clamps, Graph, Relaxation, Result, Schedule, SquaredError, Tensor,
    backend::{Cache, Inputs, Pulled, Vertex},
    host::{Activation, ConvLayer, HostLayers, HostTensor, Init, Sgd},
};

use crate::common::{Numbers, close};

type T = HostTensor<f64>;

/// `tanh(W * v + b)` with 3x3 windows, by loops, with no `change` of its own.
struct Windows {
    padding: usize,
}

impl Windows {
    /// `visit(result, image, weight)` for every term, as places in the tensors.
    fn terms(&self, x: &T, y: &T, mut visit: impl FnMut(usize, usize, usize)) {
        let (&[batch, channels, height, width], &[_, out, rows, columns]) = (x.dims(), y.dims())
        else {
            panic!("images have four axes");
        };
        for k in 0..batch * out * rows * columns * channels * 9 {
            let (place, c) = (k % 9, k / 9 % channels);
            let result = k / 9 / channels;
            let (column, row) = (result % columns, result / columns % rows);
            let (o, sample) = (result / columns / rows % out, result / columns / rows / out);
            let Some(row) = (row + place / 3).checked_sub(self.padding) else { continue };
            let Some(column) = (column + place % 3).checked_sub(self.padding) else { continue };
            if row < height && column < width {
                let image = ((sample * channels + c) * height + row) * width + column;
                visit(result, image, (o * channels + c) * 9 + place);
            }
        }
    }
}

impl Vertex<T> for Windows {
    fn kind(&self) -> &str {
        "windows"
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let side = |k: usize| parents[0][k] + 2 * self.padding - 2;
        Ok(vec![parameters[0][0], side(1), side(2)])
    }

    fn parameters(&self) -> usize {
        2
    }

    fn predict(&self, at: &Inputs<'_, T>, _cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        let (x, w, b) = (at.value(0), at.parameter(0).data(), at.parameter(1).data());
        let plane = output.dims()[2] * output.dims()[3];
        let mut sums: Vec<f64> = (0..output.data().len()).map(|k| b[k / plane % b.len()]).collect();
        self.terms(x, output, |y, image, weight| sums[y] += w[weight] * x.data()[image]);
        output.data_mut().iter_mut().zip(sums).for_each(|(y, sum)| *y = sum.tanh());
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        let mut u = cotangent.clone();
        self.predict(at, cache, &mut u)?;
        let both = u.data_mut().iter_mut().zip(cotangent.data());
        both.for_each(|(y, u)| *y = u * (1.0 - *y * *y));
        let (x, w, scale) = (at.value(0), at.parameter(0).data(), pulled.scale());
        if let Some(force) = pulled.force(0) {
            force.fill(0.0);
            let force = force.data_mut();
            self.terms(x, &u, |y, image, weight| force[image] += w[weight] * u.data()[y]);
        }
        if let Some(gradient) = pulled.gradient(0) {
            let gradient = gradient.data_mut();
            self.terms(x, &u, |y, image, weight| {
                gradient[weight] += scale * u.data()[y] * x.data()[image];
            });
        }
        if let Some(gradient) = pulled.gradient(1) {
            let plane = u.dims()[2] * u.dims()[3];
            let count = gradient.data().len();
            u.data().iter().enumerate().for_each(|(k, u)| {
                gradient.data_mut()[k / plane % count] += scale * u;
            });
        }
        Ok(())
    }
}

/// A net of two such layers, made of tiles or by loops.
fn net(tiles: bool) -> Result<(Graph<T>, Vec<pc_core::VertexId>)> {
    let mut b = Graph::builder();
    let mut init = Init::new(7);
    let x = b.input("x", &[24, 5, 6])?;
    let mut all = vec![x];
    let layers = [("first", 26, 24, 1), ("second", 24, 26, 0)];
    for (name, out, channels, padding) in layers {
        let last = all[all.len() - 1];
        let layer = ConvLayer::new(out, 3).padding(padding).activation(Activation::Tanh);
        all.push(if tiles {
            b.conv(name, last, &layer, &mut init)?
        } else {
            let weight = init.uniform(&[out, channels, 3, 3], 0.1)?;
            let weight = b.parameter(&format!("{name}.weight"), weight)?;
            let bias = b.parameter(&format!("{name}.bias"), init.uniform(&[out], 0.1)?)?;
            b.vertex(name, Box::new(Windows { padding }), &[last], &[weight, bias])?
        });
    }
    Ok((b.build()?, all))
}

/// Gradients, forces' values and weights after two batches, with weights that moved between.
fn twice(tiles: bool, schedule: &Schedule, frozen: bool) -> Result<Vec<Vec<f64>>> {
    let (mut graph, vertices) = net(tiles)?;
    let mut numbers = Numbers::new(3);
    let names: Vec<String> = graph.named_parameters().map(|(name, _)| name.to_owned()).collect();
    for name in &names {
        let parameter = graph.parameter(name)?;
        let shape = graph.parameters()[parameter.index()].shape();
        graph.set_parameter(parameter, numbers.tensor(&shape, 0.1))?;
    }
    let first = graph.parameter("first.weight")?;
    graph.freeze(first, frozen)?;
    let mut rule = Relaxation::new(&graph, schedule.clone())?;
    let mut sgd = Sgd::new(0.05)?;
    let mut found = Vec::new();
    for batch in [2, 3] {
        let x = numbers.tensor(&[batch, 24, 5, 6], 1.0);
        let y = numbers.tensor(&[batch, 24, 3, 4], 1.0);
        let clamps = Clamps::new().hold(vertices[0], x).drive(vertices[2], SquaredError::new(y));
        let learns =
            |graph: &mut Graph<T>, gradients: &_| sgd.step(graph.parameters_mut(), gradients);
        rule.train(&mut graph, &clamps, learns)?;
        for vertex in &vertices {
            found.extend(rule.value(&graph, *vertex).map(|value| value.to_vec()));
        }
        for name in &names {
            let parameter = graph.parameter(name)?;
            found.extend(rule.gradients().get(parameter).map(Tensor::to_vec));
            found.push(graph.parameters()[parameter.index()].to_vec());
        }
        // Freed, or frozen, for the second batch.
        graph.freeze(first, !frozen)?;
    }
    Ok(found)
}

#[test]
fn tiles_are_the_definition_under_every_method() -> Result<()> {
    let schedules = [
        ("backprop", Schedule::backprop()),
        ("fixed prediction", Schedule::fixed_prediction(0.3, 4)?),
        ("Z-IL", Schedule::zil()),
        ("standard", Schedule::standard(0.2, 5)?),
        ("iPC", Schedule::ipc(0.2, 5)?),
        ("error-based", Schedule::epc(0.2, 5)?),
    ];
    for (name, schedule) in &schedules {
        for frozen in [false, true] {
            let (tiles, loops) = (twice(true, schedule, frozen)?, twice(false, schedule, frozen)?);
            assert_eq!(tiles.len(), loops.len(), "{name}");
            for (k, (tiles, loops)) in tiles.iter().zip(&loops).enumerate() {
                close(&format!("{name}, {k}, frozen first: {frozen}"), tiles, loops, 1e-11);
            }
        }
    }
    Ok(())
}
