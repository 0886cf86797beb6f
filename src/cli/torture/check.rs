//! After a kill: what the server has, against what it acknowledged.

use std::collections::BTreeMap;
use std::fmt::Write;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::clients::{self, Clients, Question};
use super::model::{COLLECTIONS, Fate, Model, Tenant, Verdict, collection, id, judge};
use super::revision::Revision;
use crate::cli::session::Session;
use crate::proto::{SearchMode, Stage};

const CHECKS_AT_ONCE: usize = 8;

/// What is not as it must be.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) lost_acks: u64,
    pub(super) half_documents: u64,
    pub(super) resurrected: u64,
    pub(super) mismatches: u64,
    /// What the server logged at level ERROR, and what it refused while it ran.
    pub(super) errors: u64,
    /// A line for each, for people.
    pub(super) lines: Vec<String>,
}

impl Findings {
    pub(super) fn count(&self) -> u64 {
        self.lost_acks + self.half_documents + self.resurrected + self.mismatches + self.errors
    }

    fn lost(&mut self, line: String) {
        self.lost_acks += 1;
        self.lines.push(format!("lost: {line}"));
    }

    fn half(&mut self, line: String) {
        self.half_documents += 1;
        self.lines.push(format!("half: {line}"));
    }

    fn resurrected(&mut self, line: String) {
        self.resurrected += 1;
        self.lines.push(format!("resurrected: {line}"));
    }

    fn mismatch(&mut self, line: String) {
        self.mismatches += 1;
        self.lines.push(format!("mismatch: {line}"));
    }

    pub(super) fn error(&mut self, line: String) {
        self.errors += 1;
        self.lines.push(format!("error: {line}"));
    }
}

/// Chunks by document, as one way of searching finds them.
type Found = BTreeMap<String, Vec<String>>;

/// Compares everything that is stored and found with `model`. What may be the one or the other is afterwards what it is.
pub(super) async fn check(clients: &Clients, model: &mut Model, findings: &mut Findings) {
    // A server that does not answer has lost what it should answer with.
    if let Err(error) = compare(clients, model, findings).await {
        findings.error(format!("{error:#}"));
    }
}

async fn compare(clients: &Clients, model: &mut Model, findings: &mut Findings) -> anyhow::Result<()> {
    let names = clients.tenants().await?;
    for tenant in &mut model.tenants {
        let there = names.contains(&tenant.name);
        match (there, tenant.there.allows(&there)) {
            (true, true) => tenant.there = Fate::new(true),
            (false, true) => {
                if tenant.there.acked {
                    tenant.gone();
                }
                tenant.there = Fate::new(false);
                clients.forget(&tenant.name);
                continue;
            }
            (true, false) => {
                findings.resurrected(format!("tenant {}", tenant.name));
                continue;
            }
            (false, false) => {
                findings.lost(format!("tenant {}", tenant.name));
                continue;
            }
        }
        let session = clients.tenant(&tenant.name).await?;
        let present = clients::collections(&session).await?;
        check_at_once(&session, tenant, &present, clients.dimension, findings).await?;
        let ingest = clients.settle(&tenant.name).await?;
        let mut expected = (0, 0);
        check_stored(&session, tenant, findings).await?;
        for name in COLLECTIONS {
            if present.iter().any(|one| one == name) {
                let (documents, chunks) = check_found(&session, tenant, name, clients.dimension, findings).await?;
                expected = (expected.0 + documents, expected.1 + chunks);
            }
        }
        check_written(&session, tenant, clients.dimension, findings).await?;
        let counted = (ingest.documents, ingest.chunks, ingest.chunks_embedded, ingest.documents_parked);
        if counted != (expected.0, expected.1, expected.1, 0) {
            findings.mismatch(format!("{} counts {ingest:?}, not {expected:?} documents and chunks", tenant.name));
        }
    }
    Ok(())
}

/// What was found before the kill is found before anything is made up for.
async fn check_at_once(
    session: &Session,
    tenant: &Tenant,
    present: &[String],
    dimension: usize,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    for (mode, stage) in [(SearchMode::Lexical, Stage::Lexical), (SearchMode::Vector, Stage::Vector)] {
        let mut found: BTreeMap<&str, Found> = BTreeMap::new();
        for name in COLLECTIONS.into_iter().filter(|name| present.iter().any(|one| one == name)) {
            found.insert(name, clients::find_all(session, name, mode, dimension).await?);
        }
        for (document, one) in tenant.documents.iter().enumerate() {
            let Some(number) = one.found_at(stage) else { continue };
            let title = tenant.title(document);
            let texts = found.get(collection(document)).and_then(|found| found.get(&id(document)));
            if texts != Some(&sorted(Revision::of(&title, number).chunks)) {
                findings.lost(format!("{title}: revision {number} is not found at once by {}", mode.as_str_name()));
            }
        }
    }
    Ok(())
}

