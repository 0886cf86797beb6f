//! What a tenant is told does not depend on another: the same requests, alone and beside a busy neighbour, get the same
//! bytes.
//!
//! The neighbour is there before the tenant, has the same collections, document ids and words, and a request of its own is
//! under way beside every one of the tenant's. Only `Timings` may differ. Clock and randomness are the same in both runs;
//! models and files are real.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ibid::house::Parts;
use ibid::proto::answer_response::Event;
use ibid::proto::filter::Kind;
use ibid::proto::value::Kind as ValueKind;
use ibid::proto::{
    AnswerRequest, AnswerResponse, CollectionSettings, CompareOp, CreateCollectionRequest, CreateKeyRequest,
    CreateTenantRequest, DeleteCollectionRequest, DeleteDocumentRequest, DocumentHeader, FieldCondition, Filter,
    FilterList, GetCollectionRequest, GetDocumentRequest, GetTenantRequest, Language, ListCollectionsRequest,
    ListDocumentsRequest, ListKeysRequest, PutDocumentRequest, Rerank, RevokeKeyRequest, Scope, SearchMode,
    SearchRequest, SearchResponse, SearchSettings, Stage, Value,
};
use ibid_runtime::{ManualClock, SeededRandom};
use prost::Message;
use tonic::{Response, Status, Streaming};

use crate::harness::{Client, TestServer};

/// 1 March 2026.
const NOW_MS: u64 = 1_772_323_200_000;
const SEED: u64 = 26;

/// Document, year, who may read it, content.
const DOCUMENTS: [(&str, i64, &[&str], &str); 7] = [
    (
        "refunds.md",
        2023,
        &[],
        "# Refunds\n\nRefunds are paid within 14 days to the card that was charged.\n\n## Gift cards\n\nA gift card is \
         never paid out: a refund goes back to the balance.\n",
    ),
    ("parcels.md", 2024, &[], "# Parcels\n\nA parcel that is lost is sent again at no cost after 10 days.\n"),
    ("customs.md", 2024, &[], "# Customs\n\nFor parcels from outside the union the customer pays customs duties.\n"),
    (
        "warranty.md",
        2025,
        &["support"],
        "# Warranty\n\nThe warranty covers faults for 24 months. Wear is not covered.\n",
    ),
    (
        "returns.md",
        2025,
        &["support", "finance"],
        "# Returns\n\nA parcel may be returned within 30 days for a refund.\n",
    ),
    ("ledger.md", 2026, &["finance"], "# Ledger\n\nRefunds above 500 euros are signed by two people of finance.\n"),
    ("hours.txt", 2026, &[], "The desk answers the phone from 9 to 17 on working days.\n"),
];

const QUESTIONS: [&str; 3] =
    ["Within how many days are refunds paid?", "lost parcel customs duties", "Who signs for a refund to a gift card?"];

/// One reply as the tenant got it.
struct Reply {
    what: String,
    bytes: Vec<u8>,
    shown: String,
}

/// Somebody else on the same server, with the same words.
struct Neighbour {
    client: Client,
    beats: AtomicUsize,
}

impl Neighbour {
    async fn arrive(operator: &Client, server: &TestServer) -> Neighbour {
        let name = "neighbour".to_owned();
        operator.tenants().create_tenant(CreateTenantRequest { name: name.clone() }).await.unwrap();
        let key = operator.keys().create_key(key(&name, true, &[])).await.unwrap().into_inner();
        let client = server.client(&key.secret).await;
        for collection in ["handbook", "notes"] {
            client.collections().create_collection(collection_request(collection)).await.unwrap();
        }
        let neighbour = Neighbour { client, beats: AtomicUsize::new(DOCUMENTS.len()) };
        for (beat, (id, year, principals, content)) in DOCUMENTS.into_iter().enumerate() {
            neighbour.put(beat, Stage::Vector).await;
            // The very text that the tenant will put.
            let same = document("notes", id, year, principals, content);
            neighbour.client.documents().put_document(same).await.unwrap();
        }
        neighbour
    }

