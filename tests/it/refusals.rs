//! Input that makes no sense: each row is a request, the code it gets and what the details name. The server says what is
//! wrong and goes on.

use ibid::proto::filter::Kind;
use ibid::proto::value::Kind as ValueKind;
use ibid::proto::{
    AnswerRequest, CollectionSettings, CompareOp, CreateCollectionRequest, CreateKeyRequest, DeleteDocumentRequest,
    DeleteTenantRequest, DocumentHeader, FieldCondition, Filter, FilterList, Fusion, GetDocumentRequest,
    ListDocumentsRequest, ListKeysRequest, ListTenantsRequest, PutDocumentRequest, ReadyChunk, Rerank,
    RevokeKeyRequest, Role, Scope, SearchRequest, SearchSettings, Span, Turn, Value, ValueType,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Client, TestServer, header, reason};

const DIMENSION: usize = 384;

/// A call.
enum Ask {
    Put(PutDocumentRequest),
    Get(GetDocumentRequest),
    List(ListDocumentsRequest),
    Delete(DeleteDocumentRequest),
    Search(SearchRequest),
    Answer(AnswerRequest),
    CreateCollection(CreateCollectionRequest),
    CreateKey(CreateKeyRequest),
    RevokeKey(RevokeKeyRequest),
    ListKeys(ListKeysRequest),
    ListTenants(ListTenantsRequest),
}

impl Ask {
    async fn refused(self, client: &Client) -> Status {
        let answered = match self {
            Ask::Put(request) => client.documents().put_document(request).await.map(drop),
            Ask::Get(request) => client.documents().get_document(request).await.map(drop),
            Ask::List(request) => client.documents().list_documents(request).await.map(drop),
            Ask::Delete(request) => client.documents().delete_document(request).await.map(drop),
            Ask::Search(request) => client.searches().search(request).await.map(drop),
            Ask::Answer(request) => client.answers().answer(request).await.map(drop),
            Ask::CreateCollection(request) => client.collections().create_collection(request).await.map(drop),
            Ask::CreateKey(request) => client.keys().create_key(request).await.map(drop),
            Ask::RevokeKey(request) => client.keys().revoke_key(request).await.map(drop),
            Ask::ListKeys(request) => client.keys().list_keys(request).await.map(drop),
            Ask::ListTenants(request) => client.tenants().list_tenants(request).await.map(drop),
        };
        answered.err().unwrap_or_else(|| Status::ok("not refused"))
    }
}

