//! Changing a collection's model.

use ibid_core::{CollectionName, DocumentId, ModelId};
use ibid_engine::{Comparison, Invalid, Labelled, Migration, ModelVersion, SecondRole, SecondStatus, Switching, Trial};

use super::{collection, text, time};
use crate::proto as pb;

/// Recall that may be lost where a request does not say: two of a hundred.
pub(crate) const RECALL_LOSS_MAX: f32 = 0.02;
pub(crate) const QUERIES_MAX: usize = 1_000;
const QUESTION_BYTES_MAX: usize = 4_096;
pub(crate) const RELEVANT_MAX: usize = 100;

/// A migration to be started.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) collection: CollectionName,
    pub(crate) model: ModelId,
    pub(crate) switching: Switching,
    pub(crate) force: bool,
}

/// A model that is to serve.
#[derive(Debug)]
pub(crate) struct Switch {
    pub(crate) collection: CollectionName,
    pub(crate) model: ModelId,
    pub(crate) trial: Trial,
}

pub(crate) fn start(request: pb::StartMigrationRequest) -> Result<Start, Invalid> {
    let loss_max = loss_max(request.recall_loss_max)?;
    Ok(Start {
        collection: collection::name("collection", &request.collection)?,
        model: text::name("model", &request.model, ModelId::new)?,
        switching: if request.switch_by_itself { Switching::WhenReady { loss_max } } else { Switching::Asked },
        force: request.force,
    })
}

pub(crate) fn switch(request: pb::SwitchMigrationRequest) -> Result<Switch, Invalid> {
    let loss_max = loss_max(request.recall_loss_max)?;
    text::no_more_than("queries", request.queries.len(), QUERIES_MAX)?;
    let queries = request.queries.into_iter().enumerate().map(|(ordinal, query)| labelled(ordinal, query));
    Ok(Switch {
        collection: collection::name("collection", &request.collection)?,
        model: text::name("model", &request.model, ModelId::new)?,
        trial: Trial { queries: queries.collect::<Result<_, _>>()?, loss_max, force: request.force },
    })
}

fn loss_max(given: Option<f32>) -> Result<f32, Invalid> {
    let loss_max = given.unwrap_or(RECALL_LOSS_MAX);
    if (0.0..=1.0).contains(&loss_max) {
        return Ok(loss_max);
    }
    Err(Invalid::new("recall_loss_max", format!("is {loss_max}, expected 0 to 1")))
}

fn labelled(ordinal: usize, query: pb::LabelledQuery) -> Result<Labelled, Invalid> {
    let field = |name: &str| format!("queries[{ordinal}].{name}");
    text::at_most(&field("question"), query.question.len(), QUESTION_BYTES_MAX)?;
    let question = text::utf8(&field("question"), query.question)?;
    if question.trim().is_empty() {
        return Err(Invalid::new(field("question"), "is empty, expected a question"));
    }
    let ids = &query.document_ids;
    text::no_more_than(&field("document_ids"), ids.len(), RELEVANT_MAX)?;
    if ids.is_empty() {
        return Err(Invalid::new(field("document_ids"), "is empty, expected the documents that answer the question"));
    }
    let relevant = (0..).zip(ids).map(|(place, id)| {
        let field = field(&format!("document_ids[{place}]"));
        text::name(&field, id, DocumentId::new)
    });
    Ok(Labelled { question, relevant: relevant.collect::<Result<_, _>>()? })
}

pub(crate) fn render(migration: Migration) -> pb::Migration {
    let rendered = pb::Migration { serving: Some(render_model(migration.serving)), ..Default::default() };
    let Some(second) = migration.second else { return rendered };
    let state = match second.role {
        SecondRole::Kept => pb::MigrationState::Switched,
        SecondRole::Coming(_) if second.is_ready() => pb::MigrationState::Ready,
        SecondRole::Coming(_) => pb::MigrationState::Embedding,
    };
    let SecondStatus { model, role, since_ms, loaded, chunks, chunks_embedded, documents_failed, comparison } = second;
    pb::Migration {
        other: Some(render_model(model)),
        state: state.into(),
        since: Some(time::render_ours(since_ms)),
        other_loaded: loaded,
        chunks,
        chunks_embedded,
        documents_failed,
        switches_by_itself: matches!(role, SecondRole::Coming(Switching::WhenReady { .. })),
        comparison: comparison.map(render_comparison),
        ..rendered
    }
}

fn render_model(ModelVersion { id, revision, dimension }: ModelVersion) -> pb::ModelVersion {
    pb::ModelVersion { model: id.to_string(), revision, dimension }
}

fn render_comparison(comparison: Comparison) -> pb::Comparison {
    let Comparison { queries, labelled, recall_serving, recall_coming } = comparison;
    pb::Comparison { queries, labelled, recall_serving, recall_coming }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refused_field_is_named() {
        let query = || pb::LabelledQuery { question: "what?".into(), document_ids: vec!["a".to_owned()] };
        let request = |query| pb::SwitchMigrationRequest {
            collection: "docs".to_owned(),
            model: "house/model".to_owned(),
            queries: vec![query],
            ..Default::default()
        };
        let whole = request(query());
        assert_eq!(switch(whole.clone()).unwrap().trial.loss_max, RECALL_LOSS_MAX);
        let refused = |request: pb::SwitchMigrationRequest, expected: &str| {
            assert_eq!(switch(request).unwrap_err().field, expected);
        };
        refused(pb::SwitchMigrationRequest { collection: String::new(), ..whole.clone() }, "collection");
        refused(pb::SwitchMigrationRequest { model: "a b".to_owned(), ..whole.clone() }, "model");
        refused(pb::SwitchMigrationRequest { recall_loss_max: Some(f32::NAN), ..whole.clone() }, "recall_loss_max");
        refused(pb::SwitchMigrationRequest { queries: vec![query(); QUERIES_MAX + 1], ..whole }, "queries");
        refused(request(pb::LabelledQuery { question: b"\xff"[..].into(), ..query() }), "queries[0].question");
        refused(request(pb::LabelledQuery { question: " ".into(), ..query() }), "queries[0].question");
        refused(request(pb::LabelledQuery { document_ids: Vec::new(), ..query() }), "queries[0].document_ids");
        let nameless = pb::LabelledQuery { document_ids: vec![String::new()], ..query() };
        refused(request(nameless), "queries[0].document_ids[0]");
        assert_eq!(start(pb::StartMigrationRequest::default()).unwrap_err().field, "collection");
    }
}
