//! Files and folders into a collection.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use tokio_stream::wrappers::ReceiverStream;
use walkdir::WalkDir;

use super::Global;
use super::session::{As, Session, explain};
use super::terminal::{bar, bold, one_line, plain};
use crate::proto;
use crate::proto::ingest_request::Step;
use crate::proto::ingest_response::Outcome;

/// Content of one message: well below what a message may hold.
const PART_BYTES: usize = 1 << 20;
/// Reasons shown before the rest is only counted.
const REASONS_SHOWN: usize = 20;

/// Put files and folders into a collection. Files that did not change cost nothing.
#[derive(Debug, Args)]
pub(super) struct Ingest {
    /// Files, or folders with everything below them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The collection; made if it is not there
    #[arg(long, default_value = "default")]
    collection: String,
    /// How far to wait
    #[arg(long, value_enum, default_value = "vector")]
    wait: Wait,
    /// Who may read the documents; given several times for several [default: the whole tenant]
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Wait {
    /// Until they survive a crash
    Durable,
    /// Until they are found by words
    Lexical,
    /// Until they are found by meaning too
    Vector,
}

impl From<Wait> for proto::Stage {
    fn from(wait: Wait) -> proto::Stage {
        match wait {
            Wait::Durable => proto::Stage::Durable,
            Wait::Lexical => proto::Stage::Lexical,
            Wait::Vector => proto::Stage::Vector,
        }
    }
}

/// A file to be put.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    /// Its path below the folder that was named, with `/`.
    pub(super) id: String,
}

/// What became of all files.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) new: u64,
    pub(super) unchanged: u64,
    pub(super) chunks_embedded: u64,
    pub(super) chunks_reused: u64,
    /// File and reason.
    pub(super) skipped: Vec<(String, String)>,
}

impl Ingest {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let mut summary = Summary::default();
        let mut files = Vec::new();
        for path in &self.paths {
            find(path, &mut files, &mut summary.skipped)?;
        }
        if files.is_empty() {
            bail!("nothing to ingest in {}: `ibid formats` lists what is read", list(&self.paths));
        }
        let session = Session::open(global, As::Tenant).await?;
        ensure_collection(&session, &self.collection).await?;
        let progress = bar(files.len() as u64, "files");
        progress.set_message("ingesting");
        let header = proto::DocumentHeader {
            collection: self.collection.clone(),
            principals: self.principal,
            wait_for: proto::Stage::from(self.wait).into(),
            ..proto::DocumentHeader::default()
        };
        put_all(&session, &header, files, &mut summary, &progress).await?;
        progress.finish_and_clear();
        let noticed = noticed(&session, &self.collection).await?;
        session.close().await?;
        report(&summary, &noticed, global.json);
        if summary.new + summary.unchanged == 0 { bail!("no file was ingested") } else { Ok(()) }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The files below `path`, and why others are left out.
pub(super) fn find(path: &Path, files: &mut Vec<File>, skipped: &mut Vec<(String, String)>) -> anyhow::Result<()> {
    if !path.exists() {
        bail!("{} does not exist", path.display());
    }
    let visible =
        |entry: &walkdir::DirEntry| entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.');
    for entry in WalkDir::new(path).sort_by_file_name().into_iter().filter_entry(visible) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let file = error.path().map_or_else(|| path.display().to_string(), |path| path.display().to_string());
                skipped.push((file, error.to_string()));
                continue;
            }
        };
        if entry.file_type().is_dir() {
            continue;
        }
        let shown = entry.path().display().to_string();
        if entry.path_is_symlink() {
            skipped.push((shown, "a symbolic link".to_owned()));
            continue;
        }
        let below = entry.path().strip_prefix(path).unwrap_or(entry.path());
        let named = if below.as_os_str().is_empty() { Path::new(entry.file_name()) } else { below };
        let Some(id) = named.to_str() else {
            skipped.push((shown, "its name is not UTF-8".to_owned()));
            continue;
        };
        // What is in it is looked at by the server; here only the name counts, so that a folder of pictures is not read.
        if !ibid_chunk::may_be_read(id) {
            skipped.push((shown, "of no kind that is read; `ibid formats` lists them".to_owned()));
            continue;
        }
        files.push(File { path: entry.path().to_owned(), id: id.to_owned() });
    }
    Ok(())
}

