//! Files of every format and what they are read into: `tests/data/formats/NAME` beside `NAME.outline`, its text and outline.
//!
//! `IBID_WRITE_OUTLINES=1 cargo test -p ibid-chunk --all-features --test formats` writes them: read the difference before it is
//! committed.

use std::path::{Path, PathBuf};

use ibid_chunk::{Limits, detect, parse};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/formats")
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test reads its environment and writes its expectations")]
fn every_file_is_read_as_its_outline_says() {
    let write = std::env::var_os("IBID_WRITE_OUTLINES").is_some();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension != "outline" && file.is_file()));
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&file).unwrap();
        let media = detect(&name, &bytes).unwrap_or_else(|| panic!("{name} is of no known kind"));
        let found = match parse(&bytes, media, &Limits::NONE) {
            Ok(parsed) => {
                assert_eq!(parsed.outline.fits(&parsed.text), Ok(()), "{name}");
                let text = if media.is_converted() { format!("--- text\n{}", parsed.text) } else { String::new() };
                format!("{}\n{}{text}", media.as_str(), parsed.outline.describe(&parsed.text))
            }
            Err(error) => format!("{}\nerror: {error}\n", media.as_str()),
        };
        let expected = PathBuf::from(format!("{}.outline", file.display()));
        if write {
            std::fs::write(&expected, &found).unwrap();
        }
        if std::fs::read_to_string(&expected).ok().as_ref() != Some(&found) {
            wrong.push(format!("{name}:\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "read otherwise than expected:\n{}", wrong.join("\n"));
}
