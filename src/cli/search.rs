//! The best chunks for a question.

use clap::{Args, ValueEnum};
use tonic::Request;

use super::Global;
use super::session::{As, Session, explain};
use super::terminal::{bold, cyan, dim, one_line, plain};
use crate::proto;

/// Find the best chunks for a question.
#[derive(Debug, Args)]
pub(super) struct Search {
    /// The question
    question: String,
    #[command(flatten)]
    settings: Settings,
    /// How many hits
    #[arg(long, default_value_t = 5)]
    top_k: u32,
    /// Show each stage's scores
    #[arg(long)]
    scores: bool,
}

/// Where and how to look.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// The collection; given several times for several [default: all of the tenant]
    #[arg(long, value_name = "NAME")]
    collection: Vec<String>,
    /// Which arms look
    #[arg(long, value_enum, default_value = "hybrid")]
    mode: Mode,
    /// How many candidates are reranked; 0: none [default: the server's]
    #[arg(long)]
    rerank_depth: Option<u32>,
    /// How much the text around a chunk counts in its meaning, 0 to 1 [default: 0.35]
    #[arg(long, value_name = "WEIGHT")]
    neighbour_weight: Option<f32>,
    /// How much of its document comes with a hit
    #[arg(long, value_enum, default_value = "none")]
    expand: Expand,
    /// Show chunks that say the same each by itself
    #[arg(long)]
    keep_duplicates: bool,
    /// A past generation of the one collection that is searched, as far as replaced revisions are kept [default: the present]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(super) generation: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Mode {
    /// By words and by meaning
    Hybrid,
    /// By words
    Lexical,
    /// By meaning
    Vector,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Expand {
    /// The chunk alone
    None,
    /// The chunk before and the one after
    Neighbours,
    /// All under the same headings
    Section,
}

impl Settings {
    pub(super) fn into_proto(self, top_k: Option<u32>) -> proto::SearchSettings {
        let mode = match self.mode {
            Mode::Hybrid => proto::SearchMode::Hybrid,
            Mode::Lexical => proto::SearchMode::Lexical,
            Mode::Vector => proto::SearchMode::Vector,
        };
        proto::SearchSettings {
            collections: self.collection,
            mode: mode.into(),
            top_k,
            rerank: self.rerank_depth.map(|depth| proto::Rerank { depth, ..proto::Rerank::default() }),
            neighbour_weight: self.neighbour_weight,
            expand: match self.expand {
                Expand::None => proto::Expand::None,
                Expand::Neighbours => proto::Expand::Neighbours,
                Expand::Section => proto::Expand::Section,
            }
            .into(),
            duplicates: if self.keep_duplicates { proto::Duplicates::Keep } else { proto::Duplicates::Collapse }.into(),
            ..proto::SearchSettings::default()
        }
    }
}

impl Search {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let session = Session::open(global, As::Tenant).await?;
        let request = proto::SearchRequest {
            question: self.question.into_bytes().into(),
            query_vector: Vec::new(),
            generation: self.settings.generation,
            settings: Some(self.settings.into_proto(Some(self.top_k))),
        };
        let reply = session.search().search(Request::new(request)).await;
        let reply = reply.map_err(|status| explain(&status))?.into_inner();
        session.close().await?;
        if global.json {
            let searched = |one: &proto::SearchedCollection| (one.name.clone(), one.generation.into());
            let generations: serde_json::Map<String, serde_json::Value> =
                reply.collections.iter().map(searched).collect();
            let hits: Vec<_> = reply.hits.iter().map(json).collect();
            println!("{}", serde_json::json!({"hits": hits, "generations": generations}));
            return Ok(());
        }
        if reply.hits.is_empty() {
            println!("nothing found");
        }
        for hit in &reply.hits {
            show(hit, self.scores);
        }
        if let Some(timings) = &reply.timings {
            println!("{}", dim(timing_line(timings)));
        }
        Ok(())
    }
}