/// Makes the collection if it is not there and the key may.
pub(super) async fn ensure_collection(session: &Session, name: &str) -> anyhow::Result<()> {
    let create = proto::CreateCollectionRequest { name: name.to_owned(), settings: None };
    match session.collections().get_collection(proto::GetCollectionRequest { name: name.to_owned() }).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == tonic::Code::NotFound => {
            session.collections().create_collection(create).await.map(|_| ()).map_err(|status| explain(&status))
        }
        Err(status) => Err(explain(&status)),
    }
}

/// Streams `files` into the collection that `header` names, as many at once as the server gives credit for.
pub(super) async fn put_all(
    session: &Session,
    header: &proto::DocumentHeader,
    files: Vec<File>,
    summary: &mut Summary,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let (steps, stream) = tokio::sync::mpsc::channel(4);
    let mut documents = session.documents();
    let acks = documents.ingest(ReceiverStream::new(stream));
    let mut acks = acks.await.map_err(|status| explain(&status))?.into_inner();
    let mut files = VecDeque::from(files);
    let mut on_the_way: VecDeque<String> = VecDeque::new();
    let mut credit = 1;
    while !files.is_empty() || !on_the_way.is_empty() {
        if on_the_way.len() < credit
            && let Some(file) = files.pop_front()
        {
            match tokio::fs::read(&file.path).await {
                Ok(content) => {
                    upload(&steps, header, &file, &content).await?;
                    on_the_way.push_back(file.path.display().to_string());
                }
                Err(error) => {
                    summary.skipped.push((file.path.display().to_string(), error.to_string()));
                    progress.inc(1);
                }
            }
            continue;
        }
        let ack =
            acks.message().await.map_err(|status| explain(&status))?.context("the server ended the upload early")?;
        credit = ack.documents_credit.max(1) as usize;
        let Some(outcome) = ack.outcome else { continue };
        let file = on_the_way.pop_front().context("the server acknowledged a file that was not sent")?;
        summary.count(file, outcome);
        progress.inc(1);
    }
    Ok(())
}

async fn upload(
    steps: &tokio::sync::mpsc::Sender<proto::IngestRequest>,
    header: &proto::DocumentHeader,
    file: &File,
    content: &[u8],
) -> anyhow::Result<()> {
    let header = proto::DocumentHeader { document_id: file.id.clone(), ..header.clone() };
    let parts = content.chunks(PART_BYTES).map(|part| Step::Part(part.to_vec().into()));
    let all = std::iter::once(Step::Header(header)).chain(parts).chain([Step::Commit(proto::IngestCommit {})]);
    for step in all {
        let sent = steps.send(proto::IngestRequest { step: Some(step) }).await;
        sent.ok().context("the server ended the upload early")?;
    }
    Ok(())
}

impl Summary {
    fn count(&mut self, file: String, outcome: Outcome) {
        match outcome {
            Outcome::Result(result) => {
                let counter = if result.unchanged { &mut self.unchanged } else { &mut self.new };
                *counter += 1;
                self.chunks_embedded += u64::from(result.chunks_new);
                self.chunks_reused += u64::from(result.chunks_reused);
                for warning in result.warnings {
                    self.skipped.push((file.clone(), format!("ingested, but {warning}")));
                }
            }
            Outcome::Error(error) => self.skipped.push((file, error.message)),
        }
    }
}

/// What the server noticed of the collection, if the key may ask.
async fn noticed(session: &Session, collection: &str) -> anyhow::Result<proto::IngestReport> {
    let request = proto::GetIngestReportRequest { name: collection.to_owned() };
    match session.collections().get_ingest_report(request).await {
        Ok(reply) => Ok(reply.into_inner().report.unwrap_or_default()),
        Err(status) if status.code() == tonic::Code::PermissionDenied => {
            Ok(proto::IngestReport { collection: collection.to_owned(), ..proto::IngestReport::default() })
        }
        Err(status) => Err(explain(&status)),
    }
}

