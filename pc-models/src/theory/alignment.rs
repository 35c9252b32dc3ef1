//! How well a step of learning aims.

use pc_core::{
    Error, ErrorKind, Gradients, Graph, ParamId, Result, Tensor, VertexId, backend::GraphTensor,
};

/// How the output changes when weights learn, to first order: the derivative of its feed-forward
/// value along minus the gradients,
/// ```text
/// d/deta y^(theta - eta r_k g_k) at eta = 0,
/// ```
/// with `r_k` the rate of parameter `k`: 1 for those that `rates` does not name. It is found by
/// three central differences and Richardson's combinations of them, so that in `f64` it is good to
/// about ten digits; the weights are afterwards what they were, to the bit.
///
/// # Errors
/// Nothing leads from what is `known` to the output; a rate or a gradient that is not finite; a
/// parameter that is not in the graph; what the framework reports.
///
/// # Example
/// ```
/// use pc_core::{Clamps, Graph, Relaxation, Schedule, Tensor};
/// use pc_core::host::{Activation, HostLayers, HostTensor, Init};
/// use pc_models::theory::output_change;
/// let (mut b, mut init) = (Graph::<HostTensor<f64>>::builder(), Init::new(0));
/// let x = b.input("x", &[1])?;
/// let y = b.dense("y", x, 1, Activation::Identity, &mut init)?;
/// let mut graph = b.build()?;
/// let picture = HostTensor::new(&[1, 1], vec![2.0])?;
/// let now = graph.predict(&[(x, &picture)], y)?.to_vec()[0];
/// let wanted = HostTensor::new(&[1, 1], vec![now + 1.0])?;
/// let mut rule = Relaxation::new(&graph, Schedule::backprop())?;
/// rule.run(&mut graph, &Clamps::new().hold(x, picture.clone()).hold(y, wanted))?;
/// let change = output_change(&mut graph, &[(x, &picture)], y, rule.gradients(), &[])?;
/// // The weight moves by 2 and the bias by 1: 2 * 2 + 1.
/// assert!((change.to_vec()[0] - 5.0).abs() < 1e-9);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub fn output_change<T: GraphTensor>(
    graph: &mut Graph<T>,
    known: &[(VertexId, &T)],
    output: VertexId,
    gradients: &Gradients<T>,
    rates: &[(ParamId, f64)],
) -> Result<T> {
    if let Some((_, rate)) = rates.iter().find(|(_, rate)| !rate.is_finite()) {
        let why = format!("the rate of a parameter is not finite: {rate}");
        return Err(Error::new(ErrorKind::NotFinite, why));
    }
    if let Some((parameter, _)) =
        rates.iter().find(|(parameter, _)| parameter.index() >= graph.parameters().len())
    {
        let why = format!("parameter {} is not in this graph", parameter.index());
        return Err(Error::new(ErrorKind::Graph, why));
    }
    if !gradients.is_finite() {
        return Err(Error::new(ErrorKind::NotFinite, "a gradient is not finite"));
    }
    let before: Vec<T> = graph.parameters().to_vec();
    let rate = |id: ParamId| rates.iter().find(|own| own.0 == id).map_or(1.0, |own| own.1);
    // A step as large against the weights as the differences can bear.
    let squares = |numbers: f64, x: &T| numbers + x.norm_squared();
    let weights = before.iter().fold(0.0, squares).sqrt();
    let moves = gradients.iter().filter_map(|(id, g)| Some((rate(id), g?)));
    let steepness = moves.map(|(rate, g)| rate * rate * g.norm_squared()).sum::<f64>().sqrt();
    if steepness == 0.0 {
        let mut still = graph.predict(known, output)?;
        still.fill(0.0);
        return Ok(still);
    }
    let step = STEP * weights.max(1.0) / steepness;
    let mut moved = |by: f64| {
        for (id, gradient) in gradients.iter() {
            let (Some(own), Some(old)) =
                (graph.parameters_mut().get_mut(id.index()), before.get(id.index()))
            else {
                continue;
            };
            own.copy_from(old);
            if let Some(gradient) = gradient {
                own.axpy(-by * rate(id), gradient);
            }
        }
        graph.predict(known, output)
    };
    let mut difference = |by: f64| {
        let (ahead, behind) = (moved(by)?, moved(-by)?);
        let mut slope = ahead.clone();
        slope.set_difference(&ahead, &behind);
        slope.scale(0.5 / by);
        Ok(slope)
    };
    let all = [1.0, 0.5, 0.25].map(|part| difference(part * step));
    let own = graph.parameters_mut().iter_mut().zip(&before);
    own.for_each(|(own, old)| own.copy_from(old));
    let [wide, narrow, narrowest] = all;
    // Each combination takes the next even power of the step away.
    let better = |wide: &T, narrow: &T, power: f64| {
        let mut better = narrow.clone();
        better.scale(power / (power - 1.0));
        better.axpy(-1.0 / (power - 1.0), wide);
        better
    };
    let (wide, narrow, narrowest) = (wide?, narrow?, narrowest?);
    let first = better(&wide, &narrow, 4.0);
    Ok(better(&first, &better(&narrow, &narrowest, 4.0), 16.0))
}