fn show(hit: &proto::Hit, scores: bool) {
    println!("{} {}", bold(format!("{}.", hit.rank)), cyan(place(hit)));
    let original = hit.places.iter().map(original).collect::<Vec<_>>().join(", ");
    if !original.is_empty() {
        println!("   {}", dim(plain(&original)));
    }
    println!("   {}", one_line(&hit.text, 240));
    match &hit.passage {
        Some(proto::Passage { with_rank, .. }) if *with_rank > 0 => {
            println!("   {}", dim(format!("in the passage of {with_rank}.")))
        }
        Some(passage) => println!("   {}", dim(one_line(&passage.text, 480))),
        None => {}
    }
    for duplicate in &hit.duplicates {
        println!("   {}", dim(plain(&format!("also in {}/{}", duplicate.collection, duplicate.document_id))));
    }
    if scores && let Some(scores) = &hit.scores {
        let stage = |name: &str, ranked: &Option<proto::RankedScore>| {
            ranked.as_ref().map(|ranked| format!("{name} {:.4} (#{})", ranked.score, ranked.rank))
        };
        let stages = [
            stage("bm25", &scores.bm25),
            stage("cosine", &scores.cosine),
            stage("rrf", &scores.rrf),
            stage("small rerank logit", &scores.small_logit),
            stage("rerank logit", &scores.rerank_logit),
            stage("relevance", &scores.relevance),
            stage("mixed", &scores.mixed),
        ];
        println!("   {}", dim(stages.into_iter().flatten().collect::<Vec<_>>().join("  ")));
    }
}

/// Where a hit stands, as a person reads it.
pub(super) fn place(hit: &proto::Hit) -> String {
    let headings = hit.heading_path.join(" › ");
    let separator = if headings.is_empty() { "" } else { " › " };
    plain(&format!("{}/{}{separator}{headings}", hit.collection, hit.document_id))
}

/// A place in the original, as a person reads it.
pub(super) fn original(place: &proto::Place) -> String {
    use proto::place::Place;
    match &place.place {
        Some(Place::Page(page)) => format!("page {}", page.page),
        Some(Place::Slide(slide)) => format!("slide {slide}"),
        Some(Place::Rows(proto::RowsPlace { sheet, first, last })) if first == last => format!("{sheet}, row {first}"),
        Some(Place::Rows(proto::RowsPlace { sheet, first, last })) => format!("{sheet}, rows {first} to {last}"),
        Some(Place::Pointer(pointer)) => pointer.clone(),
        Some(Place::Part(part)) => part.clone(),
        None => String::new(),
    }
}

/// The stages and their times, on one line.
pub(super) fn timing_line(timings: &proto::Timings) -> String {
    let stage = |stage: &proto::StageTiming| {
        let count = if stage.count > 0 { format!(" ({})", stage.count) } else { String::new() };
        format!("{} {}{count}", stage.stage, time(stage.took_us))
    };
    let stages: Vec<String> = timings.stages.iter().map(stage).collect();
    format!("{} in all: {}", time(timings.total_us), stages.join(", "))
}

fn time(us: u64) -> String {
    if us < 1_000 { format!("{us} µs") } else { format!("{:.1} ms", us as f64 / 1e3) }
}

fn json(hit: &proto::Hit) -> serde_json::Value {
    let span = hit.span.unwrap_or_default();
    serde_json::json!({
        "rank": hit.rank, "collection": hit.collection, "document_id": hit.document_id, "revision": hit.revision,
        "chunk_id": hit.chunk_id, "start_byte": span.start_byte, "end_byte": span.end_byte, "title": hit.title,
        "heading_path": hit.heading_path, "text": hit.text, "context": hit.context,
        "places": hit.places.iter().map(original).collect::<Vec<_>>(),
        "duplicates": hit.duplicates.iter().map(|one| &one.document_id).collect::<Vec<_>>(),
        "passage": hit.passage.as_ref().map(|passage| &passage.text),
    })
}
