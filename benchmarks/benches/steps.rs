//! The cases of `pc-bench speed`, on one thread, in f32, at batch 64, for regression work: `cargo
//! bench -p pc-bench --bench steps`.

use std::{error::Error, hint::black_box, time::Duration};

use criterion::Criterion;
use pc_bench::{
    backends::Backend,
    commands::speed::Gemm,
    contract::{
        ScheduleKind,
        speed::{Case, ContenderRole},
    },
    models::ModelKind,
};

fn main() -> Result<(), Box<dyn Error>> {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global()?;
    let mut criterion = Criterion::default().configure_from_args();
    let mut product = Gemm::<f32>::new()?;
    product.time()?;
    criterion.bench_function("product 512", |bencher| bencher.iter(|| black_box(product.time())));
    for kind in [ModelKind::Mlp, ModelKind::Cnn] {
        let mut group = criterion.benchmark_group(kind.name());
        group
            .sample_size(20)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(2));
        let mut net = Backend::Host.timed::<f32>(&Case::new(kind, 64), ScheduleKind::ALL)?;
        for (index, contender) in net
            .contenders()
            .into_iter()
            .enumerate()
            .filter(|(_, contender)| contender.role == ContenderRole::Shown)
        {
            // What fails does so here.
            net.step(index)?;
            group.bench_function(contender.name, |bencher| {
                bencher.iter(|| black_box(net.step(index).is_ok()))
            });
        }
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}
