//! Past generations and receipts, from outside.

use ibid::proto::{
    AnswerRequest, CitationState, CreateCollectionRequest, CreateKeyRequest, DeleteDocumentRequest, DocumentHeader,
    Hit, PutDocumentRequest, ResolveCitationRequest, ResolveCitationResponse, Scope, SearchRequest, SearchResponse,
    SearchSettings, Span, Stage,
};
use tonic::{Code, Status};

use crate::harness::{Client, TestServer, fields, header, reason};

const KEPT: &str = "ledger.retain_revisions_s = 3600\n";
const TWO_WEEKS: &str = "# Refunds\n\nRefunds are paid within 14 days to the card that was charged.\n";
const A_MONTH: &str = "# Refunds\n\nRefunds are paid within 30 days to the card that was charged.\n";
const PARCELS: &str = "# Parcels\n\nA parcel that is lost is sent again at no cost.\n";

async fn search(client: &Client, generation: u64) -> Result<SearchResponse, Status> {
    let settings = Some(SearchSettings { collections: vec!["default".to_owned()], ..Default::default() });
    let question = "Within how many days are refunds paid?".into();
    let request = SearchRequest { question, settings, generation, ..Default::default() };
    Ok(SearchResponse { timings: None, ..client.searches().search(request).await?.into_inner() })
}

/// What a hit is cited as.
fn cited(hit: &Hit) -> ResolveCitationRequest {
    ResolveCitationRequest {
        collection: hit.collection.clone(),
        document_id: hit.document_id.clone(),
        revision: hit.revision,
        chunk_id: hit.chunk_id.clone(),
        span: hit.span,
        quote_blake3: blake3::hash(hit.text.as_bytes()).as_bytes().to_vec().into(),
    }
}

async fn resolve(client: &Client, request: &ResolveCitationRequest) -> Result<ResolveCitationResponse, Status> {
    Ok(client.documents().resolve_citation(request.clone()).await?.into_inner())
}

