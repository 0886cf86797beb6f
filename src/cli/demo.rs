//! The handbook ingested, questions asked, the server left running.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use ibid_eval::{Handbook, QuestionKind};
use ibid_runtime::{Clock, SystemClock};

use super::Global;
use super::admin::{KeyScope, create};
use super::ask::{Answer, ask};
use super::ingest::{Summary, ensure_collection, find, put_all};
use super::serve::told_to_stop;
use super::session::{Session, explain, start};
use super::terminal::{bar, bold, cyan, dim};
use crate::proto;
use crate::server::Running;

/// The collection of every company's handbook.
const COLLECTION: &str = "handbook";
/// Questions that show something: the same one with an answer a tenant, a paraphrase, two documents, a table of a PDF, a workbook,
/// notes of slides, none, another's.
const QUESTIONS: [&str; 10] =
    ["h-001", "n-001", "l-001", "n-004", "l-014", "h-105", "l-110", "n-111", "l-017", "h-022"];

/// Ingest the handbook of three companies, ask a few questions, and leave the server running.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// End after the questions
    #[arg(long)]
    exit: bool,
    /// The handbook [default: datasets/handbook beside the program or where it was built]
    #[arg(long, value_name = "DIR")]
    handbook: Option<PathBuf>,
    /// Who writes the answers: a generator of the configuration, or `extractive` [default: the server's]
    #[arg(long, default_value = "")]
    generator: String,
}

impl Demo {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let folder = self.handbook.clone().map_or_else(find_handbook, Ok)?;
        let handbook = Handbook::open(&folder)?;
        let mut config = global.config()?;
        let kept = global.data_dir.is_some();
        let scratch = std::env::temp_dir().join(format!("ibid-demo-{}", std::process::id()));
        if !kept {
            config.data_dir.clone_from(&scratch);
        }
        // The usual port may be a server's that is in use.
        if std::net::TcpListener::bind(config.server.listen).is_err() {
            config.server.listen.set_port(0);
        }
        let data_dir = config.data_dir.clone();
        let clock = SystemClock::new();
        let server = start(&config).await?;
        println!("{} models loaded and server started in {:.1} s", bold("1"), clock.monotonic().as_secs_f64());

        let shown = self.show(&server, &handbook, &folder, &data_dir).await;
        if shown.is_ok() && !self.exit {
            told_to_stop().await?;
        }
        server.shutdown().await?;
        if !kept {
            std::fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
        }
        shown
    }

    async fn show(&self, server: &Running, handbook: &Handbook, folder: &Path, data_dir: &Path) -> anyhow::Result<()> {
        let operator_key =
            std::fs::read_to_string(crate::first_start::operator_key(data_dir)).context("read the operator's key")?;
        let operator = Session::of(server, operator_key.trim()).await?;
        let mut sessions = BTreeMap::new();
        let mut key_files = BTreeMap::new();
        for tenant in handbook.tenants.keys() {
            let key = tenant_key(&operator, tenant.as_str(), data_dir).await?;
            sessions.insert(tenant.as_str(), operator.with_key(key.1.trim())?);
            key_files.insert(tenant.as_str(), key.0);
        }
        ingest(&sessions, folder).await?;

        println!("{} questions, each asked with the key of one company", bold("3"));
        for id in QUESTIONS {
            let question = handbook.questions.iter().find(|question| question.id == id);
            let question = question.with_context(|| format!("the handbook has no question {id}"))?;
            let session = &sessions[question.tenant.as_str()];
            println!("\n{} {}", cyan(format!("{}:", question.tenant)), bold(&question.text));
            let request = proto::AnswerRequest {
                question: question.text.clone().into_bytes().into(),
                search: Some(proto::SearchSettings { collections: vec![COLLECTION.to_owned()], ..Default::default() }),
                generator: self.generator.clone(),
                ..Default::default()
            };
            let answer: Answer = ask(session, request, true).await?;
            answer.footnotes();
            match question.kind {
                QuestionKind::Unanswerable => println!("{}", dim("(no handbook answers this)")),
                QuestionKind::OtherTenant => println!("{}", dim("(only another company's handbook answers this)")),
                QuestionKind::Lexical | QuestionKind::Semantic | QuestionKind::MultiDocument => {}
            }
        }
        if !self.exit {
            let key_file = key_files.values().next().map(|file| file.display().to_string()).unwrap_or_default();
            println!("\n{} the server runs at {}; Ctrl-C ends it. Try next:\n", bold("4"), server.address());
            let program = std::env::current_exe()?;
            println!(
                "  {} ask --server http://{} --key-file {key_file} \"How long do I have to send something back?\"\n",
                program.display(),
                server.address()
            );
        }
        Ok(())
    }
}

async fn ingest(sessions: &BTreeMap<&str, Session>, folder: &Path) -> anyhow::Result<()> {
    let clock = SystemClock::new();
    let (mut documents, mut chunks) = (0, 0);
    for (tenant, session) in sessions {
        ensure_collection(session, COLLECTION).await?;
        let mut summary = Summary::default();
        let mut files = Vec::new();
        find(&folder.join(tenant), &mut files, &mut summary.skipped)?;
        let progress = bar(files.len() as u64, "documents");
        progress.set_message((*tenant).to_owned());
        let header = proto::DocumentHeader {
            collection: COLLECTION.to_owned(),
            wait_for: proto::Stage::Vector.into(),
            ..Default::default()
        };
        put_all(session, &header, files, &mut summary, &progress).await?;
        progress.finish_and_clear();
        if let Some((file, reason)) = summary.skipped.first() {
            bail!("{file}: {reason}");
        }
        documents += summary.new + summary.unchanged;
        chunks += summary.chunks_embedded + summary.chunks_reused;
    }
    let seconds = clock.monotonic().as_secs_f64();
    println!(
        "{} {documents} documents of {} companies: chunked, embedded and indexed by words and by meaning, {chunks} chunks in {seconds:.1} s",
        bold("2"),
        sessions.len()
    );
    Ok(())
}

/// The tenant with a key of its own, made if it is not there. The key's file and the key.
async fn tenant_key(operator: &Session, tenant: &str, data_dir: &Path) -> anyhow::Result<(PathBuf, String)> {
    let created = operator.tenants().create_tenant(proto::CreateTenantRequest { name: tenant.to_owned() }).await;
    match created {
        Ok(_) => {}
        Err(status) if status.code() == tonic::Code::AlreadyExists => {}
        Err(status) => return Err(explain(&status)),
    }
    let file = data_dir.join("keys").join(format!("{tenant}.key"));
    if let Ok(key) = std::fs::read_to_string(&file) {
        return Ok((file, key));
    }
    let scopes = [KeyScope::Ingest, KeyScope::Search, KeyScope::Answer, KeyScope::Admin];
    let key = create(operator, tenant, &scopes, Vec::new(), "demo").await?;
    crate::first_start::write_secret(&file, &key).with_context(|| format!("write {}", file.display()))?;
    Ok((file, key))
}

pub(super) fn find_handbook() -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_owned));
    let places = beside.into_iter().chain([PathBuf::from(env!("CARGO_MANIFEST_DIR"))]);
    let places: Vec<PathBuf> = places.map(|dir| dir.join("datasets").join("handbook")).collect();
    let shown = places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ");
    let found = places.into_iter().find(|place| place.join("questions.jsonl").exists());
    found.with_context(|| format!("no handbook in {shown}; name its folder with --handbook"))
}
