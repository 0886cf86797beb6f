//! Download from a model hub: resumed, verified, atomic.
//!
//! Files arrive in a hidden folder beside the model's own, which appears when all are there. The commit that the first file
//! came from is asked for with all others, so that a model is never mixed from two. Large files are resumed where the last
//! try ended and compared with the SHA-256 that the hub names; small ones, for which it names none, start anew.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use ibid_core::ModelId;
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::http::{HeaderMap, Response};

use crate::InferError;
use crate::config::ModelConfig;
use crate::manifest::{CONFIG, FullForm, ModelEntry, TOKENIZER, WEIGHTS, folder_of, hex};
use crate::store::{Installed, appear, unfinished};

/// The public hub.
pub const HUB: &str = "https://huggingface.co";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest silence of the hub.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const REDIRECTS_MAX: usize = 5;
const BLOCK_BYTES: usize = 256 * 1024;

/// What sentence-transformers keeps beside a model; a model may do without.
const SETTINGS: [&str; 5] = [
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "tokenizer_config.json",
];

/// How far a download is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The file, as the repository names it.
    pub file: &'a str,
    /// Bytes there, those of earlier tries included.
    pub bytes: u64,
    /// Bytes in all, if the hub says so.
    pub bytes_total: Option<u64>,
}

/// Fetches the model `form` names from `hub` (such as [`HUB`]) into `root`, under the repository's name. Blocks; the
/// network decides for how long. `progress` is called for every block of some 256 KiB.
///
/// # Errors
/// The hub cannot be reached, refuses or breaks off (the next call resumes), a hash differs (what had arrived is removed),
/// the model is of a kind that does not run here, or it is already there.
pub fn pull(
    hub: &str,
    form: &FullForm,
    root: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Installed, InferError> {
    let id = repository_id(&form.repository)?;
    let dir = root.join(folder_of(&id));
    let fresh = unfinished(&dir)?;
    let mut fetch = Fetch { agent: agent(), base: format!("{hub}/{}/resolve", form.repository), progress };

    let Some(commit) = fetch.file(&form.revision, CONFIG, &fresh)? else {
        return Err(absent(&form.repository, CONFIG));
    };
    let revision = commit.unwrap_or_else(|| form.revision.clone());
    // A model that does not run here is refused before its weights are fetched.
    ModelConfig::read(&fresh.join(CONFIG))?;
    for file in SETTINGS {
        fetch.file(&revision, file, &fresh)?;
    }
    for file in [TOKENIZER, WEIGHTS] {
        if fetch.file(&revision, file, &fresh)?.is_none() {
            return Err(absent(&form.repository, file));
        }
    }
    let entry = ModelEntry { revision, ..ModelEntry::describe(&fresh, &id)? };
    entry.write(&fresh)?;
    appear(&fresh, &dir)?;
    Ok(Installed { entry, dir })
}

fn repository_id(repository: &str) -> Result<ModelId, InferError> {
    let plain = |found: char| found.is_ascii_alphanumeric() || matches!(found, '-' | '_' | '.' | '/');
    let refused = || InferError::Unsupported {
        what: format!("repository name {repository:?}"),
        way_out: "write owner/name, of letters, digits, '-', '_' and '.'",
    };
    if !repository.chars().all(plain) || repository.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(refused());
    }
    ModelId::new(repository).map_err(|_| refused())
}

fn absent(repository: &str, file: &str) -> InferError {
    InferError::Unsupported {
        what: format!("repository {repository} without {file}"),
        way_out: "choose an existing repository and revision whose weights are one model.safetensors, not shards",
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        // Redirects are followed by hand: the hash is in a header of the first answer.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(READ_TIMEOUT))
        .timeout_per_read(Some(READ_TIMEOUT))
        .build()
        .into()
}

struct Fetch<'a> {
    agent: Agent,
    base: String,
    progress: &'a mut dyn FnMut(Progress<'_>),
}

/// What the hub says about a file on the way to it.
#[derive(Default)]
struct Announced {
    sha256: Option<String>,
    commit: Option<String>,
}

impl Announced {
    fn note(&mut self, headers: &HeaderMap) {
        let hash =
            text(headers, "x-linked-etag").map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned());
        // A file that is not kept by its SHA-256 has a shorter tag.
        let hash = hash.filter(|hash| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        self.sha256 = self.sha256.take().or(hash);
        self.commit = self.commit.take().or_else(|| text(headers, "x-repo-commit").map(str::to_owned));
    }
}