    /// Puts a document of the tenant's with more of its words.
    async fn put(&self, beat: usize, wait_for: Stage) -> String {
        let (id, year, principals, content) = DOCUMENTS[beat % DOCUMENTS.len()];
        let content = format!("{content}\n{}\n\nNumber {beat}: refunds refunds parcel.\n", QUESTIONS.join("\n\n"));
        let mut request = document("handbook", id, year, principals, &content);
        request.header.as_mut().unwrap().wait_for = wait_for.into();
        self.client.documents().put_document(request).await.unwrap();
        id.to_owned()
    }

    /// Something else each time.
    async fn beat(&self) {
        let beat = self.beats.fetch_add(1, Ordering::Relaxed);
        let question = QUESTIONS[beat % QUESTIONS.len()].to_owned();
        let settings = SearchSettings { rerank: Some(Rerank { depth: 2, ..Default::default() }), ..Default::default() };
        match beat % 4 {
            0 => {
                self.put(beat, Stage::Durable).await;
            }
            1 => {
                let question = question.into();
                let request = SearchRequest { question, settings: Some(settings), ..Default::default() };
                self.client.searches().search(request).await.unwrap();
            }
            2 => {
                let document_id = self.put(beat, Stage::Durable).await;
                let request = DeleteDocumentRequest { collection: "handbook".to_owned(), document_id };
                self.client.documents().delete_document(request).await.unwrap();
            }
            _ => {
                let question = question.into();
                let request = AnswerRequest { question, search: Some(settings), ..Default::default() };
                all(self.client.answers().answer(request)).await.unwrap();
            }
        }
    }
}

/// The tenant's requests, and what it was told.
struct Story {
    neighbour: Option<Neighbour>,
    replies: Vec<Reply>,
}

impl Story {
    /// Waits for a call, with the neighbour's next one beside it, and keeps what came.
    async fn hear<M: Message + Debug>(&mut self, what: &str, call: impl Future<Output = Result<Vec<M>, Status>>) {
        let heard = match &self.neighbour {
            None => call.await,
            Some(neighbour) => tokio::join!(call, neighbour.beat()).0,
        };
        let (bytes, shown) = match heard {
            Ok(messages) => {
                let bytes = messages.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
                (bytes, format!("{messages:#?}"))
            }
            Err(status) => {
                let details = status.details().to_vec();
                let shown = format!("{:?} {} {}", status.code(), status.message(), details.escape_ascii());
                (details, shown)
            }
        };
        self.replies.push(Reply { what: what.to_owned(), bytes, shown });
    }

    async fn put(&mut self, what: &str, client: &Client, request: PutDocumentRequest) {
        self.hear(what, one(client.documents().put_document(request))).await;
    }

    async fn get(&mut self, what: &str, client: &Client, document_id: &str, start_byte: u64) {
        let request = GetDocumentRequest {
            collection: "handbook".to_owned(),
            document_id: document_id.to_owned(),
            start_byte,
            ..Default::default()
        };
        self.hear(what, all(client.documents().get_document(request))).await;
    }

    async fn delete(&mut self, what: &str, client: &Client, document_id: &str) {
        let request = DeleteDocumentRequest { collection: "handbook".to_owned(), document_id: document_id.to_owned() };
        self.hear(what, one(client.documents().delete_document(request))).await;
    }

    /// Two pages.
    async fn list(&mut self, what: &str, client: &Client, filter: Option<Filter>) {
        let request =
            ListDocumentsRequest { collection: "handbook".to_owned(), filter, page_size: 2, page_token: String::new() };
        let mut documents = client.documents();
        let pages = async {
            let first = documents.list_documents(request.clone()).await?.into_inner();
            let next = ListDocumentsRequest { page_token: first.next_page_token.clone(), ..request };
            Ok(vec![first, documents.list_documents(next).await?.into_inner()])
        };
        self.hear(what, pages).await;
    }

    async fn search(&mut self, what: &str, client: &Client, question: &str, settings: SearchSettings) {
        let request =
            SearchRequest { question: question.to_owned().into(), settings: Some(settings), ..Default::default() };
        let found = async {
            let found: SearchResponse = client.searches().search(request).await?.into_inner();
            assert!(!found.hits.is_empty(), "{what} compares nothing");
            Ok(vec![SearchResponse { timings: None, ..found }])
        };
        self.hear(what, found).await;
    }

