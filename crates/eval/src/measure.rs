//! A set put into an engine, its queries asked in every way that is compared.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use ibid_core::{
    CollectionName, CollectionSettings, DocumentId, Floor, Language, MediaType, Metadata, Operator, Readers,
    TenantName, Trust,
};
use ibid_engine::{Engine, Expand, Partition, Put, Stage};
use ibid_retrieve::{Duplicates, Fusion, Mode, Query, Rerank, Rerankers, Retriever};
use ibid_runtime::{Clock, Ctx, Pool, Priority};

use crate::{Beir, EvalError, Quality, Report, Run, RunReport, Runs};

/// Documents that are on their way at once.
const PUTS_AT_ONCE: usize = 64;
/// How deep a ranking is measured, in documents.
const DOCUMENTS_DEEP: usize = 100;
/// Candidates an arm that a search gives by default.
const CANDIDATES: usize = 50;

/// How far a measurement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Documents stored, of all.
    Stored(usize, usize),
    /// Chunks found by meaning, of those found by words.
    Embedded(u64, u64),
    /// Queries asked in one of the ways, of all.
    Asked(&'static str, usize, usize),
}

/// A measurement on an engine of its own.
#[derive(Debug)]
pub struct Measurement<'a> {
    /// An empty engine.
    pub engine: &'a Engine,
    /// Where queries are computed.
    pub pool: &'a Pool,
    /// The cross-encoders.
    pub rerankers: Rerankers,
    /// What times are read from.
    pub clock: Arc<dyn Clock>,
    /// How many candidates are reranked; 0: no reranked run.
    pub rerank_depth: usize,
    /// Time for it in the default run.
    pub rerank_budget: Option<Duration>,
    /// How much the chunks beside a chunk count in its meaning.
    pub neighbour_weight: f32,
}

/// Each judged query's figures, in the order of their ids, by the name of the way they were asked in.
pub type PerQuery = BTreeMap<&'static str, Vec<Quality>>;

struct Way {
    name: &'static str,
    mode: Mode,
    rerank: Rerank,
    retriever: Retriever,
}

