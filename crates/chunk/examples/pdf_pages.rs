//! How long PDFs take to read: `cargo run --release -p ibid-chunk --features pdf --example pdf_pages -- FILE...` prints
//! `{"pages": 12, "seconds": 0.034}`. Each file is read five times; the fastest counts. `benches/peers/pdf.py` asks it.
#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::time::Instant;

use ibid_chunk::{Limits, parse};
use ibid_core::{MediaType, Place};

fn main() {
    let (mut pages, mut seconds) = (0, 0.0);
    for file in std::env::args().skip(1) {
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut fastest = f64::INFINITY;
        let mut last = 0;
        for _ in 0..5 {
            let start = Instant::now();
            let parsed = parse(&bytes, MediaType::Pdf, &Limits::NONE).unwrap_or_else(|error| panic!("{file} {error}"));
            fastest = fastest.min(start.elapsed().as_secs_f64());
            last = parsed.outline.places.iter().fold(0, |last, placed| match placed.place {
                Place::Page { page, .. } => last.max(page),
                Place::Slide { .. } | Place::Rows { .. } | Place::Pointer(_) | Place::Part { .. } => last,
            });
        }
        pages += last;
        seconds += fastest;
    }
    println!("{{\"pages\": {pages}, \"seconds\": {seconds:.6}}}");
}
