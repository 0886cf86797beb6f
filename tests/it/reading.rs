//! Files of every format through the server: found, shown with their place in the original, given back byte by byte; what cannot
//! be read is refused by name and holds nobody up.

use std::path::{Path, PathBuf};

use ibid::proto::ingest_request::Step;
use ibid::proto::ingest_response::Outcome;
use ibid::proto::{
    DocumentHeader, Duplicates, Expand, GetDocumentRequest, GetIngestReportRequest, Hit, IngestCommit, IngestRequest,
    PutDocumentRequest, SearchMode, SearchRequest, SearchSettings, Stage,
};
use tonic::Code;

use crate::harness::{Client, TestServer, header, reason};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/formats");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.is_file() && file.extension().is_some_and(|extension| extension != "outline"));
    files.sort();
    files
}

/// What the file is read into, as its expectation says; `None`: it is refused.
fn expected(file: &Path) -> Option<String> {
    let outline = std::fs::read_to_string(format!("{}.outline", file.display())).unwrap();
    (!outline.lines().nth(1).unwrap_or_default().starts_with("error: ")).then_some(outline)
}

async fn search(client: &Client, question: &str, settings: SearchSettings) -> Vec<Hit> {
    let settings = SearchSettings { mode: SearchMode::Lexical.into(), ..settings };
    let request =
        SearchRequest { question: question.to_owned().into(), settings: Some(settings), ..Default::default() };
    client.searches().search(request).await.unwrap().into_inner().hits
}