    /// Every way to search, by every key.
    async fn search_all_ways(&mut self, when: &str, clients: &[(&str, &Client)]) {
        let modes = [SearchMode::Lexical, SearchMode::Vector, SearchMode::Hybrid];
        for (mode, depth) in modes.into_iter().flat_map(|mode| [(mode, 0), (mode, 5)]) {
            for filter in [None, Some(not_before(2024))] {
                for (who, client) in clients {
                    let question = QUESTIONS[self.replies.len() % QUESTIONS.len()];
                    let what = format!("{when}: {mode:?}, rerank {depth}, filter {}, {who}", filter.is_some());
                    let settings = SearchSettings {
                        mode: mode.into(),
                        rerank: Some(Rerank { depth, ..Default::default() }),
                        filter: filter.clone(),
                        ..Default::default()
                    };
                    self.search(&what, client, question, settings).await;
                }
            }
        }
    }

    async fn answer(&mut self, what: &str, client: &Client, question: &str) {
        let request = AnswerRequest {
            question: question.to_owned().into(),
            generator: "extractive".to_owned(),
            ..Default::default()
        };
        let events = async {
            let mut events: Vec<AnswerResponse> = all(client.answers().answer(request)).await?;
            match events.last_mut().and_then(|last| last.event.as_mut()) {
                Some(Event::Done(done)) => done.timings = None,
                other => panic!("{what} ended with {other:?}"),
            }
            Ok(events)
        };
        self.hear(what, events).await;
    }
}

async fn one<M>(call: impl Future<Output = Result<Response<M>, Status>>) -> Result<Vec<M>, Status> {
    Ok(vec![call.await?.into_inner()])
}

async fn all<M>(call: impl Future<Output = Result<Response<Streaming<M>>, Status>>) -> Result<Vec<M>, Status> {
    let mut stream = call.await?.into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}

fn key(tenant: &str, reads_all: bool, principals: &[&str]) -> CreateKeyRequest {
    CreateKeyRequest {
        tenant: tenant.to_owned(),
        scopes: [Scope::Ingest, Scope::Search, Scope::Answer, Scope::Admin].map(i32::from).to_vec(),
        principals: principals.iter().map(|principal| (*principal).to_owned()).collect(),
        reads_all,
        ..Default::default()
    }
}

fn collection_request(name: &str) -> CreateCollectionRequest {
    let settings = CollectionSettings { language: Language::English.into(), chunk_tokens: 32, ..Default::default() };
    CreateCollectionRequest { name: name.to_owned(), settings: Some(settings) }
}

fn year(year: i64) -> Value {
    Value { kind: Some(ValueKind::IntValue(year)) }
}

fn not_before(first: i64) -> Filter {
    let condition = FieldCondition { field: "year".to_owned(), op: CompareOp::Ge.into(), values: vec![year(first)] };
    let since = Filter { kind: Some(Kind::Field(condition)) };
    Filter { kind: Some(Kind::And(FilterList { filters: vec![since] })) }
}

fn document(collection: &str, id: &str, written: i64, principals: &[&str], content: &str) -> PutDocumentRequest {
    let header = DocumentHeader {
        collection: collection.to_owned(),
        document_id: id.to_owned(),
        metadata: [("year".to_owned(), year(written))].into(),
        principals: principals.iter().map(|principal| (*principal).to_owned()).collect(),
        wait_for: Stage::Vector.into(),
        ..Default::default()
    };
    PutDocumentRequest { header: Some(header), content: content.to_owned().into() }
}