impl Fetch<'_> {
    /// Fetches one file into `dir`. `None` if the hub has none; else the commit it came from, if the hub says so.
    #[allow(clippy::option_option, reason = "two questions: is there a file, and is its commit known")]
    fn file(&mut self, revision: &str, file: &str, dir: &Path) -> Result<Option<Option<String>>, InferError> {
        let path = dir.join(file);
        let part = dir.join(format!("{file}.part"));
        let parent = path.parent().expect("a file within a folder has a parent");
        std::fs::create_dir_all(parent).map_err(|source| InferError::Write { path: parent.to_owned(), source })?;
        let had = part.metadata().map_or(0, |metadata| metadata.len());

        let url = format!("{}/{revision}/{file}", self.base);
        let mut announced = Announced::default();
        let response = self.follow(&url, had, &mut announced)?;
        let had = match response.status().as_u16() {
            404 => return Ok(None),
            206 => had,
            200 => 0,
            416 => {
                // What is there is longer than the file: it is of another one.
                remove(&part)?;
                return Err(failed(&url, "the partial file did not fit and was removed; try again".to_owned()));
            }
            other => return Err(failed(&url, format!("the hub answers {other}"))),
        };
        let received = self.receive(&url, file, response, &part, had);
        let Some(expected) = announced.sha256 else {
            // Without a hash nobody could say whether a later rest fits.
            received.or_else(|error| remove(&part).and(Err(error)))?;
            rename(&part, &path)?;
            return Ok(Some(announced.commit));
        };
        received?;
        let given = file_sha256(&part)?;
        if given != expected {
            remove(&part)?;
            return Err(InferError::Checksum { path, given, expected });
        }
        rename(&part, &path)?;
        Ok(Some(announced.commit))
    }

    fn follow(&self, url: &str, had: u64, announced: &mut Announced) -> Result<Response<ureq::Body>, InferError> {
        let mut at = url.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let request = self.agent.get(&at);
            let request = if had > 0 { request.header("range", format!("bytes={had}-")) } else { request };
            let response = request.call().map_err(|error| failed(&at, error.to_string()))?;
            announced.note(response.headers());
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let Some(location) = text(response.headers(), "location") else {
                return Err(failed(&at, "the hub redirects to nowhere".to_owned()));
            };
            at = if location.starts_with('/') { format!("{}{location}", origin(&at)) } else { location.to_owned() };
        }
        Err(failed(url, format!("more than {REDIRECTS_MAX} redirects")))
    }

    /// Writes the body behind the `had` bytes that are there.
    fn receive(
        &mut self,
        url: &str,
        file: &str,
        response: Response<ureq::Body>,
        part: &Path,
        had: u64,
    ) -> Result<(), InferError> {
        let unwritable = |source| InferError::Write { path: part.to_owned(), source };
        let length = text(response.headers(), "content-length").and_then(|length| length.parse::<u64>().ok());
        let bytes_total = length.map(|length| had + length);
        let mut out = OpenOptions::new()
            .create(true)
            .truncate(had == 0)
            .append(had > 0)
            .write(true)
            .open(part)
            .map_err(unwritable)?;
        let mut body = response.into_body().into_reader();
        let (mut block, mut bytes) = (vec![0; BLOCK_BYTES], had);
        loop {
            let read = body.read(&mut block).map_err(|error| failed(url, format!("{error}, after {bytes} bytes")))?;
            if read == 0 {
                break;
            }
            out.write_all(&block[..read]).map_err(unwritable)?;
            bytes += read as u64;
            (self.progress)(Progress { file, bytes, bytes_total });
        }
        match bytes_total {
            Some(total) if bytes < total => Err(failed(url, format!("ended after {bytes} of {total} bytes"))),
            Some(_) | None => Ok(()),
        }
    }
}

fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |scheme| scheme + 3);
    url[host..].find('/').map_or(url, |path| &url[..host + path])
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn failed(url: &str, detail: String) -> InferError {
    InferError::Fetch { url: url.to_owned(), detail }
}

fn file_sha256(path: &Path) -> Result<String, InferError> {
    let unreadable = |source| InferError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let (mut hash, mut block) = (Sha256::new(), vec![0; BLOCK_BYTES]);
    loop {
        let read = file.read(&mut block).map_err(unreadable)?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&block[..read]);
    }
}

fn remove(path: &Path) -> Result<(), InferError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(InferError::Write { path: path.to_owned(), source })
        }
        Err(_) | Ok(()) => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), InferError> {
    std::fs::rename(from, to).map_err(|source| InferError::Write { path: to.to_owned(), source })
}
