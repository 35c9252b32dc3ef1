//! Parameters and optimisers in files.

use std::{fs, path::Path};

use pc_core::{
    Clamps, Clipping, ErrorKind, Graph, Relaxation, Result, Schedule, Tensor, VertexId,
    backend::OptimiserState,
    host::{Activation, Adam, Element, HostLayers, HostTensor, Init, Sgd},
};

use crate::common::{Numbers, tensor};

struct Net<F: Element> {
    graph: Graph<HostTensor<F>>,
    x: VertexId,
    y: VertexId,
}

fn net<F: Element>(seed: u64) -> Net<F> {
    let mut init = Init::new(seed);
    let mut b = Graph::builder();
    let x = b.input("x", &[4]).unwrap();
    let h = b.dense("h", x, 5, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", h, 3, Activation::Identity, &mut init).unwrap();
    Net { graph: b.build().unwrap(), x, y }
}

/// So many batches, counted from `first`.
fn train<F: Element>(
    net: &mut Net<F>,
    first: u64,
    count: u64,
    mut learn: impl FnMut(&mut [HostTensor<F>], &pc_core::Gradients<HostTensor<F>>) -> Result<()>,
) {
    let mut relaxation = Relaxation::new(&net.graph, Schedule::standard(0.1, 5).unwrap()).unwrap();
    for batch in first..first + count {
        let mut numbers = Numbers::new(batch);
        let clamps = Clamps::new()
            .hold(net.x, numbers.tensor(&[2, 4], 1.0))
            .hold(net.y, numbers.tensor(&[2, 3], 1.0));
        relaxation
            .train(&mut net.graph, &clamps, |graph, g| learn(graph.parameters_mut(), g))
            .unwrap();
    }
}

/// Trained in one go, and in two with a file between: the same bits.
fn resumes<F: Element, O: OptimiserState<HostTensor<F>>>(
    folder: &Path,
    make: impl Fn() -> O,
    step: impl Fn(&mut O, &mut [HostTensor<F>], &pc_core::Gradients<HostTensor<F>>) -> Result<()>,
) {
    let path = folder.join("run.safetensors");
    let (mut whole, mut optimiser) = (net::<F>(1), make());
    train(&mut whole, 0, 5, |p, g| step(&mut optimiser, p, g));
    whole.graph.save_with(&path, &optimiser).unwrap();
    let bytes = fs::read(&path).unwrap();
    train(&mut whole, 5, 5, |p, g| step(&mut optimiser, p, g));
    // Into an optimiser that has learned something else before.
    let (mut resumed, mut optimiser) = (net::<F>(2), make());
    train(&mut resumed, 30, 2, |p, g| step(&mut optimiser, p, g));
    resumed.graph.load_with(&path, &mut optimiser).unwrap();
    // The same contents are the same bytes.
    resumed.graph.save_with(&path, &optimiser).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    train(&mut resumed, 5, 5, |p, g| step(&mut optimiser, p, g));
    assert_eq!(resumed.graph.parameters(), whole.graph.parameters());
    // Without the state it is another run, so the state is what does it; but for plain SGD.
    let (mut without, mut fresh) = (net::<F>(2), make());
    without.graph.load(&path).unwrap();
    train(&mut without, 5, 5, |p, g| step(&mut fresh, p, g));
    let same = without.graph.parameters() == whole.graph.parameters();
    assert_eq!(same, fresh.parts().is_empty());
}

#[test]
fn a_resumed_run_comes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    fn sgd<F: Element>() -> Sgd<F> {
        Sgd::new(0.05).unwrap()
    }
    resumes::<f64, _>(folder.path(), || sgd().with_momentum(0.9).unwrap(), Sgd::step);
    resumes::<f32, _>(folder.path(), || sgd().with_momentum(0.9).unwrap(), Sgd::step);
    resumes::<f32, _>(folder.path(), sgd, Sgd::step);
    resumes::<f64, _>(folder.path(), || Adam::new(0.01).unwrap(), Adam::step);
    let clipped = || {
        let adam = Adam::new(0.01).unwrap().with_decay(0.1).unwrap();
        adam.with_clipping(Clipping::norm(0.5).unwrap())
    };
    resumes::<f32, _>(folder.path(), clipped, Adam::step);
}

