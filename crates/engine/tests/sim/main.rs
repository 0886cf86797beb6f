//! The engine against plans drawn from seeds: puts, deletes, tenants that come and go, and everything that can happen to a
//! process and its disk meanwhile. After each step it must hold what a model holds.
//!
//! | file        | what is inside                                                             |
//! | ----------- | -------------------------------------------------------------------------- |
//! | `plan.rs`   | the operations, and how a plan is drawn                                     |
//! | `model.rs`  | what must be there: maps                                                    |
//! | `run.rs`    | a plan against the engine; after each step, what the engine shows           |
//! | `search.rs` | what a search found, against what it may find                               |
//! | `names.rs`  | from a plan's numbers to what the engine is given                           |
//! | `shrink.rs` | a failing plan, made short                                                  |
//!
//! `IBID_SIM_SEED=7 cargo test --release -p ibid-engine --test sim` runs one seed, `IBID_SIM_SEEDS=10000` so many from 0 on;
//! `cargo xtask sim` does that for 10,000.
//!
//! What is reproducible: the plan, chance at a power cut, time, and the order of disk operations, because each step waits
//! until the background has nothing left to do or is held up. What is not: while a disk is full or the embedder is silent the
//! background is held up behind the step before, and its work can fall among the next step's; and records that are appended
//! together may be one group or two, which moves a failure planned for the n-th write. A seed that fails may then have to be
//! run more than once.

mod model;
mod names;
mod plan;
mod run;
mod search;
mod shrink;
#[path = "../it/words.rs"]
mod words;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ibid_runtime::SystemClock;
use model::Failure;

/// How long a failing plan is made shorter.
const SHRINK_TIME: Duration = Duration::from_secs(20);

/// The first of `seeds` that fails, as far as several threads go through them in order.
fn first_failure(seeds: std::ops::Range<u64>) -> Option<(u64, usize, Failure)> {
    let next = AtomicU64::new(seeds.start);
    let found: Mutex<Option<(u64, usize, Failure)>> = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while found.lock().unwrap().is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    if let Err((at, failure)) = run::run(&plan::draw(seed)) {
                        found.lock().unwrap().get_or_insert((seed, at, failure));
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[cfg(not(feature = "planted"))]
#[test]
fn the_engine_holds_what_it_acknowledged_whatever_happens() {
    let seeds = seeds();
    let Some((seed, at, failure)) = first_failure(seeds.clone()) else {
        println!("{} seeds, no violation", seeds.end - seeds.start);
        return;
    };
    let short = shrink::shrink(plan::draw(seed), failure.invariant, &SystemClock::new(), SHRINK_TIME);
    let last = run::run(&short).err().map_or_else(|| "it does not fail each time".to_owned(), |(_, last)| last.what);
    let steps: Vec<String> = short.iter().map(|op| format!("    {op:?},")).collect();
    panic!(
        "{} is violated by seed {seed}, at step {at}: {}\n\nthe plan, made short ({last}):\n{}\n\nrun it again: \
         IBID_SIM_SEED={seed} cargo test --release -p ibid-engine --test sim\n",
        failure.invariant,
        failure.what,
        steps.join("\n"),
    );
}

/// The seeds to run.
#[cfg(not(feature = "planted"))]
#[allow(clippy::disallowed_methods, reason = "which seeds to run is asked for by whoever starts the tests")]
fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    match (number("IBID_SIM_SEED"), number("IBID_SIM_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..300,
    }
}

/// A simulation that finds nothing must be known to find something.
#[cfg(feature = "planted")]
#[test]
fn every_planted_bug_is_found() {
    use ibid_engine::planted::{Bug, plant};

    let mut missed = Vec::new();
    for bug in Bug::ALL {
        plant(Some(bug));
        match first_failure(0..500) {
            Some((seed, at, Failure { invariant, what })) => {
                let short = shrink::shrink(plan::draw(seed), invariant, &SystemClock::new(), SHRINK_TIME).len();
                println!("{bug:?}: seed {seed}, step {at}, {short} operations are enough: {invariant}: {what}");
            }
            None => missed.push(bug),
        }
    }
    plant(None);
    assert!(missed.is_empty(), "not found: {missed:?}");
}
