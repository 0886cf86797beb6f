//! Two works timed in one run, and how much faster one is than the other: criterion reports each of them alone.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use ibid_runtime::{Clock, SystemClock};

const SAMPLES: usize = 15;

/// A work and what one run of it took in the median of the samples.
pub(crate) struct Timed {
    name: String,
    seconds: f64,
}

/// Criterion as all benches use it: few samples, so that all of them together take minutes.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(SAMPLES)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .nresamples(10_000)
        .without_plots()
        .configure_from_args()
}

/// Times `work` on what `prepare` makes, which is not timed itself. `None` if the command line asks for other benches.
pub(crate) fn time<I, O>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut prepare: impl FnMut() -> I,
    mut work: impl FnMut(I) -> O,
) -> Option<Timed> {
    let clock = SystemClock::new();
    let mut seconds = Vec::new();
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let inputs: Vec<I> = (0..iterations).map(|_| prepare()).collect();
            let start = clock.monotonic();
            for input in inputs {
                black_box(work(input));
            }
            let took = clock.monotonic() - start;
            seconds.push(took.as_secs_f64() / iterations as f64);
            took
        })
    });
    // The samples come last, after the warm-up.
    let mut samples = seconds.split_off(seconds.len().saturating_sub(SAMPLES));
    samples.sort_by(f64::total_cmp);
    let median = samples.get(samples.len() / 2)?;
    Some(Timed { name: name.to_owned(), seconds: *median })
}

/// Prints how many times as fast as `other` `ours` is, by their medians, if both were timed.
pub(crate) fn print_ratio(ours: &Option<Timed>, other: &Option<Timed>) {
    if let (Some(ours), Some(other)) = (ours, other) {
        let ratio = other.seconds / ours.seconds;
        println!("=> {} is {ratio:.2} times as fast as {}\n", ours.name, other.name);
    }
}
