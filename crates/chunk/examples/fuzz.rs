//! Changes files of every format at random and reads them, to find what panics, breaks an invariant or takes too long:
//!
//! `cargo run --release -p ibid-chunk --all-features --example fuzz -- --seconds 600 --seed 1`
//!
//! Each input is made of one file of `tests/data/formats` or `tests/data/hostile` by its number and the seed alone. What fails is
//! printed with its number; `--only NUMBER` runs that one and writes its bytes to `--out FILE`.
#![allow(clippy::disallowed_methods, reason = "it measures time")]

#[path = "../tests/hostile/invariants.rs"]
mod invariants;

use std::collections::BTreeMap;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ibid_chunk::{Chunker, Config, Limits, ParseError, detect, parse};
use ibid_core::MediaType;

/// No input is longer: what is too slow shows in milliseconds for a kilobyte.
const INPUT_BYTES_MAX: usize = 1 << 18;
/// What takes more of the processor has failed.
const INPUT_TIME_MAX: Duration = Duration::from_secs(2);
/// Failures that are printed.
const FAILURES_MAX: usize = 200;

/// A file to start from.
struct Seed {
    name: String,
    media: MediaType,
    bytes: Vec<u8>,
    /// The parts of an Office file, unpacked: a changed byte of one that is packed would only be found as such.
    parts: Vec<(String, Vec<u8>)>,
}

/// Numbers at random (SplitMix64, Steele, Lea and Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`; 0 if that is 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).expect("below a usize")
    }

    /// A piece of so many bytes, mostly a short one.
    fn piece(&mut self, bytes: usize) -> std::ops::Range<usize> {
        let start = self.below(bytes);
        let most = [4, 32, 256, bytes][self.below(4)];
        start..(start + self.below(most.min(bytes - start) + 1)).min(bytes)
    }
}

/// Words as the reader of a format sees them: runs of letters and digits, and each other byte.
fn tokens(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut starts: Vec<usize> = Vec::new();
    let mut in_word = false;
    for (at, byte) in bytes.iter().enumerate() {
        let is_word = byte.is_ascii_alphanumeric() || *byte >= 0x80;
        if !(is_word && in_word) {
            starts.push(at);
        }
        in_word = is_word;
    }
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

/// Changes `bytes` in one to six ways; `other` is of the same format.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    const TELLING: [&[u8]; 22] = [
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\r",
        b"\n\n",
        b"\"",
        b"'",
        b"<",
        b">",
        b"</",
        b"(",
        b")",
        b"[",
        b"]",
        b"{",
        b"}",
        b"-1",
        b"99999999999999999999",
        b"1e308",
        b"&",
        b"\\",
        "\u{2028}\u{301}\u{1f600}".as_bytes(),
    ];
    for _ in 0..=random.below(6) {
        match random.below(9) {
            0 if !bytes.is_empty() => {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            1 if !bytes.is_empty() => {
                let at = random.below(bytes.len());
                bytes[at] = random.next().to_le_bytes()[0];
            }
            2 => {
                let at = random.below(bytes.len() + 1);
                bytes.splice(at..at, TELLING[random.below(TELLING.len())].iter().copied());
            }
            3 => {
                let piece = random.piece(bytes.len());
                bytes.drain(piece);
            }
            4 => {
                let (piece, at) = (random.piece(other.len()), random.below(bytes.len() + 1));
                bytes.splice(at..at, other[piece].iter().copied());
            }
            5 => {
                let piece = random.piece(bytes.len());
                let times = 1 << random.below(14);
                let times = times.min((INPUT_BYTES_MAX - bytes.len().min(INPUT_BYTES_MAX)) / piece.len().max(1));
                let repeated = bytes[piece.clone()].repeat(times);
                bytes.splice(piece.start..piece.start, repeated);
            }
            6 | 7 => {
                let (mine, theirs) = (tokens(bytes), tokens(other));
                if mine.is_empty() || theirs.is_empty() {
                    continue;
                }
                let (at, by) = (mine[random.below(mine.len())].clone(), random.below(2));
                let word = match by {
                    0 => bytes[mine[random.below(mine.len())].clone()].to_vec(),
                    _ => other[theirs[random.below(theirs.len())].clone()].to_vec(),
                };
                bytes.splice(at, word);
            }
            8 if random.below(4) == 0 => bytes.truncate(random.below(bytes.len() + 1)),
            _ => {}
        }
        bytes.truncate(INPUT_BYTES_MAX);
    }
}

