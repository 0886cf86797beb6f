//! What is asked of the server: by its operator, and by one key a tenant.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use tonic::{Code, Status};

use super::model::{COLLECTIONS, collection, id};
use super::revision::{EVERY_CHUNK, Revision};
use crate::cli::admin::{self, KeyScope};
use crate::cli::session::{Session, explain};
use crate::proto::{self, SearchMode, Stage};

/// Chunks of a collection that one reply may hold; there are never so many.
const EVERYTHING: u32 = 1_000;
const SETTLE_POLL: Duration = Duration::from_millis(5);
const SETTLE_POLLS_MAX: u32 = 12_000;

/// The keys of tenants, by name; they outlive a server.
pub(super) type Keys = Arc<Mutex<BTreeMap<String, String>>>;

/// Clients of one server.
pub(super) struct Clients {
    operator: Session,
    keys: Keys,
    /// Of the server's embedder.
    pub(super) dimension: usize,
}

/// What is looked for.
pub(super) enum Question<'a> {
    Words(&'a str),
    Vector(Vec<f32>),
}

impl Clients {
    pub(super) async fn connect(
        address: &str,
        operator_key: &str,
        keys: Keys,
        dimension: usize,
    ) -> anyhow::Result<Clients> {
        Ok(Clients { operator: Session::at(address, operator_key).await?, keys, dimension })
    }

    /// The keys of tenants, for clients of the same server.
    pub(super) fn keys_of_tenants(&self) -> Keys {
        Keys::clone(&self.keys)
    }

