//! An engine in a temporary folder, and documents without end to fill it with.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use ibid_core::{CollectionName, DocumentId, MediaType, Metadata, Operator, Readers, TenantName};
use ibid_engine::{EmbedModel, Engine, Models, Partition, Put, Stage, Views};
use ibid_eval::Measurement;
use ibid_runtime::{Clock, Ctx, Pool, Priority, RealDisk, SystemRandom};

use super::texts::Pieces;
use crate::config::Config;

/// An empty engine that goes when it is closed.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) engine: Engine,
    pub(super) clock: Arc<dyn Clock>,
    folder: PathBuf,
}

impl Scratch {
    pub(super) fn open(
        config: &Config,
        model: Arc<dyn EmbedModel>,
        pool: &Pool,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Scratch> {
        let folder = std::env::temp_dir().join(format!("ibid-bench-{}", std::process::id()));
        let parts = ibid_engine::Parts {
            disk: Arc::new(RealDisk),
            clock: Arc::clone(&clock),
            random: Arc::new(SystemRandom),
            pool: pool.clone(),
            models: Models::only(model),
            views: Views::Folder,
            snapshots: None,
        };
        let config = ibid_engine::Config { folder: folder.clone(), ..crate::house::engine_config(config) };
        let (engine, _) = tokio::task::block_in_place(|| Engine::open(config, parts))?;
        Ok(Scratch { engine, clock, folder })
    }

    /// An empty collection with the server's defaults.
    pub(super) async fn partition(&self, model: &dyn EmbedModel) -> anyhow::Result<Partition> {
        let operator = Operator::of_this_process();
        let tenant = TenantName::new("bench").expect("a valid name");
        let collection = CollectionName::new("documents").expect("a valid name");
        let ctx = Ctx::new(Arc::clone(&self.clock), Priority::Query, None);
        self.engine.create_tenant(&operator, tenant.clone()).await?;
        let right = self.engine.enter(&operator, &tenant)?;
        let settings = Measurement::settings(model.model().clone());
        self.engine.create_collection(&ctx, &right, collection.clone(), settings).await?;
        Ok(self.engine.partition(&ctx, &right, &collection).await?)
    }

    /// Closes the engine and removes its folder.
    pub(super) fn close(self) -> anyhow::Result<()> {
        let Scratch { engine, folder, .. } = self;
        tokio::task::block_in_place(|| drop(engine));
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))
    }
}

/// Sections a document is put together from.
const SECTIONS: usize = 400;
const SECTION_TOKENS: usize = 180;
/// Sections of a document, each about a chunk.
pub(super) const DOCUMENT_SECTIONS: usize = 3;

/// Documents without end. No two have the same title, which is part of what is embedded: no vector can be reused.
#[derive(Debug)]
pub(super) struct Documents {
    sections: Vec<String>,
}

impl Documents {
    pub(super) fn of(pieces: &Pieces) -> anyhow::Result<Documents> {
        let sections = (0..SECTIONS).map(|_| pieces.cut(SECTION_TOKENS)).collect::<Result<_, _>>()?;
        Ok(Documents { sections })
    }

    /// Document `number`, under the id of `id`: another number under an id replaces what was there.
    pub(super) fn put(&self, id: usize, number: usize) -> Put {
        let section = |part: usize| self.sections[(number * DOCUMENT_SECTIONS + part) % self.sections.len()].as_str();
        Put {
            id: DocumentId::new(&format!("document-{id}")).expect("a valid id"),
            media_type: MediaType::Plain,
            title: format!("Document {number}"),
            source_uri: String::new(),
            metadata: Metadata::new(),
            readers: Readers::default(),
            content: (0..DOCUMENT_SECTIONS).map(section).collect::<Vec<_>>().join("\n\n").into(),
            chunks: Vec::new(),
            idempotency_key: None,
            wait_for: Stage::Vector,
        }
    }
}