async fn put_for(client: &Client, principal: &str, document_id: &str, content: &'static str) {
    let header = DocumentHeader {
        principals: vec![principal.to_owned()],
        wait_for: Stage::Vector.into(),
        ..header(document_id)
    };
    let request = PutDocumentRequest { header: Some(header), content: content.into() };
    client.documents().put_document(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_generation_is_searched_as_it_was_and_its_citations_resolve() {
    let server = TestServer::start_with(KEPT).await;
    let client = server.default_tenant().await;
    client.put("refunds.md", TWO_WEEKS).await.unwrap();
    client.put("parcels.md", PARCELS).await.unwrap();
    let then = search(&client, 0).await.unwrap();
    assert_eq!(then.collections[0].generation, 2);
    let citation = cited(&then.hits[0]);
    let resolved = resolve(&client, &citation).await.unwrap();
    assert_eq!((resolved.state(), resolved.current_revision), (CitationState::Current, 1));
    assert!(resolved.stored && resolved.quote_matches && resolved.quote == then.hits[0].text);

    client.put("refunds.md", A_MONTH).await.unwrap();
    assert!(search(&client, 0).await.unwrap().hits[0].text.contains("30 days"));
    assert_eq!(search(&client, 2).await.unwrap(), then);
    let server = server.restart().await;
    let client = server.default_tenant().await;
    assert_eq!(search(&client, 2).await.unwrap(), then);
    let resolved = resolve(&client, &citation).await.unwrap();
    assert_eq!((resolved.state(), resolved.current_revision), (CitationState::Superseded, 2));
    assert!(resolved.quote_matches && resolved.chunk_place.is_none());
    let answer = AnswerRequest {
        question: "Within how many days are refunds paid?".into(),
        generator: "extractive".to_owned(),
        generation: 2,
        ..Default::default()
    };
    let mut events = client.answers().answer(answer).await.unwrap().into_inner();
    let first = events.message().await.unwrap().unwrap();
    assert!(format!("{:?}", first.event).contains("14 days"), "{first:?}");

    let delete = DeleteDocumentRequest { collection: "default".to_owned(), document_id: "refunds.md".to_owned() };
    client.documents().delete_document(delete).await.unwrap();
    let found = search(&client, 2).await.unwrap();
    assert!(found.hits.iter().all(|hit| hit.document_id == "parcels.md"), "{found:?}");
    let resolved = resolve(&client, &citation).await.unwrap();
    assert_eq!((resolved.state(), resolved.current_revision), (CitationState::Erased, 0));
    assert!(!resolved.stored && resolved.quote.is_empty() && !resolved.quote_matches);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_resolved_or_searched_is_refused_with_its_field() {
    let server = TestServer::start().await;
    let client = server.default_tenant().await;
    client.put("refunds.md", TWO_WEEKS).await.unwrap();
    client.put("refunds.md", A_MONTH).await.unwrap();
    for generation in [1, 3] {
        let refused = search(&client, generation).await.unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (Code::OutOfRange, vec!["generation".to_owned()]), "{refused}");
    }
    assert_eq!(search(&client, 2).await.unwrap(), search(&client, 0).await.unwrap());
    let citation = cited(&search(&client, 0).await.unwrap().hits[0]);
    let refused = async |change: fn(&mut ResolveCitationRequest)| {
        let mut request = citation.clone();
        change(&mut request);
        let refused = resolve(&client, &request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        fields(&refused).join(" ")
    };
    assert_eq!(refused(|it| it.collection.clear()).await, "collection");
    assert_eq!(refused(|it| it.document_id.clear()).await, "document_id");
    assert_eq!(refused(|it| it.revision = 0).await, "revision");
    assert_eq!(refused(|it| it.revision = 3).await, "revision");
    assert_eq!(refused(|it| it.chunk_id = "xyz".to_owned()).await, "chunk_id");
    assert_eq!(refused(|it| it.chunk_id = "ab".repeat(16)).await, "chunk_id");
    assert_eq!(refused(|it| it.span = Some(Span { start_byte: 5, end_byte: 5 })).await, "span");
    assert_eq!(refused(|it| it.quote_blake3 = vec![0; 31].into()).await, "quote_blake3");
    // What was replaced is not kept here.
    let old = ResolveCitationRequest { revision: 1, ..citation.clone() };
    let resolved = resolve(&client, &old).await.unwrap();
    assert_eq!((resolved.state(), resolved.stored), (CitationState::Superseded, false));

    let admin = server.again("default", &[Scope::Admin]).await;
    let second = CreateCollectionRequest { name: "second".to_owned(), settings: None };
    admin.collections().create_collection(second).await.unwrap();
    let both = SearchRequest { question: "refunds".into(), generation: 1, ..Default::default() };
    let refused = client.searches().search(both).await.unwrap_err();
    assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["generation".to_owned()]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_and_a_key_that_may_not_read_are_told_nothing() {
    let server = TestServer::start_with(KEPT).await;
    let client = server.default_tenant().await;
    put_for(&client, "board", "refunds.md", TWO_WEEKS).await;
    put_for(&client, "board", "refunds.md", A_MONTH).await;
    client.put("parcels.md", PARCELS).await.unwrap();
    let hit = search(&client, 1).await.unwrap().hits.remove(0);
    assert_eq!((hit.revision, hit.document_id.as_str()), (1, "refunds.md"));
    let citation = cited(&hit);
    let (other, _) = server.tenant("other", &[Scope::Search]).await;
    let request = CreateKeyRequest {
        tenant: "default".to_owned(),
        scopes: vec![Scope::Search.into()],
        principals: vec!["desk".to_owned()],
        ..Default::default()
    };
    let desk = server.operator().await.keys().create_key(request).await.unwrap().into_inner();
    let desk = server.client(&desk.secret).await;
    assert!(search(&desk, 1).await.unwrap().hits.is_empty());

    let never = ResolveCitationRequest { document_id: "never.md".to_owned(), ..citation.clone() };
    let delete = DeleteDocumentRequest { collection: "default".to_owned(), document_id: "refunds.md".to_owned() };
    for deleted in [false, true] {
        for stranger in [&other, &desk] {
            let (told, nothing) =
                (resolve(stranger, &citation).await.unwrap_err(), resolve(stranger, &never).await.unwrap_err());
            assert_eq!((told.code(), reason(&told)), (nothing.code(), reason(&nothing)), "{deleted}");
            assert_eq!(told.message().replace("refunds", "never"), nothing.message());
            assert_eq!(told.code(), Code::NotFound);
        }
        if !deleted {
            client.documents().delete_document(delete.clone()).await.unwrap();
        }
    }
    assert_eq!(resolve(&client, &citation).await.unwrap().state(), CitationState::Erased);
    assert_eq!(resolve(&client, &never).await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}