    fn keys(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session of a tenant that is there; its key is made if it has none.
    pub(super) async fn tenant(&self, name: &str) -> anyhow::Result<Session> {
        let known = self.keys().get(name).cloned();
        let key = match known {
            Some(key) => key,
            None => {
                let scopes = [KeyScope::Ingest, KeyScope::Search, KeyScope::Admin];
                let key = admin::create(&self.operator, name, &scopes, Vec::new(), "torture").await?;
                self.keys().insert(name.to_owned(), key.clone());
                key
            }
        };
        self.operator.with_key(&key)
    }

    pub(super) async fn create_tenant(&self, name: &str) -> Result<(), Status> {
        let request = proto::CreateTenantRequest { name: name.to_owned() };
        self.operator.tenants().create_tenant(request).await.map(drop)
    }

    pub(super) async fn delete_tenant(&self, name: &str) -> Result<(), Status> {
        let request = proto::DeleteTenantRequest { name: name.to_owned() };
        self.operator.tenants().delete_tenant(request).await?;
        self.forget(name);
        Ok(())
    }

    /// The log is compacted under the writers' hands.
    pub(super) async fn compact(&self) -> Result<(), Status> {
        self.operator.operations().compact(proto::CompactRequest {}).await.map(drop)
    }

    /// Everything is copied while it is written, or all copies but the newest two are deleted.
    pub(super) async fn snapshot(&self, prune: bool) -> Result<(), Status> {
        if prune {
            let request = proto::PruneSnapshotsRequest { keep: 2 };
            return self.operator.operations().prune_snapshots(request).await.map(drop);
        }
        self.operator.operations().create_snapshot(proto::CreateSnapshotRequest {}).await.map(drop)
    }

    /// A tenant has gone: its key is of no use to the next one of its name.
    pub(super) fn forget(&self, name: &str) {
        self.keys().remove(name);
    }

    /// The names of all tenants.
    pub(super) async fn tenants(&self) -> anyhow::Result<Vec<String>> {
        let request = proto::ListTenantsRequest { page_size: 1_000, page_token: String::new() };
        let reply = self.operator.tenants().list_tenants(request).await.map_err(|status| explain(&status))?;
        Ok(reply.into_inner().tenants.into_iter().map(|tenant| tenant.name).collect())
    }

    /// Waits until every document of a tenant has reached its last stage.
    pub(super) async fn settle(&self, name: &str) -> anyhow::Result<proto::IngestStatus> {
        for _ in 0..SETTLE_POLLS_MAX {
            let request = proto::GetTenantRequest { name: name.to_owned() };
            let reply = self.operator.tenants().get_tenant(request).await.map_err(|status| explain(&status))?;
            let ingest = reply.into_inner().tenant.and_then(|tenant| tenant.ingest).unwrap_or_default();
            if ingest.documents_pending == 0 {
                return Ok(ingest);
            }
            tokio::time::sleep(SETTLE_POLL).await;
        }
        bail!("documents of {name} are still pending after {:?}", SETTLE_POLL * SETTLE_POLLS_MAX)
    }
}

/// Makes the collections that are not there.
pub(super) async fn create_collections(session: &Session) -> Result<(), Status> {
    let there = session.collections().list_collections(proto::ListCollectionsRequest::default()).await?.into_inner();
    let there: Vec<String> = there.collections.into_iter().map(|collection| collection.name).collect();
    for name in COLLECTIONS.into_iter().filter(|name| !there.iter().any(|one| one == name)) {
        // Words as they are: a revision's word is no other's.
        let language = proto::Language::None.into();
        let settings = proto::CollectionSettings { language, stemming: Some(false), ..Default::default() };
        let request = proto::CreateCollectionRequest { name: name.to_owned(), settings: Some(settings) };
        session.collections().create_collection(request).await?;
    }
    Ok(())
}

/// The tenant's collections that are there.
pub(super) async fn collections(session: &Session) -> anyhow::Result<Vec<String>> {
    let reply = session.collections().list_collections(proto::ListCollectionsRequest::default()).await;
    let reply = reply.map_err(|status| explain(&status))?.into_inner();
    Ok(reply.collections.into_iter().map(|collection| collection.name).collect())
}

/// Puts a revision with its chunks and vectors; the stage that was reached.
pub(super) async fn put(
    session: &Session,
    document: usize,
    revision: &Revision,
    wait_for: Stage,
    dimension: usize,
) -> Result<Stage, Status> {
    let request = put_request(revision, collection(document), id(document), wait_for, dimension);
    let reply = session.documents().put_document(request).await?.into_inner();
    Ok(reply.result.map_or(Stage::Durable, |result| result.stage()))
}

pub(super) fn put_request(
    revision: &Revision,
    collection: &str,
    document_id: String,
    wait_for: Stage,
    dimension: usize,
) -> proto::PutDocumentRequest {
    let chunk = |(part, span): (usize, std::ops::Range<usize>)| proto::ReadyChunk {
        span: Some(proto::Span { start_byte: span.start as u32, end_byte: span.end as u32 }),
        vector: revision.vector(part, dimension),
    };
    let header = proto::DocumentHeader {
        collection: collection.to_owned(),
        document_id,
        media_type: "text/plain".to_owned(),
        wait_for: wait_for.into(),
        chunks: revision.spans().into_iter().enumerate().map(chunk).collect(),
        ..Default::default()
    };
    proto::PutDocumentRequest { header: Some(header), content: revision.text().into() }
}

pub(super) async fn delete(session: &Session, document: usize) -> Result<Stage, Status> {
    let request =
        proto::DeleteDocumentRequest { collection: collection(document).to_owned(), document_id: id(document) };
    session.documents().delete_document(request).await.map(|_| Stage::Vector)
}

/// A document's stored text; `None` if there is none.
pub(super) async fn text(session: &Session, document: usize) -> anyhow::Result<Option<String>> {
    let request = proto::GetDocumentRequest {
        collection: collection(document).to_owned(),
        document_id: id(document),
        ..Default::default()
    };
    let mut pieces = match session.documents().get_document(request).await {
        Err(status) if status.code() == Code::NotFound => return Ok(None),
        reply => reply.map_err(|status| explain(&status))?.into_inner(),
    };
    let mut text = Vec::new();
    while let Some(piece) = pieces.message().await.map_err(|status| explain(&status))? {
        text.extend_from_slice(&piece.content);
    }
    Ok(Some(String::from_utf8(text).context("a stored text is not UTF-8")?))
}

/// The documents of a collection, by id.
pub(super) async fn list(session: &Session, collection: &str) -> anyhow::Result<BTreeMap<String, proto::Document>> {
    let request =
        proto::ListDocumentsRequest { collection: collection.to_owned(), page_size: 1_000, ..Default::default() };
    let reply = session.documents().list_documents(request).await.map_err(|status| explain(&status))?;
    let documents = reply.into_inner().documents.into_iter();
    Ok(documents.map(|document| (document.document_id.clone(), document)).collect())
}

/// Every chunk of a collection that a question finds: texts by document, sorted.
pub(super) async fn find(
    session: &Session,
    collection: &str,
    question: Question<'_>,
) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for hit in search(session, collection, question, EVERYTHING).await? {
        found.entry(hit.document_id).or_default().push(hit.text);
    }
    found.values_mut().for_each(|texts| texts.sort());
    Ok(found)
}

/// Every chunk of a collection, found by `mode`.
pub(super) async fn find_all(
    session: &Session,
    collection: &str,
    mode: SearchMode,
    dimension: usize,
) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let question = match mode {
        SearchMode::Vector => Question::Vector(vec![1.0; dimension]),
        SearchMode::Lexical | SearchMode::Hybrid | SearchMode::Unspecified => Question::Words(EVERY_CHUNK),
    };
    find(session, collection, question).await
}

/// The best chunks for a question, not reranked.
pub(super) async fn search(
    session: &Session,
    collection: &str,
    question: Question<'_>,
    top_k: u32,
) -> anyhow::Result<Vec<proto::Hit>> {
    let (question, query_vector, mode) = match question {
        Question::Words(words) => (words, Vec::new(), SearchMode::Lexical),
        Question::Vector(vector) => ("", vector, SearchMode::Vector),
    };
    let settings = proto::SearchSettings {
        collections: vec![collection.to_owned()],
        mode: mode.into(),
        top_k: Some(top_k),
        rerank: Some(proto::Rerank { depth: 0, ..Default::default() }),
        duplicates: proto::Duplicates::Keep.into(),
        ..Default::default()
    };
    let settings = Some(settings);
    let request =
        proto::SearchRequest { question: question.to_owned().into(), query_vector, settings, ..Default::default() };
    let reply = session.search().search(request).await.map_err(|status| explain(&status))?;
    Ok(reply.into_inner().hits)
}