/// What a refusal's details name.
#[derive(Debug, PartialEq)]
enum Names {
    /// The field, and a piece of what is said of it.
    Field(&'static str, &'static str),
    /// The kind of thing that is not there.
    Resource(&'static str),
    /// The stable reason.
    Reason(&'static str),
}

/// A request, the code it gets and what the details name.
type Row = (Ask, Code, Names);

/// A row for a field that is refused with INVALID_ARGUMENT.
fn invalid(ask: Ask, field: &'static str, problem: &'static str) -> Row {
    (ask, Code::InvalidArgument, Names::Field(field, problem))
}

fn put_content(content: &'static [u8]) -> Ask {
    Ask::Put(PutDocumentRequest { header: Some(header("a.md")), content: content.into() })
}

fn put(change: impl FnOnce(&mut DocumentHeader)) -> Ask {
    let mut header = header("a.md");
    change(&mut header);
    Ask::Put(PutDocumentRequest { header: Some(header), content: "häuser und wege".into() })
}

fn search(change: impl FnOnce(&mut SearchRequest)) -> Ask {
    let mut request = SearchRequest { question: "why?".into(), ..Default::default() };
    change(&mut request);
    Ask::Search(request)
}

fn set(change: impl FnOnce(&mut SearchSettings)) -> Ask {
    search(|request| change(request.settings.insert(SearchSettings::default())))
}

fn filtered(filter: Filter) -> Ask {
    set(|settings| settings.filter = Some(filter))
}

fn list(change: impl FnOnce(&mut ListDocumentsRequest)) -> Ask {
    let mut request = ListDocumentsRequest { collection: "default".to_owned(), ..Default::default() };
    change(&mut request);
    Ask::List(request)
}

fn get(document_id: &str, start_byte: u64, end_byte: u64) -> Ask {
    let (collection, document_id) = ("default".to_owned(), document_id.to_owned());
    Ask::Get(GetDocumentRequest { collection, document_id, start_byte, end_byte, revision: 0, original: false })
}

fn delete(document_id: &str) -> Ask {
    Ask::Delete(DeleteDocumentRequest { collection: "default".to_owned(), document_id: document_id.to_owned() })
}

fn answer(change: impl FnOnce(&mut AnswerRequest)) -> Ask {
    let mut request = AnswerRequest { question: "why?".into(), ..Default::default() };
    change(&mut request);
    Ask::Answer(request)
}

fn create_collection(name: &str, settings: CollectionSettings) -> Ask {
    Ask::CreateCollection(CreateCollectionRequest { name: name.to_owned(), settings: Some(settings) })
}

fn create_key(scope: Scope) -> Ask {
    Ask::CreateKey(CreateKeyRequest { scopes: vec![scope.into()], ..Default::default() })
}

fn chunk(start_byte: u32, end_byte: u32) -> ReadyChunk {
    ReadyChunk { span: Some(Span { start_byte, end_byte }), vector: Vec::new() }
}

fn chunks(chunks: &[ReadyChunk]) -> Ask {
    put(|header| header.chunks = chunks.to_vec())
}

fn text(text: &str) -> Value {
    Value { kind: Some(ValueKind::StringValue(text.to_owned())) }
}

fn condition(op: CompareOp, values: Vec<Value>) -> Filter {
    Filter { kind: Some(Kind::Field(FieldCondition { field: "year".to_owned(), op: op.into(), values })) }
}

fn not(inner: Filter) -> Filter {
    Filter { kind: Some(Kind::Not(Box::new(inner))) }
}

fn documents() -> Vec<Row> {
    let content = "content";
    let vector = |length| ReadyChunk { vector: vec![1.0; length], ..chunk(0, 5) };
    vec![
        invalid(put_content(b""), content, "is empty"),
        invalid(put_content(b" \n\t"), content, "is empty"),
        invalid(put_content(&[b'a'; 2_049]), content, "has 2049 bytes, expected at most 2048"),
        invalid(put_content(b"ok \xff"), content, "is not UTF-8 from byte 3 on"),
        invalid(Ask::Put(PutDocumentRequest::default()), "header", "is missing"),
        invalid(put(|header| header.collection = "No".to_owned()), "header.collection", "has 'N' at byte 0"),
        invalid(put(|header| header.document_id.clear()), "header.document_id", "has 0 bytes"),
        invalid(put(|header| header.document_id = "x".repeat(600)), "header.document_id", "has 600 bytes"),
        invalid(put(|header| header.document_id = "a\nb".to_owned()), "header.document_id", "at byte 1"),
        invalid(put(|header| header.media_type = "application/zip".to_owned()), "header.media_type", "text/markdown"),
        invalid(put(|header| header.title = "x".repeat(1_025)), "header.title", "has 1025 bytes"),
        invalid(put(|header| header.wait_for = 99), "header.wait_for", "99"),
        invalid(put(|header| header.principals = vec![String::new()]), "header.principals[0]", "is empty"),
        invalid(put(|header| header.metadata = [("a".to_owned(), Value::default())].into()), "header.metadata[a]", ""),
        invalid(
            put(|header| {
                header.collection = "typed".to_owned();
                header.metadata = [("year".to_owned(), text("2024"))].into();
            }),
            "header.metadata[year]",
            "schema",
        ),
        invalid(chunks(&[vector(DIMENSION - 1)]), "header.chunks[0].vector", "has 383 dimensions"),
        invalid(
            chunks(&[ReadyChunk { vector: vec![f32::NAN; DIMENSION], ..chunk(0, 5) }]),
            "header.chunks[0].vector",
            "",
        ),
        invalid(chunks(&[vector(DIMENSION), chunk(5, 6)]), "header.chunks[1].vector", "is missing"),
        invalid(chunks(&[ReadyChunk::default()]), "header.chunks[0].span", "is missing"),
        invalid(chunks(&[chunk(0, 17)]), "header.chunks[0].span", "is 0..17"),
        invalid(chunks(&[chunk(0, u32::MAX)]), "header.chunks[0].span", "is 0..4294967295"),
        invalid(chunks(&[chunk(2, 5)]), "header.chunks[0].span", "is 2..5"),
        invalid(chunks(&[chunk(3, 3)]), "header.chunks[0].span", "is 3..3"),
        invalid(chunks(&[chunk(5, 3)]), "header.chunks[0].span", "is 5..3"),
        invalid(chunks(&[chunk(0, 5), chunk(4, 8)]), "header.chunks[1].span", "starts at 4"),
        invalid(list(|list| list.page_token = "?".to_owned()), "page_token", "next_page_token"),
        invalid(list(|list| list.page_size = 1_001), "page_size", "is 1001"),
        invalid(list(|list| list.filter = Some(Filter::default())), "filter", "no kind"),
        invalid(get("good.md", 5, 4), "end_byte", "start_byte"),
        (get("good.md", 1 << 40, 0), Code::OutOfRange, Names::Field("start_byte", "the document has")),
        (get("absent.md", 0, 0), Code::NotFound, Names::Resource("document")),
        (delete("absent.md"), Code::NotFound, Names::Resource("document")),
        (put(|header| header.collection = "absent".to_owned()), Code::NotFound, Names::Resource("collection")),
        (list(|list| list.collection = "absent".to_owned()), Code::NotFound, Names::Resource("collection")),
    ]
}

fn searches() -> Vec<Row> {
    let exists = || condition(CompareOp::Exists, Vec::new());
    let fusion = |k| Some(Fusion { k: Some(k), ..Default::default() });
    let rerank = |depth, weight| Some(Rerank { depth, weight, budget_ms: None });
    let wide = Filter { kind: Some(Kind::Or(FilterList { filters: vec![exists(); 257] })) };
    let deep = (1..20).fold(exists(), |inner, _| not(inner));
    let deep_field = "settings.filter.not.not.not.not.not.not.not.not.not.not.not.not.not.not.not.not";
    vec![
        invalid(search(|search| search.question.clear()), "question", "is empty"),
        invalid(search(|search| search.question = " ".into()), "question", "is empty"),
        invalid(search(|search| search.question = b"\xc3\xa4\xff"[..].into()), "question", "from byte 2 on"),
        invalid(search(|search| search.question = vec![b'a'; 8_193].into()), "question", "has 8193 bytes"),
        invalid(search(|search| search.query_vector = vec![1.0; 3]), "query_vector", "has 3 dimensions"),
        invalid(search(|search| search.query_vector = vec![0.0; DIMENSION]), "query_vector", "is zero"),
        invalid(search(|search| search.query_vector = vec![f32::NAN; DIMENSION]), "query_vector", "finite"),
        invalid(search(|search| search.query_vector = vec![f32::MAX; DIMENSION]), "query_vector", "finite"),
        invalid(set(|set| set.mode = 99), "settings.mode", "is 99"),
        invalid(set(|set| set.top_k = Some(0)), "settings.top_k", "is 0"),
        invalid(set(|set| set.top_k = Some(1_000_000_000)), "settings.top_k", "expected 1 to 1000"),
        invalid(set(|set| set.candidates = u32::MAX), "settings.candidates", "expected 1 to 1000"),
        invalid(set(|set| set.rerank = rerank(1_000_000, None)), "settings.rerank.depth", "expected 1 to 200"),
        invalid(set(|set| set.rerank = rerank(5, Some(f32::NAN))), "settings.rerank.weight", "NaN"),
        invalid(set(|set| set.fusion = fusion(0.0)), "settings.fusion.k", "is 0"),
        invalid(set(|set| set.fusion = fusion(f32::NAN)), "settings.fusion.k", "NaN"),
        invalid(set(|set| set.cosine_floor = Some(f32::NAN)), "settings.cosine_floor", "NaN"),
        invalid(set(|set| set.collections = vec!["x/y".to_owned()]), "settings.collections[0]", "'/' at byte 1"),
        invalid(set(|set| set.collections = vec!["x".to_owned(); 17]), "settings.collections", "17"),
        invalid(filtered(Filter::default()), "settings.filter", "no kind"),
        invalid(filtered(not(Filter::default())), "settings.filter.not", "no kind"),
        invalid(filtered(condition(CompareOp::Unspecified, vec![text("x")])), "settings.filter.field.op", "not given"),
        invalid(filtered(condition(CompareOp::Eq, Vec::new())), "settings.filter", "with 0 values, expected one"),
        invalid(filtered(condition(CompareOp::In, Vec::new())), "settings.filter", "expected 1 to 1000"),
        invalid(filtered(condition(CompareOp::Eq, vec![Value::default()])), "settings.filter.field.values[0]", ""),
        invalid(filtered(wide), "settings.filter.or.filters", "257"),
        invalid(filtered(deep), deep_field, "more than 16 levels"),
        (set(|set| set.collections = vec!["absent".to_owned()]), Code::NotFound, Names::Resource("collection")),
        invalid(answer(|answer| answer.question = b"a\xff"[..].into()), "question", "from byte 1 on"),
        invalid(answer(|answer| answer.generator = "nobody".to_owned()), "generator", "extractive"),
        invalid(answer(|answer| answer.tokens_max = u32::MAX), "tokens_max", "expected 1 to 8192"),
        invalid(
            answer(|answer| answer.history = vec![Turn { role: Role::User.into(), text: b"\xff"[..].into() }]),
            "history[0].text",
            "from byte 0 on",
        ),
        invalid(
            answer(|answer| answer.search = Some(SearchSettings { top_k: Some(0), ..Default::default() })),
            "search.top_k",
            "is 0",
        ),
    ]
}

fn collections_and_keys() -> Vec<Row> {
    let model = CollectionSettings { model: "nobody/nothing".to_owned(), ..Default::default() };
    let tokens = CollectionSettings { chunk_tokens: 1_000_000, ..Default::default() };
    let schema = CollectionSettings { metadata_schema: [("year".to_owned(), 0)].into(), ..Default::default() };
    let plain = CollectionSettings::default;
    vec![
        invalid(create_collection("", plain()), "name", "has 0 bytes"),
        invalid(create_collection("a b", plain()), "name", "has ' ' at byte 1"),
        invalid(create_collection(&"x".repeat(65), plain()), "name", "has 65 bytes"),
        invalid(create_collection("fresh", model), "settings.model", "nobody/nothing"),
        invalid(create_collection("fresh", tokens), "settings.chunk_tokens", "is 1000000"),
        invalid(create_collection("fresh", schema), "settings.metadata_schema[year]", "not given"),
        (create_collection("default", plain()), Code::AlreadyExists, Names::Resource("collection")),
        invalid(create_key(Scope::Unspecified), "scopes[0]", "not given"),
        invalid(Ask::CreateKey(CreateKeyRequest::default()), "scopes", "is empty"),
        (create_key(Scope::Operator), Code::PermissionDenied, Names::Reason("FORBIDDEN")),
        invalid(Ask::RevokeKey(RevokeKeyRequest { id: "1".to_owned() }), "id", "16 hexadecimal digits"),
        (Ask::ListTenants(ListTenantsRequest::default()), Code::PermissionDenied, Names::Reason("SCOPE_MISSING")),
    ]
}

/// What a status says, in the words of `expected`.
fn said(status: &Status, expected: &Names) -> String {
    match expected {
        Names::Field(..) => {
            let refused = status.get_details_bad_request().map(|refused| refused.field_violations).unwrap_or_default();
            refused.iter().map(|one| format!("{}: {}", one.field, one.description)).collect::<Vec<_>>().join("; ")
        }
        Names::Resource(_) => status.get_details_resource_info().map(|info| info.resource_type).unwrap_or_default(),
        Names::Reason(_) => reason(status),
    }
}

fn fits(status: &Status, code: Code, names: &Names) -> bool {
    let said = said(status, names);
    let named = match names {
        Names::Field(field, problem) => {
            said.split_once(": ").is_some_and(|(given, rest)| given == *field && rest.contains(problem))
        }
        Names::Resource(expected) | Names::Reason(expected) => said == *expected,
    };
    // Every refusal has a stable reason and a message.
    status.code() == code && named && !reason(status).is_empty() && !status.message().is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_says_what_is_wrong_and_the_server_goes_on() {
    let server = TestServer::start_with("[limits]\ndocument_bytes_max = 2048\n").await;
    let client = server.default_tenant().await;
    client.put("good.md", "Refunds are paid within 14 days.").await.unwrap();
    let typed = CollectionSettings {
        metadata_schema: [("year".to_owned(), ValueType::Int.into())].into(),
        ..Default::default()
    };
    let typed = CreateCollectionRequest { name: "typed".to_owned(), settings: Some(typed) };
    client.collections().create_collection(typed).await.unwrap();

    let (reader, reader_id) = server.tenant("acme", &[Scope::Search]).await;
    let (deleted, _) = server.tenant("gone", &[Scope::Search]).await;
    let gone = DeleteTenantRequest { name: "gone".to_owned() };
    server.operator().await.tenants().delete_tenant(gone).await.unwrap();
    let denied = |ask, reason| (ask, Code::PermissionDenied, Names::Reason(reason));
    let unknown = |reason| (search(|_| {}), Code::Unauthenticated, Names::Reason(reason));

    let mut rows: Vec<(Client, Row)> = Vec::new();
    rows.extend(
        documents().into_iter().chain(searches()).chain(collections_and_keys()).map(|row| (client.clone(), row)),
    );
    rows.push((server.client("").await, unknown("KEY_MISSING")));
    rows.push((server.client("ibid_1").await, unknown("KEY_UNKNOWN")));
    rows.push((server.client(&format!("ibid_{reader_id}_{}", "0".repeat(64))).await, unknown("KEY_UNKNOWN")));
    rows.push((deleted, unknown("TENANT_DELETED")));
    for ask in [put(|_| {}), delete("a.md"), answer(|_| {}), create_collection("fresh", CollectionSettings::default())]
    {
        rows.push((reader.clone(), denied(ask, "SCOPE_MISSING")));
    }
    for ask in [create_key(Scope::Search), Ask::ListKeys(ListKeysRequest::default())] {
        rows.push((reader.clone(), denied(ask, "FORBIDDEN")));
    }
    rows.push((server.operator().await, denied(search(|_| {}), "TENANT_KEY_NEEDED")));

    let mut wrong = Vec::new();
    for (ordinal, (client, (ask, code, names))) in rows.into_iter().enumerate() {
        let status = ask.refused(&client).await;
        if !fits(&status, code, &names) {
            let said = said(&status, &names);
            wrong.push(format!("row {ordinal}: expected {code:?} {names:?}, got {status:?}, which names {said:?}"));
        }
    }
    server.operator().await.keys().revoke_key(RevokeKeyRequest { id: reader_id }).await.unwrap();
    let revoked = search(|_| {}).refused(&reader).await;
    assert_eq!((revoked.code(), reason(&revoked).as_str()), (Code::Unauthenticated, "KEY_REVOKED"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    client.put("after.md", "Parcels are sent within two days.").await.unwrap();
    assert_eq!(client.search("When are parcels sent?").await.unwrap()[0].document_id, "after.md");
    server.stop().await;
}

/// A call with a name, a name of something that is not the caller's, and one of nothing.
type Pair<'a> = (&'a dyn Fn(&str) -> Ask, &'a str, &'a str);

/// Names of one length, so that the statuses differ in nothing but the name.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ones_own_answers_as_what_does_not_exist() {
    let server = TestServer::start().await;
    let all = [Scope::Ingest, Scope::Search, Scope::Answer, Scope::Admin];
    let (acme, key_id) = server.tenant("acme", &all).await;
    acme.put("theirs.md", "The launch is on Friday.").await.unwrap();
    let vault = CreateCollectionRequest { name: "vault".to_owned(), settings: None };
    acme.collections().create_collection(vault).await.unwrap();
    let owner = server.default_tenant().await;
    let mut hidden = PutDocumentRequest { header: Some(header("hidden.md")), content: "The launch is off.".into() };
    hidden.header.as_mut().unwrap().principals = vec!["board".to_owned()];
    owner.documents().put_document(hidden).await.unwrap();
    let request = CreateKeyRequest {
        scopes: all.map(i32::from).to_vec(),
        principals: vec!["desk".to_owned()],
        ..Default::default()
    };
    let desk = server.client(&owner.keys().create_key(request).await.unwrap().into_inner().secret).await;

    let revoke = |id: &str| Ask::RevokeKey(RevokeKeyRequest { id: id.to_owned() });
    let keys = |tenant: &str| Ask::ListKeys(ListKeysRequest { tenant: tenant.to_owned() });
    let in_collection = |name: &str| set(|set| set.collections = vec![name.to_owned()]);
    let whole = |name: &str| get(name, 0, 0);
    let beyond = |name: &str| get(name, 1 << 40, 0);
    let pairs: [Pair; 9] = [
        (&whole, "theirs.md", "absent.md"),
        (&beyond, "theirs.md", "absent.md"),
        (&delete, "theirs.md", "absent.md"),
        (&whole, "hidden.md", "absent.md"),
        (&beyond, "hidden.md", "absent.md"),
        (&delete, "hidden.md", "absent.md"),
        (&in_collection, "vault", "plaza"),
        (&revoke, &key_id, "0123456789abcdef"),
        (&keys, "acme", "emca"),
    ];
    for (ask, there, absent) in pairs {
        let hidden = ask(there).refused(&desk).await;
        let missing = ask(absent).refused(&desk).await;
        assert_eq!(hidden.code(), Code::NotFound, "{hidden:?}");
        assert_eq!(text_of(&hidden).replace(there, absent), text_of(&missing));
    }
    server.stop().await;
}

/// Everything of a status that travels.
fn text_of(status: &Status) -> String {
    format!("{:?} {} {}", status.code(), status.message(), status.details().escape_ascii())
}

/// What tonic answers before a method is reached: the client's fault, said so.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_is_the_clients_to_mend() {
    let server = TestServer::start().await;
    let client = server.default_tenant().await;
    let deep = (0..200).fold(condition(CompareOp::Exists, Vec::new()), |inner, _| not(inner));
    let settings = SearchSettings { filter: Some(deep), ..Default::default() };
    let search = SearchRequest { question: "why?".into(), settings: Some(settings), ..Default::default() };
    let status = Ask::Search(search).refused(&client).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("recursion limit"), "{status:?}");

    let large = PutDocumentRequest { header: Some(header("large.md")), content: vec![b'a'; 20 << 20].into() };
    let status = Ask::Put(large).refused(&client).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("DocumentService.Ingest"), "{status:?}");
    server.stop().await;
}
