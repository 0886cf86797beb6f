//! Recall and precision by type on `datasets/redaction`, and the time it takes.
//!
//! `cargo run --release -p ibid-gateway --example redaction [-- dev]`; with `dev`, what goes wrong on that half is listed.
use std::collections::BTreeMap;

use ibid_gateway::redact::{Config, Kind, PatternConfig, Redactor};
use ibid_runtime::{Clock, SystemClock};

#[path = "../src/redact/labelled.rs"]
mod labelled;

fn main() {
    let redactor = Redactor::new(labelled::config()).expect("the file's tenant is well configured");
    if std::env::args().nth(1).as_deref() == Some("dev") {
        for failure in labelled::measure(&redactor, Some("dev")).values().flat_map(|score| &score.failures) {
            println!("{failure}");
        }
    }
    println!(
        "{:8}  {:>6} {:>6} {:>9}  {:>6} {:>6} {:>9}  {:>6} {:>6} {:>9}",
        "", "dev", "recall", "precision", "test", "recall", "precision", "both", "recall", "precision"
    );
    let halves: Vec<BTreeMap<String, labelled::Score>> =
        [Some("dev"), Some("test"), None].into_iter().map(|half| labelled::measure(&redactor, half)).collect();
    for kind in halves[2].keys() {
        print!("{kind:8}");
        for half in &halves {
            let score = half.get(kind).cloned().unwrap_or_default();
            print!("  {:>6} {:>6.3} {:>9.3}", score.values, score.recall(), score.precision());
        }
        println!();
    }
    let cases = labelled::cases(None);
    let text: String = cases.iter().map(|case| format!("{}\n", case.text)).collect();
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    let found = redactor.find(&text).len();
    let seconds = (clock.monotonic() - begun).as_secs_f64();
    println!("{} cases as one text: {found} findings, {:.1} MB/s", cases.len(), text.len() as f64 / seconds / 1e6);
}
