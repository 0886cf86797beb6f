//! How fast a file is read into blocks, on one core, by repeating it for a second:
//!
//! `cargo run --release -p ibid-chunk --all-features --example throughput -- FILE`

use std::time::{Duration, Instant};

use ibid_chunk::{Limits, detect, parse};

#[allow(clippy::disallowed_methods, reason = "it measures time")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).ok_or("which FILE?")?;
    let bytes = std::fs::read(&file)?;
    let media = detect(&file, &bytes).ok_or("is of no known kind")?;
    let (start, mut times) = (Instant::now(), 0u32);
    let answer = loop {
        let parsed = parse(&bytes, media, &Limits::NONE);
        times += 1;
        if start.elapsed() >= Duration::from_secs(1) {
            break parsed
                .map(|parsed| format!("{} blocks, {} bytes of text", parsed.outline.blocks.len(), parsed.text.len()));
        }
    };
    let seconds = start.elapsed().as_secs_f64() / f64::from(times);
    let megabytes = bytes.len() as f64 / 1e6;
    println!("{} {megabytes:.2} MB in {:.1} ms: {:.1} MB/s", media.as_str(), seconds * 1e3, megabytes / seconds);
    println!("{}", answer.unwrap_or_else(|error| format!("error: it {error}")));
    Ok(())
}
