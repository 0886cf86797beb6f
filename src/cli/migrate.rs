//! A collection moved to another model while it is searched.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{ArgGroup, Args};
use ibid_eval::Beir;
use serde_json::{Value, json};

use super::Global;
use super::session::{As, Session, explain};
use super::terminal::{bar, bold, plain};
use crate::proto::{self, LabelledQuery, Migration, MigrationState};
use crate::wire::migration::{QUERIES_MAX, RECALL_LOSS_MAX, RELEVANT_MAX};

/// Between two looks at how far it is.
const POLL: Duration = Duration::from_millis(250);
/// Looks without a step ahead after which documents that failed are all that is left.
const STUCK_POLLS: u32 = 20;

/// Move a collection to another model while it is searched. Given again after it was cut off, it goes on
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("step").required(true))]
pub(super) struct Migrate {
    /// The collection
    collection: String,
    /// Embed everything with this model, compare what both find, and switch if the new one does not find less
    #[arg(long, value_name = "MODEL", group = "step")]
    to: Option<String>,
    /// Show how far it is
    #[arg(long, group = "step")]
    status: bool,
    /// Let the old model serve again
    #[arg(long, group = "step")]
    roll_back: bool,
    /// Drop the old model's vectors: after this there is no way back
    #[arg(long, group = "step")]
    finish: bool,
    /// Drop the new model's vectors
    #[arg(long, group = "step")]
    abort: bool,
    /// Compare over these queries: a set's folder in BEIR's layout, or a file with a JSON object a line, as in
    /// {"question": "...", "document_ids": ["..."]} [default: titles and first lines, which have to find their document]
    #[arg(long, value_name = "FILE", requires = "to")]
    queries: Option<PathBuf>,
    /// How much recall@10 may be lost
    #[arg(long, value_name = "SHARE", default_value_t = RECALL_LOSS_MAX, requires = "to")]
    loss_max: f32,
    /// Switch whatever is found. Also: embed anew a collection whose model the server has not
    #[arg(long, requires = "to")]
    force: bool,
}