/// Everything that the tenant `acme` is told, beside a neighbour or alone.
async fn told(beside_a_neighbour: bool) -> Vec<Reply> {
    let server = TestServer::start_of(|parts| Parts {
        clock: Arc::new(ManualClock::at(NOW_MS)),
        random: Arc::new(SeededRandom::new(SEED)),
        ..parts
    })
    .await;
    let operator = server.operator().await;
    let neighbour = if beside_a_neighbour { Some(Neighbour::arrive(&operator, &server).await) } else { None };
    let mut story = Story { neighbour, replies: Vec::new() };

    let acme = CreateTenantRequest { name: "acme".to_owned() };
    story.hear("create the tenant", one(operator.tenants().create_tenant(acme))).await;
    let (full, support) = (key("acme", true, &[]), key("acme", false, &["support"]));
    let (full, support) = (operator.keys().create_key(full).await, operator.keys().create_key(support).await);
    let (full, support) = (full.unwrap().into_inner(), support.unwrap().into_inner());
    let clients = (server.client(&full.secret).await, server.client(&support.secret).await);
    story.hear("the keys", async { Ok(vec![full, support.clone()]) }).await;
    let (all_of_it, support_desk) = (&clients.0, &clients.1);

    for name in ["handbook", "notes", "handbook"] {
        let request = collection_request(name);
        story.hear("create a collection", one(all_of_it.collections().create_collection(request))).await;
    }
    for (id, year, principals, content) in DOCUMENTS {
        story.put("put", all_of_it, document("handbook", id, year, principals, content)).await;
    }
    let (id, year, principals, content) = DOCUMENTS[0];
    story.put("put the same again", all_of_it, document("handbook", id, year, principals, content)).await;
    story.put("put the same elsewhere", all_of_it, document("notes", id, year, principals, content)).await;
    story.put("put into no collection", all_of_it, document("nowhere", id, year, principals, content)).await;
    story.put("put nothing", all_of_it, document("handbook", id, year, principals, " ")).await;

    let both = [("all", all_of_it), ("support", support_desk)];
    story.search_all_ways("first", &both).await;
    for (who, client) in both {
        story.list(&format!("list, {who}"), client, None).await;
        story.list(&format!("list by year, {who}"), client, Some(not_before(2025))).await;
        story.get(&format!("get, {who}"), client, "returns.md", 0).await;
        story.get(&format!("get a hidden one, {who}"), client, "ledger.md", 3).await;
        story.get(&format!("get beyond the end, {who}"), client, "returns.md", 1 << 20).await;
        story.get(&format!("get an unknown one, {who}"), client, "number.md", 0).await;
    }

    let replaced = "# Parcels\n\nA parcel that is lost is sent again after 5 days, with the customs duties paid.\n";
    story.put("replace", all_of_it, document("handbook", "parcels.md", 2026, &[], replaced)).await;
    story.delete("delete", all_of_it, "customs.md").await;
    story.delete("delete it again", all_of_it, "customs.md").await;
    story.delete("delete a hidden one", support_desk, "ledger.md").await;
    story.search_all_ways("after a replace and a delete", &both).await;
    for question in QUESTIONS {
        story.answer(&format!("answer {question}"), all_of_it, question).await;
        story.answer(&format!("answer the support desk {question}"), support_desk, question).await;
    }
    let nobody = AnswerRequest { question: "why?".into(), generator: "nobody".to_owned(), ..Default::default() };
    story.hear("answer by nobody", all(all_of_it.answers().answer(nobody))).await;

    let handbook = GetCollectionRequest { name: "handbook".to_owned() };
    story.hear("the collection", one(support_desk.collections().get_collection(handbook))).await;
    let notes = DeleteCollectionRequest { name: "notes".to_owned() };
    story.hear("delete a collection", one(all_of_it.collections().delete_collection(notes))).await;
    let list = ListCollectionsRequest::default();
    story.hear("the collections", one(all_of_it.collections().list_collections(list))).await;
    let acme = GetTenantRequest { name: "acme".to_owned() };
    story.hear("the tenant", one(operator.tenants().get_tenant(acme))).await;
    let revoke = RevokeKeyRequest { id: support.key.unwrap().id };
    story.hear("revoke a key", one(all_of_it.keys().revoke_key(revoke))).await;
    story.hear("the keys", one(all_of_it.keys().list_keys(ListKeysRequest::default()))).await;
    story.get("get with a revoked key", support_desk, "returns.md", 0).await;
    server.stop().await;
    story.replies
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_told_the_same_bytes_alone_and_beside_another() {
    let (alone, beside) = (told(false).await, told(true).await);
    assert_eq!(alone.len(), beside.len());
    for (alone, beside) in alone.iter().zip(&beside) {
        assert_eq!(alone.shown, beside.shown, "{}", alone.what);
        assert_eq!(alone.bytes, beside.bytes, "{}", alone.what);
    }
}
