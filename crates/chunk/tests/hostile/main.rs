//! Documents made to harm: each is read or refused within 2 seconds and 300 MB, and never a panic.
//!
//! | file            | responsibility                                                |
//! | --------------- | ------------------------------------------------------------- |
//! | `texts.rs`      | cases whose bytes are text: a unit many times, or deep          |
//! | `packages.rs`   | Office files, zipped by hand                                  |
//! | `portable.rs`   | PDFs, written by hand                                         |
//! | `invariants.rs` | what must hold of whatever was read                           |
//! | `words.rs`      | a tokenizer without a model, for the crate's own tests too    |
//!
//! Small ones are files in `tests/data/hostile`. Each case runs in a process of its own, which measures itself: this program,
//! run again for the test [`one_case`]. `cargo test --release -p ibid-chunk --all-features --test hostile -- --nocapture`
//! prints what each took.
#![cfg(all(
    target_os = "linux",
    feature = "html",
    feature = "email",
    feature = "pdf",
    feature = "office",
    feature = "code"
))]
#![allow(clippy::disallowed_methods, reason = "a test reads its environment, starts itself and measures")]

mod invariants;
mod packages;
mod portable;
mod texts;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ibid_chunk::{Chunker, Config, Limits, ParseError, Parsed, detect, parse};
use ibid_core::MediaType;

/// What a case may take beside its input, and on a machine where nothing else runs. A test shares its machine, and a debug
/// build is slow, so that what is asserted has slack; memory has none.
const CPU_MS_MAX: u64 = 2000;
const CPU_SLACK: u64 = if cfg!(debug_assertions) { 30 } else { 5 };
const PEAK_MB_MAX: u64 = 300;
/// A process that takes longer, or maps more, is ended.
const WALL_MAX: Duration = Duration::from_secs(120);
const MAPPED_KIB_MAX: u64 = 4 << 20;

/// A document that is made when it is needed.
struct Case {
    name: String,
    media: MediaType,
    /// What [`outcome`] is to be.
    expected: &'static str,
    make: Box<dyn Fn() -> Vec<u8>>,
}

fn case(
    name: impl Into<String>,
    media: MediaType,
    expected: &'static str,
    make: impl Fn() -> Vec<u8> + 'static,
) -> Case {
    Case { name: name.into(), media, expected, make: Box::new(make) }
}

fn outcome(parsed: &Result<Parsed<'_>, ParseError>) -> &'static str {
    match parsed {
        Ok(_) => "read",
        Err(ParseError::Encoding { .. }) => "encoding",
        Err(ParseError::Malformed { .. }) => "malformed",
        Err(ParseError::Encrypted { .. }) => "encrypted",
        Err(ParseError::Scanned { .. }) => "scanned",
        Err(ParseError::TooLarge { .. }) => "too large",
        Err(ParseError::TooDeep { .. }) => "too deep",
        Err(ParseError::NotBuiltIn { .. }) => "not built in",
        Err(ParseError::Stopped) => "stopped",
    }
}

/// The files of `tests/data/hostile`: `NAME` and its outcome, a line each in `outcomes.txt`.
fn files() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/hostile");
    let text = fs::read_to_string(folder.join("outcomes.txt")).unwrap();
    let mut listed: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(": ")).collect();
    let mut cases = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if matches!(name.as_str(), "make.py" | "outcomes.txt") {
            continue;
        }
        let expected = listed.remove(name.as_str()).unwrap_or_else(|| panic!("{name} has no outcome"));
        // What is broken may lack the mark of its kind: the name's end tells.
        let stand_in: &[u8] = b"";
        let bytes = fs::read(&path).unwrap();
        let media = detect(&name, &bytes).or_else(|| kind_of(&name)).or_else(|| detect(&name, stand_in));
        let media = media.unwrap_or_else(|| panic!("{name} is of no known kind"));
        cases.push(case(name, media, expected.to_owned().leak(), move || bytes.clone()));
    }
    assert!(listed.is_empty(), "there are no files {listed:?}");
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

/// The kinds that are known by their mark alone.
fn kind_of(name: &str) -> Option<MediaType> {
    Some(match name.rsplit('.').next()? {
        "docx" => MediaType::Docx,
        "pptx" => MediaType::Pptx,
        "xlsx" => MediaType::Xlsx,
        "pdf" => MediaType::Pdf,
        _ => return None,
    })
}

fn cases() -> Vec<Case> {
    [files(), texts::cases(), packages::cases(), portable::cases()].into_iter().flatten().collect()
}

