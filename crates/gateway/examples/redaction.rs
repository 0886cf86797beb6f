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
    // The best of three: others use the machine too.
    let seconds = |redactor: &Redactor| {
        let timed = (0..3).map(|_| {
            let begun = clock.monotonic();
            redactor.find(&text);
            clock.monotonic() - begun
        });
        timed.min().unwrap_or_default().as_secs_f64()
    };
    println!("all cases as one text of {} bytes, with values in nearly every line:", text.len());
    println!("{:8}  {:>8.1} ms", "all", 1e3 * seconds(&redactor));
    for kind in Kind::BUILT_IN {
        let config = Config { kinds: vec![kind.clone()], patterns: vec![], names: vec![], ..labelled::config() };
        let one = Redactor::new(config).expect("the file's tenant is well configured");
        println!("{:8}  {:>8.1} ms", kind.label(), 1e3 * seconds(&one));
    }
}