/// The document's own bytes.
async fn original(client: &Client, document_id: &str) -> Vec<u8> {
    let request = GetDocumentRequest {
        collection: "default".to_owned(),
        document_id: document_id.to_owned(),
        original: true,
        ..Default::default()
    };
    let mut pieces = client.documents().get_document(request).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        bytes.extend_from_slice(&piece.content);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_every_format_is_read_and_what_cannot_be_holds_nobody_up() {
    let server = TestServer::start().await;
    let client = server.default_tenant().await;
    let files = files();
    let (steps, stream) = tokio::sync::mpsc::channel(4);
    let mut acks =
        client.documents().ingest(tokio_stream::wrappers::ReceiverStream::new(stream)).await.unwrap().into_inner();
    let sending = files.clone();
    let send = tokio::spawn(async move {
        for file in sending {
            let name = file.file_name().unwrap().to_str().unwrap();
            let content = std::fs::read(&file).unwrap().into();
            let header = DocumentHeader { wait_for: Stage::Lexical.into(), ..header(name) };
            for step in [Step::Header(header), Step::Part(content), Step::Commit(IngestCommit {})] {
                steps.send(IngestRequest { step: Some(step) }).await.unwrap();
            }
        }
    });
    assert!(acks.message().await.unwrap().unwrap().outcome.is_none(), "credit comes first");
    for file in &files {
        let ack = acks.message().await.unwrap().unwrap();
        let (name, expected) = (file.file_name().unwrap().to_str().unwrap(), expected(file));
        match (ack.outcome.unwrap(), expected) {
            (Outcome::Result(result), Some(_)) => assert_eq!(result.document_id, name),
            (Outcome::Error(error), None) => {
                assert_eq!(error.code, i32::from(Code::InvalidArgument), "{name}: {}", error.message);
            }
            (outcome, expected) => panic!("{name}: {outcome:?}, expected {expected:?}"),
        }
    }
    send.await.unwrap();
    let utf16: Vec<u8> = "\u{feff}# Käse\n\nReift im Keller.\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let put = PutDocumentRequest { header: Some(header("cheese.md")), content: utf16.clone().into() };
    client.documents().put_document(put).await.unwrap();
    assert_eq!(client.get("cheese.md").await.unwrap().1, "# Käse\n\nReift im Keller.\n".as_bytes());
    assert_eq!(original(&client, "cheese.md").await, utf16, "its own bytes, not those of the stored text");
    for file in files.iter().filter(|file| expected(file).is_some()) {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert_eq!(original(&client, name).await, std::fs::read(file).unwrap(), "{name}");
        let (first, text) = client.get(name).await.unwrap();
        let chunks = first.document.unwrap().chunks;
        assert!(chunks > 0, "{name} has nothing to search");
        assert!(String::from_utf8(text).is_ok(), "{name}");
    }
    let report = client
        .collections()
        .get_ingest_report(GetIngestReportRequest { name: "default".to_owned() })
        .await
        .unwrap()
        .into_inner()
        .report
        .unwrap();
    let documents: u64 = report.formats.iter().map(|format| format.documents).sum();
    assert_eq!(documents as usize, 1 + files.iter().filter(|file| expected(file).is_some()).count());
    assert_eq!(report.token_histogram.iter().map(|step| step.chunks).sum::<u64>(), report.chunks);
    assert!(report.chunks_table > 0 && report.chunks_code > 0, "{report:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sentence_changed_costs_few_chunks_and_leaves_the_other_ids() {
    let server = TestServer::start().await;
    let client = server.default_tenant().await;
    let sentence = |section: usize, n: usize| {
        format!(
            "Pump {section} of line {n} is checked by the {} shift every {} days, and its filter is washed with it. ",
            ["early", "late", "night"][n % 3],
            3 + n % 11
        )
    };
    let section = |number: usize| {
        let sentences: String = (0..40).map(|n| sentence(number, n)).collect();
        format!("## Pump {number}\n\n{sentences}\n\n")
    };
    let text: String = (0..140).map(section).collect();
    client.put("manual.md", &text).await.unwrap();
    let before = client.get("manual.md").await.unwrap().0.document.unwrap();
    assert!(before.chunks >= 500, "{} chunks", before.chunks);
    let changed = text.replacen("Pump 70 of line 20 is checked", "Pump 70 of line 20 is looked over with care", 1);
    let ack = client.put("manual.md", &changed).await.unwrap();
    assert!((1..=3).contains(&ack.chunks_new), "{ack:?}");
    assert_eq!(ack.chunks_new + ack.chunks_reused, client.get("manual.md").await.unwrap().0.document.unwrap().chunks);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_says_the_same_is_ranked_once_and_passages_are_told_once() {
    const NOTICE: &str = "Parcels above thirty kilos travel on a pallet and are handed over at the kerb; two people should be there \
                          to carry them in, for the driver may not leave the van.";
    let server = TestServer::start().await;
    let client = server.default_tenant().await;
    for id in ["a.md", "b.md", "c.md"] {
        client.put(id, &format!("# Parcels\n\n{NOTICE}\n")).await.unwrap();
    }
    client.put("d.md", &format!("# Parcels\n\n{}\n", NOTICE.replace("two people", "2 people"))).await.unwrap();
    let once = search(&client, "parcels above thirty kilos on a pallet", SearchSettings::default()).await;
    assert_eq!(once.len(), 2, "three say the same, one says it with a number");
    let with_copies = once.iter().find(|hit| !hit.duplicates.is_empty()).unwrap();
    assert_eq!(with_copies.duplicates.len(), 2);
    let keep = SearchSettings { duplicates: Duplicates::Keep.into(), ..Default::default() };
    assert_eq!(search(&client, "parcels above thirty kilos on a pallet", keep).await.len(), 4);

    let months = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October"];
    let line = |month: &&str| {
        let (quay, hours) = (month.len(), month.as_bytes()[1] - b'a');
        format!(
            "In {month} the ferry to the island leaves quay {quay} every {hours} hours, and its timetable hangs at the kiosk.\n\n"
        )
    };
    let text = format!("# Boats\n\n{}", months.iter().map(line).collect::<String>());
    client.put("boats.md", &text).await.unwrap();
    let section = SearchSettings { expand: Expand::Section.into(), ..Default::default() };
    let hits = search(&client, "ferry island timetable kiosk", section).await;
    assert!(hits.len() > 1, "{hits:?}");
    let passage = hits[0].passage.clone().unwrap();
    let span = passage.span.unwrap();
    assert_eq!(passage.text, text[span.start_byte as usize..span.end_byte as usize]);
    assert!(passage.text.len() > hits[0].text.len());
    assert!(hits[1..].iter().all(|hit| hit.passage.as_ref().unwrap().with_rank == 1), "told once");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_row_is_found_by_its_header_and_by_its_place() {
    let server = TestServer::start().await;
    let client = server.default_tenant().await;
    let rows: String = (0..200).map(|n| format!("A-{n:04},{},{}\n", n * 7, ["red", "blue"][n % 2])).collect();
    client.put("parts.csv", &format!("article,weight grams,colour\n{rows}")).await.unwrap();
    let hits = search(&client, "A-0150 weight grams", SearchSettings::default()).await;
    let hit = &hits[0];
    assert!(hit.text.contains("A-0150,1050,red") && !hit.text.contains("article"), "{}", hit.text);
    assert_eq!(hit.context, "article,weight grams,colour");

    let broken = PutDocumentRequest { header: Some(header("a.json")), content: b"{\"a\": [1, 2".to_vec().into() };
    let refused = client.documents().put_document(broken).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "CONTENT_MALFORMED"));
    assert!(refused.message().contains("byte"), "{}", refused.message());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_beside_a_chunk_counts_in_its_meaning() {
    let server = TestServer::start().await;
    let client = server.default_tenant().await;
    let ferry = "The ferry to the island crosses the bay, and its passengers go on board at the old quay. ".repeat(9);
    let prices = "Grown-ups pay eight, children four, and whoever is above seventy pays nothing at all. ".repeat(9);
    let mut cosines = Vec::new();
    client.put("boats.md", &format!("{ferry}\n\n{prices}\n\n{ferry}\n")).await.unwrap();
    client.put("baths.md", &prices).await.unwrap();
    for neighbour_weight in [Some(0.0), None, Some(1.0)] {
        let settings = SearchSettings {
            mode: SearchMode::Vector.into(),
            neighbour_weight,
            duplicates: Duplicates::Keep.into(),
            ..Default::default()
        };
        let question = "What does the ferry to the island cost?";
        let request = SearchRequest { question: question.into(), settings: Some(settings), ..Default::default() };
        let hits = client.searches().search(request).await.unwrap().into_inner().hits;
        let of = |document: &str| {
            let hit = hits.iter().find(|hit| hit.document_id == document && hit.text.starts_with("Grown-ups")).unwrap();
            hit.scores.unwrap().cosine.unwrap().score
        };
        cosines.push((of("boats.md"), of("baths.md")));
    }
    let [(alone, same), (beside, baths), (most, _)] = cosines[..] else { unreachable!() };
    assert!((alone - same).abs() < 1e-6, "the same words alone: {alone} and {same}");
    assert!(beside > alone + 0.05 && most > beside, "beside the ferry: {alone}, {beside}, {most}");
    assert!((baths - same).abs() < 1e-6, "beside nothing: {same}, {baths}");

    let settings = SearchSettings { neighbour_weight: Some(1.5), ..Default::default() };
    let request = SearchRequest { question: "?".into(), settings: Some(settings), ..Default::default() };
    let refused = client.searches().search(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("settings.neighbour_weight"), "{}", refused.message());
    server.stop().await;
}