/// What a case's process found.
struct Found {
    outcome: String,
    /// Processor time of `parse`, and of cutting what it gave.
    cpu_ms: u64,
    chunk_ms: u64,
    /// The most memory that `parse` held at once, beside its input.
    peak_mb: u64,
}

#[test]
fn every_case_is_read_or_refused_within_its_bounds() {
    let only = std::env::var("IBID_HOSTILE_ONLY").unwrap_or_default();
    let input = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hostile.{}", std::process::id()));
    let mut wrong = Vec::new();
    println!("{:36} {:>9} {:>8} {:>8} {:>9}  outcome", "case", "input MB", "CPU ms", "peak MB", "chunk ms");
    for Case { name, media, expected, make } in cases().into_iter().filter(|case| case.name.contains(&only)) {
        let bytes = make();
        let input_mb = bytes.len() as f64 / 1e6;
        fs::write(&input, bytes).unwrap();
        match run(&input, media) {
            Ok(Found { outcome, cpu_ms, chunk_ms, peak_mb }) => {
                println!("{name:36} {input_mb:9.2} {cpu_ms:8} {peak_mb:8} {chunk_ms:9}  {outcome}");
                let is_expected = outcome.split(':').next() == Some(expected);
                if !is_expected || cpu_ms > CPU_MS_MAX * CPU_SLACK || peak_mb > PEAK_MB_MAX {
                    wrong.push(format!("{name}: {outcome} after {cpu_ms} ms with {peak_mb} MB, expected {expected}"));
                }
            }
            Err(how) => {
                println!("{name:36} {input_mb:9.2} {how}");
                wrong.push(format!("{name}: {how}, expected {expected}"));
            }
        }
    }
    fs::remove_file(&input).unwrap();
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

/// Reads a file in a process of its own.
fn run(input: &Path, media: MediaType) -> Result<Found, String> {
    let limited = format!("ulimit -v {MAPPED_KIB_MAX}; exec \"$0\" \"$@\"");
    let mut child = Command::new("sh")
        .args(["-c", &limited])
        .arg(std::env::current_exe().unwrap())
        .args(["one_case", "--exact", "--ignored", "--nocapture", "--test-threads", "1"])
        .env("IBID_HOSTILE_INPUT", input)
        .env("IBID_HOSTILE_MEDIA", media.as_str())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > WALL_MAX {
            child.kill().unwrap();
            child.wait().unwrap();
            return Err(format!("takes more than {} s", WALL_MAX.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let found = printed.lines().find_map(|line| line.split_once("found\t").map(|(_, fields)| fields));
    let Some(fields) = found else {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", output.status, said.trim().lines().take(3).collect::<Vec<_>>().join(" / ")));
    };
    let fields: Vec<&str> = fields.split('\t').collect();
    let number = |n: usize| fields[n].parse().unwrap();
    Ok(Found { outcome: fields[3].to_owned(), cpu_ms: number(0), peak_mb: number(1), chunk_ms: number(2) })
}

#[test]
#[ignore = "run by the test above, with an input"]
fn one_case() {
    let Some(input) = std::env::var_os("IBID_HOSTILE_INPUT").map(PathBuf::from) else { return };
    let media = MediaType::parse(&std::env::var("IBID_HOSTILE_MEDIA").unwrap()).unwrap();
    let bytes = fs::read(input).unwrap();
    // From here on the greatest size is counted anew.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (held_kib, before) = (status_kib("VmRSS:"), cpu_ms());
    let parsed = parse(&bytes, media, &Limits::NONE);
    let (cpu, peak_mb) = (cpu_ms() - before, status_kib("VmHWM:").saturating_sub(held_kib) / 1000);
    let outcome = match &parsed {
        Ok(parsed) => format!("read: {} bytes of text, {} blocks", parsed.text.len(), parsed.outline.blocks.len()),
        Err(error) => format!("{}: it {error}", outcome(&parsed)),
    };
    let before = cpu_ms();
    if let Ok(Parsed { text, outline }) = parsed {
        assert_eq!(outline.fits(&text), Ok(()));
        let chunked = Chunker::new(Config::auto()).unwrap().chunk(&text, outline, &invariants::Words);
        assert_eq!(invariants::check(&text, &chunked, false), Ok(()));
    }
    println!("found\t{cpu}\t{peak_mb}\t{}\t{outcome}", cpu_ms() - before);
}

/// A line of the process's status, in KiB.
fn status_kib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The processor time of this process, in steps of 10 ms, which is the unit that Linux shows whatever its own is.
fn cpu_ms() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // The name before may hold spaces; times of user and system are the 12th and 13th behind it.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
}