/// The relative step of the differences: its sixth power is what Richardson's combinations leave,
/// and the numbers' last digit over it is what rounding adds.
const STEP: f64 = 1e-3;

/// Target alignment: the cosine between what a step of learning does to the output and what it
/// should do, `cos(change, target - output)`, the mean over samples (Song, Millidge, Salvatori,
/// Lukasiewicz, Xu and Bogacz 2024, "Inferring neural activity before plasticity", with the output
/// change of [`output_change`], so that it depends on no learning rate). 1 says that learning moves
/// the output straight to its target. Rates `r_k` by layer change it; in linear nets rates
/// proportional to `1 / (v*_{l-1} . v_{l-1})`, with `v` feed-forward and `v*` relaxed, make that of
/// standard PC 1.
///
/// # Errors
/// Tensors of unequal shapes; a sample whose output is at its target, or does not change, for which
/// there is no angle.
///
/// # Example
/// ```
/// use pc_core::host::HostTensor;
/// use pc_models::theory::target_alignment;
/// let of = |numbers: &[f64]| HostTensor::<f64>::new(&[1, 2], numbers.to_vec());
/// let aligned = target_alignment(&of(&[1.0, 0.0])?, &of(&[0.0, 0.0])?, &of(&[1.0, 1.0])?)?;
/// assert!((aligned - 0.5_f64.sqrt()).abs() < 1e-15);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub fn target_alignment<T: Tensor>(change: &T, output: &T, target: &T) -> Result<f64> {
    if change.shape() != output.shape() || change.shape() != target.shape() {
        let why = format!(
            "the change has shape {:?}, the output {:?} and the target {:?}",
            change.shape(),
            output.shape(),
            target.shape()
        );
        return Err(Error::new(ErrorKind::Shape, why));
    }
    let samples = change.batch();
    let (change, output, target) = (change.to_vec(), output.to_vec(), target.to_vec());
    let each = (change.len() / samples.max(1)).max(1);
    let mut sum = 0.0;
    let rows = change.chunks(each).zip(output.chunks(each)).zip(target.chunks(each));
    for (sample, ((change, output), target)) in rows.enumerate() {
        let wanted: Vec<f64> = target.iter().zip(output).map(|(y, out)| y - out).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let lengths = (dot(change, change) * dot(&wanted, &wanted)).sqrt();
        if !(lengths > 0.0 && lengths.is_finite()) {
            let why = format!(
                "sample {sample}: its output is at its target or does not change, or a number is \
                 not finite, so there is no angle"
            );
            return Err(Error::new(ErrorKind::NotFinite, why));
        }
        sum += dot(change, &wanted) / lengths;
    }
    Ok(sum / samples.max(1) as f64)
}