fn report(summary: &Summary, noticed: &proto::IngestReport, json: bool) {
    let collection = &noticed.collection;
    let Summary { new, unchanged, chunks_embedded, chunks_reused, skipped } = summary;
    if json {
        let reasons: Vec<_> =
            skipped.iter().map(|(file, reason)| serde_json::json!({"file": file, "reason": reason})).collect();
        let counts = serde_json::json!({
            "collection": collection, "new": new, "unchanged": unchanged,
            "chunks_new": chunks_embedded, "chunks_reused": chunks_reused, "skipped": reasons,
            "noticed": noticed_json(noticed),
        });
        println!("{counts}");
        return;
    }
    println!("{} {new} new or changed, {unchanged} unchanged, {} noted", bold(collection), skipped.len());
    println!("chunks: {chunks_embedded} new, {chunks_reused} reused");
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (file, reason) in skipped {
        by_reason.entry(reason).or_default().push(file);
    }
    for (reason, files) in by_reason {
        println!("  {}: {} files", one_line(reason, 100), files.len());
        files.iter().take(REASONS_SHOWN).for_each(|file| println!("    {}", plain(file)));
    }
    show_noticed(noticed);
}

/// The collection as a whole: what a person would look at before they trust it.
fn show_noticed(noticed: &proto::IngestReport) {
    if noticed.chunks == 0 {
        return;
    }
    println!("the collection as a whole:");
    for format in &noticed.formats {
        let proto::FormatCount { media_type, documents, complete, chunks } = format;
        println!("  {documents} {media_type}: {chunks} chunks, {complete} complete");
    }
    let steps = noticed.token_histogram.iter().map(|step| format!("{}+: {}", step.tokens_from, step.chunks));
    println!("  chunks by tokens: {}", steps.collect::<Vec<_>>().join(", "));
    let counts = [
        (noticed.chunks_table, "tables"),
        (noticed.chunks_code, "code"),
        (noticed.chunks_tiny, "tiny"),
        (noticed.chunks_oversize, "longer than the embedder reads"),
        (noticed.chunks_duplicate, "near-duplicates of another"),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if !counts.is_empty() {
        println!("  of them {}", counts.join(", "));
    }
    if noticed.dropped_bytes + noticed.left_out_bytes > 0 {
        let (dropped, left_out) = (noticed.dropped_bytes, noticed.left_out_bytes);
        println!(
            "  not searched: {dropped} bytes of stored text, {left_out} bytes of originals (menus, running headers)"
        );
    }
    let language = |one: &proto::LanguageCount| {
        format!("{} {}", one.documents, if one.language.is_empty() { "unknown" } else { &one.language })
    };
    println!("  languages: {}", noticed.languages.iter().map(language).collect::<Vec<_>>().join(", "));
    for (ids, what) in [
        (&noticed.noisy_document_ids, "read as if badly scanned"),
        (&noticed.instructing_document_ids, "tell a language model what to do"),
        (&noticed.parked_document_ids, "could not be embedded: found by words alone"),
        (&noticed.empty_document_ids, "have nothing to search"),
    ] {
        if !ids.is_empty() {
            println!("  {} documents {what}", ids.len());
            ids.iter().take(REASONS_SHOWN).for_each(|id| println!("    {}", plain(id)));
        }
    }
}

fn noticed_json(noticed: &proto::IngestReport) -> serde_json::Value {
    let format = |one: &proto::FormatCount| {
        serde_json::json!({
            "media_type": one.media_type, "documents": one.documents, "complete": one.complete, "chunks": one.chunks,
        })
    };
    let step = |one: &proto::TokenCount| serde_json::json!({"tokens_from": one.tokens_from, "tokens_below": one.tokens_below, "chunks": one.chunks});
    let language =
        |one: &proto::LanguageCount| serde_json::json!({"language": one.language, "documents": one.documents});
    serde_json::json!({
        "formats": noticed.formats.iter().map(format).collect::<Vec<_>>(),
        "token_histogram": noticed.token_histogram.iter().map(step).collect::<Vec<_>>(),
        "chunks": noticed.chunks, "chunks_oversize": noticed.chunks_oversize, "chunks_tiny": noticed.chunks_tiny,
        "chunks_table": noticed.chunks_table, "chunks_code": noticed.chunks_code,
        "chunks_duplicate": noticed.chunks_duplicate, "dropped_bytes": noticed.dropped_bytes,
        "left_out_bytes": noticed.left_out_bytes,
        "languages": noticed.languages.iter().map(language).collect::<Vec<_>>(),
        "noisy": noticed.noisy_document_ids, "instructing": noticed.instructing_document_ids,
        "parked": noticed.parked_document_ids, "empty": noticed.empty_document_ids,
    })
}