impl Migrate {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let session = Session::open(global, As::Tenant).await?;
        let done = self.call(&session).await;
        session.close().await?;
        let migration = done?;
        if global.json {
            println!("{}", rendered(&migration));
        } else {
            show(&migration);
        }
        Ok(())
    }

    async fn call(self, session: &Session) -> anyhow::Result<Migration> {
        let collection = self.collection.clone();
        let mut collections = session.collections();
        let migration = if let Some(model) = &self.to {
            return self.move_to(session, model).await;
        } else if self.roll_back {
            let request = proto::RollBackMigrationRequest { collection };
            collections.roll_back_migration(request).await.map_err(|status| explain(&status))?.into_inner().migration
        } else if self.finish {
            let request = proto::FinishMigrationRequest { collection };
            collections.finish_migration(request).await.map_err(|status| explain(&status))?.into_inner().migration
        } else if self.abort {
            let request = proto::AbortMigrationRequest { collection };
            collections.abort_migration(request).await.map_err(|status| explain(&status))?.into_inner().migration
        } else {
            return get(session, collection).await;
        };
        Ok(migration.unwrap_or_default())
    }

    async fn move_to(&self, session: &Session, model: &str) -> anyhow::Result<Migration> {
        let queries = self.queries.as_deref().map_or(Ok(Vec::new()), read_queries)?;
        // The server draws queries by itself; those of a file it gets when it needs them.
        let by_itself = queries.is_empty() && !self.force;
        let request = proto::StartMigrationRequest {
            collection: self.collection.clone(),
            model: model.to_owned(),
            switch_by_itself: by_itself,
            recall_loss_max: Some(self.loss_max),
            force: self.force,
        };
        session.collections().start_migration(request).await.map_err(|status| explain(&status))?;
        let migration = self.wait(session, model).await?;
        if migration.serving.as_ref().is_some_and(|serving| serving.model == model) {
            return Ok(migration);
        }
        let request = proto::SwitchMigrationRequest {
            collection: self.collection.clone(),
            model: model.to_owned(),
            queries,
            recall_loss_max: Some(self.loss_max),
            force: self.force,
        };
        let switched = session.collections().switch_migration(request).await.map_err(|status| explain(&status))?;
        Ok(switched.into_inner().migration.unwrap_or_default())
    }

    /// Waits until the model serves, or somebody has to say that it shall.
    async fn wait(&self, session: &Session, model: &str) -> anyhow::Result<Migration> {
        let progress = bar(0, "chunks");
        progress.set_message("embedding");
        let (mut embedded, mut polls) = (0, 0);
        loop {
            let migration = get(session, self.collection.clone()).await?;
            progress.set_length(migration.chunks);
            progress.set_position(migration.chunks_embedded);
            let serves = migration.serving.as_ref().is_some_and(|serving| serving.model == model);
            let refused = migration.comparison.is_some();
            let ready = migration.state() == MigrationState::Ready;
            if serves || (ready && (!migration.switches_by_itself || refused)) {
                return Ok(migration);
            }
            polls = if migration.chunks_embedded == embedded { polls + 1 } else { 0 };
            embedded = migration.chunks_embedded;
            if migration.documents_failed > 0 && polls >= STUCK_POLLS {
                if self.force {
                    return Ok(migration);
                }
                bail!(
                    "the new model failed at {} documents; the server's log says why. Given again with --force, they are \
                     found by words alone",
                    migration.documents_failed
                );
            }
            if !ready && !migration.other_loaded {
                bail!("the server has not the model {} any more; start it with that, or --abort", plain(model));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn get(session: &Session, collection: String) -> anyhow::Result<Migration> {
    let request = proto::GetMigrationRequest { collection };
    let reply = session.collections().get_migration(request).await.map_err(|status| explain(&status))?;
    Ok(reply.into_inner().migration.unwrap_or_default())
}

fn read_queries(path: &Path) -> anyhow::Result<Vec<LabelledQuery>> {
    let mut queries = if path.is_dir() { of_set(&Beir::open(path)?) } else { of_lines(path)? };
    if queries.len() > QUERIES_MAX {
        eprintln!("note: the first {QUERIES_MAX} of {} queries are asked", queries.len());
        queries.truncate(QUERIES_MAX);
    }
    Ok(queries)
}

fn of_set(set: &Beir) -> Vec<LabelledQuery> {
    let query = |query: &ibid_eval::BeirQuery| {
        let judged = set.qrels.of(&query.id).into_iter().flatten().filter(|(_, grade)| **grade > 0);
        let relevant = judged.map(|(document, _)| document.to_string()).take(RELEVANT_MAX);
        LabelledQuery { question: query.text.clone().into(), document_ids: relevant.collect() }
    };
    set.queries.iter().map(query).collect()
}

fn of_lines(path: &Path) -> anyhow::Result<Vec<LabelledQuery>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let query = |(number, line): (usize, &str)| {
        let object: Value = serde_json::from_str(line).with_context(|| format!("{}:{number}", path.display()))?;
        let question = object["question"].as_str();
        let ids = object["document_ids"].as_array();
        let ids = ids.map(|ids| ids.iter().filter_map(|id| Some(id.as_str()?.to_owned())).collect::<Vec<_>>());
        let (Some(question), Some(document_ids)) = (question, ids) else {
            bail!("{}:{number}: expected \"question\" (a text) and \"document_ids\" (a list)", path.display());
        };
        Ok(LabelledQuery { question: question.to_owned().into(), document_ids })
    };
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).map(query).collect()
}

fn show(migration: &Migration) {
    let name =
        |model: &Option<proto::ModelVersion>| plain(model.as_ref().map_or("no model", |model| model.model.as_str()));
    println!("searched by  {}", bold(name(&migration.serving)));
    match migration.state() {
        MigrationState::Unspecified => println!("no other model is beside it"),
        MigrationState::Embedding => println!(
            "moving to    {}: {} of {} chunks embedded, {} documents failed",
            name(&migration.other),
            migration.chunks_embedded,
            migration.chunks,
            migration.documents_failed
        ),
        MigrationState::Ready => println!("ready for    {}", name(&migration.other)),
        MigrationState::Switched => println!(
            "kept         {}; --roll-back lets it serve again, --finish drops its vectors",
            name(&migration.other)
        ),
    }
    if let Some(compared) = &migration.comparison {
        let kind = if compared.labelled { "labelled" } else { "sampled" };
        println!(
            "recall@10    {:.4} old, {:.4} new, over {} {kind} queries by vectors alone",
            compared.recall_serving, compared.recall_coming, compared.queries
        );
    }
}

fn rendered(migration: &Migration) -> Value {
    let model = |model: &Option<proto::ModelVersion>| {
        model.as_ref().map(|one| json!({"model": one.model, "revision": one.revision, "dimension": one.dimension}))
    };
    json!({
        "serving": model(&migration.serving),
        "other": model(&migration.other),
        "state": migration.state().as_str_name(),
        "chunks": migration.chunks,
        "chunks_embedded": migration.chunks_embedded,
        "documents_failed": migration.documents_failed,
        "comparison": migration.comparison.as_ref().map(|compared| json!({
            "queries": compared.queries,
            "labelled": compared.labelled,
            "recall_serving": compared.recall_serving,
            "recall_coming": compared.recall_coming,
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_line_by_line_and_a_wrong_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queries.jsonl");
        std::fs::write(&path, "{\"question\": \"what?\", \"document_ids\": [\"a\", \"b\"]}\n\n").unwrap();
        let queries = read_queries(&path).unwrap();
        assert_eq!((&queries[0].question[..], queries[0].document_ids.len()), (&b"what?"[..], 2));
        for wrong in ["{\"question\": \"what?\"}", "what?"] {
            std::fs::write(&path, format!("\n{wrong}\n")).unwrap();
            let error = format!("{:#}", read_queries(&path).unwrap_err());
            assert!(error.contains("queries.jsonl:2"), "{error}");
        }
    }
}