impl Measurement<'_> {
    /// Puts `set` into the engine and asks its queries. A document scores as its best chunk. Each list starts with what a
    /// search for as many hits as are reranked gives; times are of that search, the question's embedding included. What
    /// it lacks to 100 documents follows from deeper searches that rerank nothing. Beside the report each query's figures, by
    /// way; the default's are those of the way it is.
    ///
    /// # Errors
    /// [`EvalError`]: the engine or a model failed.
    pub async fn beir(
        &self,
        set: &Beir,
        settings: CollectionSettings,
        tell: &dyn Fn(Progress),
    ) -> Result<(Report, PerQuery), EvalError> {
        let start = self.clock.monotonic();
        let model = settings.embedder.clone();
        let partition = self.fill(set, settings, tell).await?;
        let plain = |name, mode| {
            let retriever = Retriever::new(self.pool.clone(), None);
            self.ask(set, &partition, Way { name, mode, rerank: Rerank::Off, retriever }, tell)
        };
        let mut per_query = PerQuery::new();
        let mut keep = |name, (report, queries)| {
            per_query.insert(name, queries);
            Some(report)
        };
        let mut runs = Runs {
            lexical: keep("lexical", plain("lexical", Mode::Lexical).await?),
            vector: keep("vector", plain("vector", Mode::Vector).await?),
            fused: keep("fused", plain("fused", Mode::Hybrid).await?),
            ..Runs::default()
        };
        runs.default = runs.fused;
        if self.rerank_depth > 0 {
            let reranked = |name, budget| {
                let retriever = Retriever::new(self.pool.clone(), Some(self.rerankers.clone()));
                let rerank = Rerank::Top { depth: self.rerank_depth, weight: Rerank::WEIGHT, budget };
                self.ask(set, &partition, Way { name, mode: Mode::Hybrid, rerank, retriever }, tell)
            };
            runs.reranked = keep("reranked", reranked("reranked", None).await?);
            runs.default = runs.reranked;
            if self.rerank_budget.is_some() {
                runs.default = keep("default", reranked("default", self.rerank_budget).await?);
            }
        }
        let seconds = self.clock.monotonic().saturating_sub(start).as_secs_f64();
        let report = Report { runs, documents: set.documents.len(), queries: set.queries.len(), model, seconds };
        Ok((report, per_query))
    }

    pub(crate) fn ctx(&self) -> Ctx {
        Ctx::new(Arc::clone(&self.clock), Priority::Query, None)
    }

    /// A partition with every document of the set, complete.
    ///
    /// # Errors
    /// [`EvalError`]: the engine or a model failed.
    pub async fn fill(
        &self,
        set: &Beir,
        settings: CollectionSettings,
        tell: &dyn Fn(Progress),
    ) -> Result<Partition, EvalError> {
        let operator = Operator::of_this_process();
        let tenant = TenantName::new("eval").expect("a valid name");
        let collection = CollectionName::new("set").expect("a valid name");
        let ctx = self.ctx();
        self.engine.create_tenant(&operator, tenant.clone()).await?;
        let right = self.engine.enter(&operator, &tenant)?;
        self.engine.create_collection(&ctx, &right, collection.clone(), settings).await?;
        let partition = self.engine.partition(&ctx, &right, &collection).await?;

        let puts = set
            .documents
            .iter()
            .filter(|document| !document.text.trim().is_empty() || !document.title.trim().is_empty());
        let puts = stream::iter(puts.map(|document| {
            // A document without a body is found by its title.
            let text = if document.text.trim().is_empty() { &document.title } else { &document.text };
            partition.put(&ctx, put(&document.id, &document.title, text))
        }));
        let mut stored = 0;
        let mut puts = puts.buffer_unordered(PUTS_AT_ONCE);
        while puts.try_next().await?.is_some() {
            stored += 1;
            tell(Progress::Stored(stored, set.documents.len()));
        }
        drop(puts);
        partition.settled(&ctx, |status| tell(Progress::Embedded(status.chunks_embedded, status.chunks))).await?;
        Ok(partition)
    }

    async fn ask(
        &self,
        set: &Beir,
        partition: &Partition,
        way: Way,
        tell: &dyn Fn(Progress),
    ) -> Result<(RunReport, Vec<Quality>), EvalError> {
        let mut rankings = Vec::with_capacity(set.queries.len());
        let mut times = Vec::with_capacity(set.queries.len());
        for (asked, query) in (1..).zip(&set.queries) {
            let (ranking, time) = self.ranking(&query.text, partition, &way).await?;
            rankings.push((query.id.clone(), ranking));
            times.push(time);
            tell(Progress::Asked(way.name, asked, set.queries.len()));
        }
        let run = Run::from_rankings(rankings);
        let queries = Quality::per_query(&run, &set.qrels).into_values().collect();
        Ok((RunReport::new(Quality::mean(&run, &set.qrels), &times), queries))
    }

    async fn ranking(
        &self,
        question: &str,
        partition: &Partition,
        way: &Way,
    ) -> Result<(Vec<DocumentId>, Duration), EvalError> {
        let depth = match way.rerank {
            Rerank::Off => CANDIDATES,
            Rerank::Top { depth, .. } => depth,
        };
        let mut query = Query {
            question: question.to_owned(),
            vector: None,
            mode: way.mode,
            top_k: depth,
            neighbour_weight: self.neighbour_weight,
            candidates: CANDIDATES,
            fusion: Fusion::default(),
            rerank: way.rerank,
            filter: None,
            floor: Floor::default(),
            generation: None,
            expand: Expand::None,
            duplicates: Duplicates::Collapse,
        };
        let (mut documents, mut seen) = (Vec::new(), HashSet::new());
        let mut first = None;
        loop {
            let ctx = self.ctx();
            let retrieved = way.retriever.retrieve(&ctx, std::slice::from_ref(partition), &query).await?;
            let time = *first.get_or_insert_with(|| ctx.elapsed());
            let found = retrieved.hits.into_iter().map(|hit| hit.document);
            documents.extend(found.filter(|id| seen.insert(id.clone())));
            if documents.len() >= DOCUMENTS_DEEP || query.top_k == Query::HITS_MAX {
                return Ok((documents, time));
            }
            let deeper = (2 * query.top_k).clamp(2 * DOCUMENTS_DEEP, Query::HITS_MAX);
            query = Query { top_k: deeper, candidates: deeper, rerank: Rerank::Off, ..query };
        }
    }
}

fn put(id: &DocumentId, title: &str, text: &str) -> Put {
    Put {
        id: id.clone(),
        media_type: MediaType::Plain,
        title: title.to_owned(),
        source_uri: String::new(),
        metadata: Metadata::new(),
        readers: Readers::default(),
        content: text.into(),
        chunks: Vec::new(),
        idempotency_key: None,
        wait_for: Stage::Durable,
    }
}

impl Measurement<'_> {
    /// The settings that a set is measured with: the server's defaults, and this embedder.
    pub fn settings(embedder: ibid_core::ModelId) -> CollectionSettings {
        CollectionSettings {
            embedder,
            language: Language::English,
            stemming: true,
            stop_words: false,
            chunk_tokens: 0,
            chunk_overlap_tokens: 0,
            chunk_context: true,
            metadata_schema: BTreeMap::new(),
            trust: Trust::Trusted,
        }
    }
}