#[test]
fn files_hold_what_fits_by_the_parameters_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net");
    for (precision, size) in [("f32", 4), ("f64", 8)] {
        if precision == "f32" {
            net::<f32>(1).graph.save(&path).unwrap();
        } else {
            net::<f64>(1).graph.save(&path).unwrap();
        }
        let bytes = fs::read(&path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut names = file.names();
        names.sort();
        assert_eq!(names, ["h.bias", "h.weight", "y.bias", "y.weight"]);
        let weight = file.tensor("h.weight").unwrap();
        assert_eq!(weight.shape(), [5, 4]);
        assert_eq!(weight.data().len(), 20 * size, "{precision}");
    }
    // f64 into f32: rounded. And what is too large for it is refused.
    let (wide, mut narrow) = (net::<f64>(1), net::<f32>(2));
    narrow.graph.load(&path).unwrap();
    for (wide, narrow) in wide.graph.parameters().iter().zip(narrow.graph.parameters()) {
        let rounded: Vec<f32> = wide.data().iter().map(|x| *x as f32).collect();
        assert_eq!(narrow.data(), rounded);
    }
    let mut large = net::<f64>(1);
    large.graph.parameters_mut()[0].data_mut()[3] = 1e300;
    large.graph.save(&path).unwrap();
    let before = narrow.graph.parameters().to_vec();
    let error = narrow.graph.load(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFinite, "{error}");
    assert!(error.to_string().contains("`h.weight` is too large"), "{error}");
    assert_eq!(narrow.graph.parameters(), before, "all is loaded or nothing");
}

/// A tensor of a file: its name, shape and numbers.
type Entry<'a> = (&'a str, &'a [usize], &'a [f64]);

