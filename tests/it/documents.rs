//! A document's life.

use ibid::proto::{DeleteDocumentRequest, ListDocumentsRequest, PutDocumentRequest, SearchRequest, SearchResponse};
use tonic::Code;

use crate::harness::{TestServer, fields, header, reason};

const REFUNDS: &str = "# Refunds\n\nRefunds are paid within 14 days to the card that was charged.\n";
const PARCELS: &str = "# Parcels\n\nA parcel that is lost is sent again at no cost.\n";

fn list() -> ListDocumentsRequest {
    ListDocumentsRequest { collection: "default".to_owned(), page_size: 1, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_found_read_listed_replaced_and_deleted() {
    let server = TestServer::start().await;
    let client = server.default_tenant().await;

    let put = client.put("refunds.md", REFUNDS).await.unwrap();
    assert_eq!((put.revision, put.unchanged), (1, false));
    assert!(client.put("refunds.md", REFUNDS).await.unwrap().unchanged);
    client.put("parcels.md", PARCELS).await.unwrap();

    let hits = client.search("When do I get my money back?").await.unwrap();
    assert_eq!((hits[0].document_id.as_str(), hits[0].rank), ("refunds.md", 1));
    let span = hits[0].span.unwrap();
    assert_eq!(hits[0].text, REFUNDS[span.start_byte as usize..span.end_byte as usize]);

    let (first, content) = client.get("refunds.md").await.unwrap();
    assert_eq!(content, REFUNDS.as_bytes());
    assert_eq!(first.document.unwrap().title, "Refunds");

    let page = client.documents().list_documents(list()).await.unwrap().into_inner();
    assert_eq!(page.documents[0].document_id, "parcels.md");
    let next = ListDocumentsRequest { page_token: page.next_page_token, ..list() };
    let page = client.documents().list_documents(next).await.unwrap().into_inner();
    assert_eq!((page.documents[0].document_id.as_str(), page.next_page_token.as_str()), ("refunds.md", ""));

    assert_eq!(client.put("refunds.md", "# Refunds\n\nThere are none.\n").await.unwrap().revision, 2);
    assert!(client.search("refunds").await.unwrap().iter().all(|hit| !hit.text.contains("14 days")));

    let delete = DeleteDocumentRequest { collection: "default".to_owned(), document_id: "refunds.md".to_owned() };
    client.documents().delete_document(delete.clone()).await.unwrap();
    assert!(client.search("refunds").await.unwrap().iter().all(|hit| hit.document_id != "refunds.md"));
    assert_eq!(client.get("refunds.md").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.documents().delete_document(delete).await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_and_keys_outlive_a_restart() {
    let server = TestServer::start().await;
    server.default_tenant().await.put("refunds.md", REFUNDS).await.unwrap();
    let server = server.restart().await;
    let client = server.default_tenant().await;
    assert_eq!(client.search("refunds").await.unwrap()[0].document_id, "refunds.md");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_told_how_long_it_queued_and_is_embedded_once() {
    let server = TestServer::start().await;
    let client = server.default_tenant().await;
    client.put("refunds.md", REFUNDS).await.unwrap();
    let question = SearchRequest { question: "When do I get my money back?".into(), ..Default::default() };
    let search = || async { client.searches().search(question.clone()).await.unwrap().into_inner() };
    let passes = |reply: &SearchResponse| {
        let stages = &reply.timings.as_ref().unwrap().stages;
        let of = |stage: &str| stages.iter().filter(|one| one.stage == stage).map(|one| one.count).collect::<Vec<_>>();
        (of("infer.queue"), of("infer.forward"))
    };
    let (first, again) = (search().await, search().await);
    // The question, then its one pair; asked again, the pair alone.
    assert_eq!(passes(&first), (vec![1, 1], vec![1, 1]));
    assert_eq!(passes(&again), (vec![1], vec![1]));
    assert_eq!(SearchResponse { timings: None, ..first }, SearchResponse { timings: None, ..again });
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_field_is_named() {
    let server = TestServer::start().await;
    let client = server.default_tenant().await;
    let put = |content: &'static [u8], media_type: &str| PutDocumentRequest {
        header: Some(ibid::proto::DocumentHeader { media_type: media_type.to_owned(), ..header("a.md") }),
        content: content.into(),
    };
    let refused = |request| {
        let mut documents = client.documents();
        async move { documents.put_document(request).await.unwrap_err() }
    };
    assert_eq!(fields(&refused(put(b"a\xff", "")).await), ["content"]);
    assert_eq!(fields(&refused(put(b" \n", "")).await), ["content"]);
    assert_eq!(fields(&refused(put(b"a", "application/zip")).await), ["header.media_type"]);
    assert_eq!(fields(&refused(put(b"a", "application/pdf")).await), ["content"]);
    let large = PutDocumentRequest { header: Some(header("a.md")), content: vec![b'a'; 16 << 20].into() };
    assert_eq!(fields(&refused(large).await), ["content"]);

    let question = SearchRequest { question: b"\xff".to_vec().into(), ..Default::default() };
    let refused = client.searches().search(question).await.unwrap_err();
    assert_eq!((fields(&refused), reason(&refused).as_str()), (vec!["question".to_owned()], "INVALID_FIELD"));
    server.stop().await;
}