/// Every document holds the bytes of a revision that it may hold.
async fn check_stored(session: &Session, tenant: &mut Tenant, findings: &mut Findings) -> anyhow::Result<()> {
    let texts = stream::iter(0..tenant.documents.len()).map(|document| clients::text(session, document));
    let texts: Vec<Option<String>> = texts.buffered(CHECKS_AT_ONCE).try_collect().await?;
    for (document, text) in texts.into_iter().enumerate() {
        let title = tenant.title(document);
        let fate = tenant.documents[document].fate;
        let line = || {
            let mut line = format!("{title} may be {fate:?}, ");
            match &text {
                None => line.push_str("is not there"),
                Some(text) => {
                    let _ = write!(line, "holds {:?}", text.chars().take(120).collect::<String>());
                }
            }
            line
        };
        match judge(&title, &fate, text.as_deref()) {
            Verdict::Right(state) => tenant.documents[document].acked(state, Stage::Vector),
            Verdict::Lost => findings.lost(line()),
            Verdict::Half => findings.half(line()),
            Verdict::Resurrected => findings.resurrected(line()),
        }
    }
    Ok(())
}

/// The ledger lists, words find and vectors find the same documents, with all chunks of their revisions. How many documents
/// and chunks these are.
async fn check_found(
    session: &Session,
    tenant: &Tenant,
    name: &str,
    dimension: usize,
    findings: &mut Findings,
) -> anyhow::Result<(u64, u64)> {
    let listed = clients::list(session, name).await?;
    let by_words = clients::find_all(session, name, SearchMode::Lexical, dimension).await?;
    let by_vector = clients::find_all(session, name, SearchMode::Vector, dimension).await?;
    let mut expected = Found::new();
    for (document, one) in tenant.documents.iter().enumerate().filter(|(document, _)| collection(*document) == name) {
        let Some(number) = one.fate.acked else { continue };
        expected.insert(id(document), sorted(Revision::of(&tenant.title(document), number).chunks));
    }
    for (way, found) in [("words", &by_words), ("vectors", &by_vector)] {
        for (id, texts) in &expected {
            if found.get(id) != Some(texts) {
                let count = found.get(id).map_or(0, Vec::len);
                let line = format!("{way} find {count} chunks of {}/{name}/{id}", tenant.name);
                findings.mismatch(format!("{line}, not the {} of its revision", texts.len()));
            }
        }
        for id in found.keys().filter(|id| !expected.contains_key(*id)) {
            findings.resurrected(format!("{way} find {}/{name}/{id}, which is not there", tenant.name));
        }
    }
    for (id, texts) in &expected {
        let Some(document) = listed.get(id) else {
            findings.mismatch(format!("{}/{name}/{id} is not listed", tenant.name));
            continue;
        };
        let chunks = texts.len() as u32;
        if (document.chunks, document.chunks_embedded, document.stage()) != (chunks, chunks, Stage::Vector) {
            let title = format!("{}/{name}/{id}", tenant.name);
            findings.mismatch(format!("{title} is listed as {document:?}, expected {chunks} chunks with vectors"));
        }
    }
    for id in listed.keys().filter(|id| !expected.contains_key(*id)) {
        findings.resurrected(format!("{}/{name}/{id} is listed and not there", tenant.name));
    }
    let chunks = expected.values().map(|texts| texts.len() as u64).sum();
    Ok((expected.len() as u64, chunks))
}

/// What was written since the last check is found by its own word and by its own vectors.
async fn check_written(
    session: &Session,
    tenant: &mut Tenant,
    dimension: usize,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let title = |document| tenant.title(document);
    let written = tenant.documents.iter().enumerate().filter(|(_, one)| one.written);
    let written = written.filter_map(|(document, one)| Some((document, one.fate.acked?)));
    let asked = stream::iter(written).map(|(document, number)| {
        let revision = Revision::of(&title(document), number);
        async move {
            let name = collection(document);
            let word = revision.word();
            let by_word = clients::find(session, name, Question::Words(&word)).await?;
            let part = number as usize % revision.chunks.len();
            let vector = Question::Vector(revision.vector(part, dimension));
            let nearest = clients::search(session, name, vector, 1).await?;
            let found_word = by_word == Found::from([(id(document), sorted(revision.chunks.clone()))]);
            let found_vector = nearest.first().is_some_and(|hit| hit.text == revision.chunks[part]);
            anyhow::Ok((document, number, found_word, found_vector))
        }
    });
    let asked: Vec<_> = asked.buffered(CHECKS_AT_ONCE).try_collect().await?;
    for (document, number, found_word, found_vector) in asked {
        if !found_word {
            findings.lost(format!("{}: revision {number} is not what its word finds", title(document)));
        }
        if !found_vector {
            findings.lost(format!("{}: revision {number} is not what its vector finds", title(document)));
        }
    }
    tenant.documents.iter_mut().for_each(|one| one.written = false);
    Ok(())
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}