/// A file of these tensors, as another program might write it.
fn foreign(path: &Path, tensors: &[Entry<'_>]) {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, numbers)| numbers.iter().flat_map(|x| x.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        let dtype = safetensors::Dtype::F64;
        (*name, safetensors::tensor::TensorView::new(dtype, shape.to_vec(), bytes).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn what_does_not_fit_is_named_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net");
    let mut net = net::<f64>(1);
    let before = net.graph.parameters().to_vec();
    let zeros = [0.0; 20];
    let [hw, hb, yw, yb]: [Entry<'_>; 4] = [
        ("h.weight", &[5, 4], &zeros[..20]),
        ("h.bias", &[5], &zeros[..5]),
        ("y.weight", &[3, 5], &zeros[..15]),
        ("y.bias", &[3], &zeros[..3]),
    ];
    let nan = [f64::NAN; 3];
    let cases: [(&[Entry<'_>], ErrorKind, &str); 5] = [
        (&[hw, yw], ErrorKind::File, "it lacks h.bias, y.bias; it has h.weight, y.weight"),
        (&[hw, hb, yw, yb, ("z", &[1], &[0.0])], ErrorKind::File, "it has z too"),
        (
            &[("h.weight", &[4, 5], &zeros), hb, yw, yb],
            ErrorKind::Shape,
            "`h.weight` has shape [4, 5], and the graph's has [5, 4]",
        ),
        (&[hw, hb, yw, ("y.bias", &[3], &nan)], ErrorKind::NotFinite, "`y.bias`"),
        (&[], ErrorKind::File, "it lacks h.weight, h.bias"),
    ];
    for (tensors, kind, says) in cases {
        foreign(&path, tensors);
        let error = net.graph.load(&path).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert_eq!(net.graph.parameters(), before);
    }
    // What another program wrote will do.
    foreign(&path, &[hw, hb, yw, yb]);
    net.graph.load(&path).unwrap();
    assert!(net.graph.parameters().iter().all(|parameter| parameter.norm_squared() == 0.0));
    // Every shorter piece of a file is refused.
    let bytes = fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        assert_eq!(net.graph.load(&path).unwrap_err().kind(), ErrorKind::File);
    }
    let error = net.graph.load(folder.path().join("nowhere")).unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[test]
fn an_optimisers_state_is_of_its_kind_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let mut net = net::<f64>(1);
    let mut adam = Adam::new(0.01).unwrap();
    train(&mut net, 0, 2, |p, g| adam.step(p, g));
    net.graph.save_with(&path, &adam).unwrap();
    let before = net.graph.parameters().to_vec();
    let momentum = || Sgd::new(0.1).unwrap().with_momentum(0.5).unwrap();
    let error = net.graph.load_with(&path, &mut momentum()).unwrap_err();
    assert!(error.to_string().contains("it has adam's state, and sgd's is wanted"), "{error}");
    net.graph.save(&path).unwrap();
    let error = net.graph.load_with(&path, &mut adam).unwrap_err();
    assert!(error.to_string().contains("it has no optimiser's state"), "{error}");
    // A velocity that plain SGD would drop.
    let mut sgd = momentum();
    train(&mut net, 0, 2, |p, g| sgd.step(p, g));
    net.graph.save_with(&path, &sgd).unwrap();
    let error = net.graph.load_with(&path, &mut Sgd::new(0.1).unwrap()).unwrap_err();
    assert!(error.to_string().contains("optimiser.h.bias.velocity"), "{error}");
    // Nothing learned yet: no state, which is loaded as none.
    net.graph.parameters_mut().clone_from_slice(&before);
    net.graph.save_with(&path, &Adam::<f64>::new(0.01).unwrap()).unwrap();
    net.graph.load_with(&path, &mut adam).unwrap();
    assert_eq!(adam.state().count(), 0);
    // Pieces of a state.
    train(&mut net, 0, 2, |p, g| adam.step(p, g));
    let states = adam.parameter_states();
    let (mut no_steps, mut one_tensor, mut bad) = (states.clone(), states.clone(), states.clone());
    no_steps[1].steps = 0;
    one_tensor[2].tensors.pop();
    bad[0].tensors[0].data_mut()[0] = f64::NAN;
    for (states, says) in [(no_steps, "0 steps"), (one_tensor, "1 tensors"), (bad, "not finite")] {
        let error = adam.set_parameter_states(states).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!(adam.parameter_states(), states, "nothing has changed");
    adam.set_parameter_states(states.clone()).unwrap();
    assert_eq!(adam.parameter_states(), states);
}

#[test]
fn what_cannot_be_saved_leaves_the_file_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net");
    let mut net = net::<f64>(1);
    net.graph.save(&path).unwrap();
    let good = fs::read(&path).unwrap();
    net.graph.parameters_mut()[1].data_mut()[2] = f64::INFINITY;
    let error = net.graph.save(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFinite);
    assert!(error.to_string().contains("`h.bias`"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), good);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let error = net.graph.save(folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFinite);
    for name in ["__metadata__", "optimiser.w"] {
        let mut b = Graph::<HostTensor<f64>>::builder();
        let x = b.input("x", &[1]).unwrap();
        let w = b.parameter(name, tensor(&[1, 1], &[2.0])).unwrap();
        let linear = pc_core::host::Linear::without_bias();
        b.vertex("y", Box::new(linear), &[x], &[w]).unwrap();
        let graph = b.build().unwrap();
        let error = graph.save_with(&path, &Sgd::new(0.1).unwrap()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(fs::read(&path).unwrap(), good);
    }
    let error = net_of_folder_error(folder.path());
    assert!(error.contains("cannot be written"), "{error}");
}

fn net_of_folder_error(folder: &Path) -> String {
    net::<f32>(1).graph.save(folder).unwrap_err().to_string()
}