/// A zip of parts that are not packed.
fn zip(parts: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Box<dyn Error>> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in parts {
        let start = u32::try_from(out.len())?.to_le_bytes();
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let (size, name_size) = (u32::try_from(content.len())?.to_le_bytes(), u16::try_from(name.len())?.to_le_bytes());
        let head = [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0], &crc.sum().to_le_bytes()[..], &size, &size, &name_size, &[0; 2]]
            .concat();
        out.extend([b"PK\x03\x04", &head[..], name.as_bytes(), content].concat());
        directory.extend([b"PK\x01\x02\x14\0", &head[..], &[0; 10], &start, name.as_bytes()].concat());
    }
    let count = u16::try_from(parts.len())?.to_le_bytes();
    let sizes = [u32::try_from(directory.len())?.to_le_bytes(), u32::try_from(out.len())?.to_le_bytes()].concat();
    let end = [b"PK\x05\x06", &[0; 4][..], &count, &count, &sizes, &[0; 2]].concat();
    Ok([out, directory, end].concat())
}

/// The parts of an Office file, those that unpack to little.
fn unzip(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let Ok(mut archive) = zip::ZipArchive::new(std::io::Cursor::new(bytes)) else { return Vec::new() };
    let mut parts = Vec::new();
    for n in 0..archive.len() {
        let Ok(mut file) = archive.by_index(n) else { continue };
        let mut content = Vec::new();
        if file.size() < INPUT_BYTES_MAX as u64 && std::io::copy(&mut file, &mut content).is_ok() {
            let Ok(name) = file.name() else { continue };
            parts.push((name.into_owned(), content));
        }
    }
    parts
}

/// The files of each format.
fn seeds() -> Result<Vec<Vec<Seed>>, Box<dyn Error>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
    let mut seeds = Vec::new();
    for folder in ["formats", "hostile"] {
        for entry in std::fs::read_dir(data.join(folder))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() || name.ends_with(".outline") || name == "outcomes.txt" {
                continue;
            }
            let bytes = std::fs::read(&path)?;
            let Some(media) = detect(&name, &bytes) else { continue };
            let parts = if name.ends_with('x') { unzip(&bytes) } else { Vec::new() };
            seeds.push(Seed { name: format!("{folder}/{name}"), media, bytes, parts });
        }
    }
    seeds.sort_by(|a, b| (a.media.as_str(), &a.name).cmp(&(b.media.as_str(), &b.name)));
    let mut formats: Vec<Vec<Seed>> = Vec::new();
    for seed in seeds {
        match formats.last_mut().filter(|alike| alike[0].media == seed.media) {
            Some(alike) => alike.push(seed),
            None => formats.push(vec![seed]),
        }
    }
    Ok(formats)
}

/// The input of a number: which file it is made of, and its bytes.
fn input(formats: &[Vec<Seed>], seed: u64, number: u64) -> Result<(&Seed, Vec<u8>), Box<dyn Error>> {
    let mut random = Random(seed.wrapping_mul(0x0001_0000_0001).wrapping_add(number));
    random.next();
    // Each format as often as any other, and each file of one.
    let alike = &formats[random.below(formats.len())];
    let (from, other) = (&alike[random.below(alike.len())], &alike[random.below(alike.len())]);
    let is_by_part = !from.parts.is_empty() && !other.parts.is_empty() && random.below(8) > 0;
    let bytes = if is_by_part {
        let mut parts = from.parts.clone();
        for _ in 0..=random.below(2) {
            let at = random.below(parts.len());
            mutate(&mut parts[at].1, &other.parts[random.below(other.parts.len())].1, &mut random);
        }
        zip(&parts)?
    } else {
        let mut bytes = from.bytes.clone();
        mutate(&mut bytes, &other.bytes, &mut random);
        // Most changed text is to get past its encoding.
        match from.media.is_converted() || random.below(16) == 0 {
            true => bytes,
            false => String::from_utf8_lossy(&bytes).into_owned().into_bytes(),
        }
    };
    Ok((from, bytes))
}

/// What was found of one format.
#[derive(Default)]
struct Tally {
    runs: u64,
    read: u64,
    time: Duration,
    /// Milliseconds for a kilobyte, milliseconds, bytes and number of the slowest of at least 4 KB.
    slowest: (f64, f64, usize, u64),
}

/// What this thread has had of the processor, in steps of 10 ms: other programs on the machine do not count. The clock, where
/// Linux is not there to tell.
fn used(begin: Instant) -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").ok();
    let ticks = stat.and_then(|stat| {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    });
    ticks.map_or_else(|| begin.elapsed(), |ticks| Duration::from_millis(10 * ticks))
}

fn run(bytes: &[u8], media: MediaType, begin: Instant) -> Result<bool, String> {
    let start = used(begin);
    let is_over = || used(begin) - start > INPUT_TIME_MAX;
    // Readers ask often, and to know costs more than to ask: not until time may be up.
    let called = Instant::now();
    let stop = || called.elapsed() > INPUT_TIME_MAX && is_over();
    let parsed = match parse(bytes, media, &Limits { stop: &stop, ..Limits::NONE }) {
        Ok(parsed) => parsed,
        Err(ParseError::Stopped) => return Err("takes too long".to_owned()),
        Err(_) => return Ok(false),
    };
    parsed.outline.fits(&parsed.text)?;
    let tokens = 16 + u32::try_from(bytes.len() % 300).expect("small");
    let overlap_tokens = if bytes.len().is_multiple_of(2) { 0 } else { tokens / 4 };
    let config = Config { overlap_tokens, ..Config::fixed(tokens) };
    let chunker = Chunker::new(config).map_err(|error| error.to_string())?;
    let chunked = chunker.chunk(&parsed.text, parsed.outline, &invariants::Words);
    invariants::check(&parsed.text, &chunked, overlap_tokens > 0)?;
    if is_over() { Err("takes too long".to_owned()) } else { Ok(true) }
}

/// Where and why the last panic was.
static PANIC: Mutex<String> = Mutex::new(String::new());

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1)).map(String::as_str)
    };
    let seconds: u64 = value("--seconds").unwrap_or("60").parse()?;
    let seed: u64 = value("--seed").unwrap_or("1").parse()?;
    let only: Option<u64> = value("--only").map(str::parse).transpose()?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or_default();
        *PANIC.lock().unwrap_or_else(|held| held.into_inner()) = format!("panic at {place}: {message}");
    }));
    let formats = seeds()?;
    let (begin, mut number, mut failures) = (Instant::now(), only.unwrap_or(0), 0);
    let mut tallies: BTreeMap<&'static str, Tally> = BTreeMap::new();
    let mut panics: BTreeMap<String, u64> = BTreeMap::new();
    while begin.elapsed() < Duration::from_secs(seconds) && failures < FAILURES_MAX {
        let (from, bytes) = input(&formats, seed, number)?;
        if let (Some(_), Some(out)) = (only, value("--out")) {
            std::fs::write(out, &bytes)?;
        }
        let (start, called) = (used(begin), Instant::now());
        let result = catch_unwind(AssertUnwindSafe(|| run(&bytes, from.media, begin)));
        // The finer of the two where both are about the same.
        let time = (used(begin) - start + Duration::from_millis(10)).min(called.elapsed());
        // A reader may catch what a library of its throws.
        let said = std::mem::take(&mut *PANIC.lock().unwrap_or_else(|held| held.into_inner()));
        if !said.is_empty() {
            *panics.entry(said.clone()).or_default() += 1;
        }
        let tally = tallies.entry(from.media.as_str()).or_default();
        tally.runs += 1;
        tally.time += time;
        let failure = match result {
            Ok(Ok(is_read)) => {
                tally.read += u64::from(is_read);
                None
            }
            Ok(Err(problem)) => Some(problem),
            Err(_) => Some(said),
        };
        if let Some(failure) = failure {
            failures += 1;
            println!("--seed {seed} --only {number}: {} ({} bytes): {failure}", from.name, bytes.len());
        }
        let (ms, kilobytes) = (time.as_secs_f64() * 1e3, bytes.len() as f64 / 1e3);
        if kilobytes >= 4.0 && ms / kilobytes > tally.slowest.0 {
            tally.slowest = (ms / kilobytes, ms, bytes.len(), number);
        }
        if only.is_some() {
            println!("{}: {} bytes, {ms:.1} ms", from.name, bytes.len());
            return Ok(());
        }
        number += 1;
    }
    println!("{number} inputs, {failures} failures; seed {seed}, {} formats", formats.len());
    for (media, Tally { runs, read, time, slowest: (rate, ms, bytes, number) }) in &tallies {
        let each = time.as_secs_f64() * 1e3 / *runs as f64;
        println!(
            "{media}: {runs} runs, {read} read, {each:.2} ms each; slowest {number}: {bytes} bytes in {ms:.0} ms, {rate:.2} ms/KB"
        );
    }
    for (panic, times) in panics {
        println!("{times} times {panic}");
    }
    Ok(())
}
