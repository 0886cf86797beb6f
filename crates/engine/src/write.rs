//! Put and delete: validate, hash, commit, ack.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use futures::channel::oneshot;
use ibid_chunk::{Limits, ParseError};
use ibid_core::{
    CollectionSettings, DocumentId, DocumentKey, Generation, MediaType, Metadata, Readers, Revision, Span, Value,
};
use ibid_ledger::{Compressed, EarlierPut, MadeFrom, Record, StoredDocument};
use ibid_runtime::Ctx;

use crate::config::EmbedModel;
use crate::documents::{Meta, Stage, Version};
use crate::error::{EngineError, Invalid};
use crate::intake::Commit;
use crate::partition::{Partition, State, Waited};

/// A document to be put.
#[derive(Debug, Clone)]
pub struct Put {
    /// The client's id.
    pub id: DocumentId,
    /// How its bytes are read.
    pub media_type: MediaType,
    /// Its title; empty: taken from the text where it has one.
    pub title: String,
    /// Where it came from; may be empty.
    pub source_uri: String,
    /// Its metadata.
    pub metadata: Metadata,
    /// Who may read it.
    pub readers: Readers,
    /// Its bytes.
    pub content: Vec<u8>,
    /// Chunks made by the client; none: the engine cuts. Not for a format whose stored text is made from it: nobody knows its
    /// bytes beforehand.
    pub chunks: Vec<ReadyChunk>,
    /// Makes repeating the call harmless.
    pub idempotency_key: Option<String>,
    /// How far the reply waits.
    pub wait_for: Stage,
}

/// A chunk made by the client.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadyChunk {
    /// Bytes of the text, half open.
    pub bytes: Range<usize>,
    /// Its vector; `None`: the engine embeds.
    pub vector: Option<Vec<f32>>,
}

/// What became of a document that was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutAck {
    /// Its revision.
    pub revision: Revision,
    /// The partition's generation with this write.
    pub generation: Generation,
    /// The stage reached before the reply.
    pub stage: Stage,
    /// Chunks whose vectors must be made; known once it is cut.
    pub chunks_new: u32,
    /// Chunks that were there before with the same text and context; known once it is cut.
    pub chunks_reused: u32,
    /// Nothing was written.
    pub unchanged: bool,
    /// What the client may want to know.
    pub warnings: Vec<String>,
}

impl Partition {
    /// Puts a document, or replaces it, and waits until it is as far as `put.wait_for` says.
    ///
    /// # Errors
    /// [`EngineError`]: a field refused, overloaded, or the ledger failed. If the caller's time ends while it waits for a
    /// stage, the document is stored all the same.
    pub async fn put(&self, ctx: &Ctx, put: Put) -> Result<PutAck, EngineError> {
        let shared = &self.state.shared;
        let model = Arc::clone(&self.state.lanes().serving.model);
        validate(&put, &self.settings(), shared.config.document_bytes_max)?;
        ctx.check()?;
        if self.state.is_gone() {
            return Err(EngineError::NotFound { kind: "collection", name: self.name().to_string() });
        }
        let (wait_for, key) = (put.wait_for, self.document_key(&put.id));
        let idempotency = put.idempotency_key.as_ref().map(|text| shared.idempotency_hash(self.state.key, key, text));
        let (keys, tenant) = (shared.keys.clone(), self.state.key.tenant);
        let (put, content_hash) = shared
            .parts
            .pool
            .run_on_bytes(ctx, bytes_of(&put), move || {
                let content_hash = keys.content(tenant, &content_bytes(&put));
                (put, content_hash)
            })
            .await
            .map_err(EngineError::of_pool)?;

        let claim = match idempotency {
            None => None,
            Some(hash) => match self.claim(ctx, hash).await? {
                Claimed::Mine(claim) => Some(claim),
                Claimed::Earlier(put) => {
                    return self.ack(ctx, put.document, put.revision, put.generation, wait_for, true).await;
                }
            },
        };
        // What the key may not read it is not told of: then the write counts as a change, and nothing as reused.
        let (hidden, unchanged) = {
            let documents = self.state.documents();
            let entry = documents.entry(&key);
            let readable = entry.filter(|entry| self.may_read(&entry.current));
            let same = readable.filter(|entry| entry.current.meta.content_hash == content_hash);
            let unchanged = same.map(|entry| (entry.current.revision, entry.current.generation));
            (entry.is_some() && readable.is_none(), unchanged)
        };
        if let Some((revision, generation)) = unchanged {
            drop(claim);
            return self.ack(ctx, key, revision, generation, wait_for, true).await;
        }
        shared.room_for_one_more()?;
        let (bytes, dimension, reading) = (bytes_of(&put), model.dimension(), ctx.clone());
        let readable = shared.parts.pool.run_on_bytes(ctx, bytes, move || read(&reading, put, dimension));
        let readable = readable.await.map_err(EngineError::of_pool)??;
        let (revision, generation) = self.commit_put(ctx, readable, key, content_hash, claim, &model).await?;
        let mut ack = self.ack(ctx, key, revision, generation, wait_for, false).await?;
        if hidden {
            ack.chunks_new += std::mem::take(&mut ack.chunks_reused);
        }
        Ok(ack)
    }

    /// Takes an idempotency key for this put, once no other put with it is on its way; or finds the put that had it.
    async fn claim(&self, ctx: &Ctx, hash: [u8; 16]) -> Result<Claimed, EngineError> {
        let mut progress = self.state.progress.subscribe();
        loop {
            progress.borrow_and_update();
            {
                let mut on_their_way = self.state.lock(&self.state.on_their_way);
                if !on_their_way.contains(&hash) {
                    // The intake lets a key go after the ledger knows it, or after the put has failed.
                    let earlier = self.state.shared.ledger.idempotent(self.state.key, hash);
                    if let Some(put) = earlier.map_err(EngineError::of_ledger)? {
                        return Ok(Claimed::Earlier(put));
                    }
                    on_their_way.insert(hash);
                    return Ok(Claimed::Mine(Claim { state: Arc::clone(&self.state), hash }));
                }
            }
            self.state.moved(ctx, &mut progress).await?;
        }
    }

    #[allow(clippy::too_many_arguments, reason = "what a record is made of, and by whom")]
    async fn commit_put(
        &self,
        ctx: &Ctx,
        Readable { put, ready, text, made_from }: Readable,
        key: DocumentKey,
        content_hash: [u8; 32],
        claim: Option<Claim>,
        model: &Arc<dyn EmbedModel>,
    ) -> Result<(Revision, Generation), EngineError> {
        let shared = &self.state.shared;
        let mut stored = StoredDocument {
            id: put.id.clone(),
            revision: Revision(0),
            generation: Generation(0),
            created_ms: shared.parts.clock.unix_ms(),
            media_type: put.media_type,
            title: put.title,
            source_uri: put.source_uri,
            metadata: put.metadata,
            readers: put.readers,
            content_hash,
            idempotency: claim.as_ref().map(|claim| claim.hash),
            ready,
            text,
            made_from,
            retain_ms: None,
            first: Revision(0),
        };
        let (done, applied) = oneshot::channel();
        let mut progress = self.state.progress.subscribe();
        let (revision, generation) = loop {
            progress.borrow_and_update();
            {
                // The lock makes the ledger's order the order of the numbers.
                let mut documents = self.state.documents_mut();
                // Whether this one replaces something is known once a deletion on its way is done.
                if !documents.is_ending(&key) {
                    if stored.ready.iter().any(|chunk| !chunk.vector.is_empty()) {
                        self.state.takes_vectors_of(model)?;
                    }
                    let (revision, generation) = documents.assign(key);
                    (stored.revision, stored.generation) = (revision, generation);
                    stored.retain_ms = documents.retained_for(&key, shared.window());
                    stored.first = documents.first(&key);
                    let meta = Arc::new(Meta::of(&stored));
                    let record =
                        Record::DocumentPut { partition: self.state.key, document: key, put: Box::new(stored) };
                    let pending = shared.ledger.append(record);
                    let commit = Commit::Put {
                        partition: Arc::clone(&self.state),
                        key,
                        id: put.id,
                        revision,
                        generation,
                        meta,
                        claim,
                        done,
                    };
                    shared.intake(pending, commit)?;
                    break (revision, generation);
                }
            }
            self.state.moved(ctx, &mut progress).await?;
        };
        applied.await.unwrap_or(Err(EngineError::Closing))?;
        Ok((revision, generation))
    }

    /// Waits for the stage and says what was reached.
    async fn ack(
        &self,
        ctx: &Ctx,
        key: DocumentKey,
        revision: Revision,
        generation: Generation,
        wait_for: Stage,
        unchanged: bool,
    ) -> Result<PutAck, EngineError> {
        let mut ack = PutAck {
            revision,
            generation,
            stage: Stage::Durable,
            chunks_new: 0,
            chunks_reused: 0,
            unchanged,
            warnings: Vec::new(),
        };
        if wait_for == Stage::Durable && !unchanged {
            return Ok(ack);
        }
        let chunks = match self.state.wait(ctx, key, revision, wait_for).await? {
            Waited::Reached { stage, chunks } => {
                ack.stage = stage;
                chunks
            }
            Waited::Parked { stage, chunks } => {
                ack.stage = stage;
                let found = if stage >= Stage::Lexical {
                    "it is found by words only"
                } else {
                    "what was there before is found"
                };
                ack.warnings.push(format!("embedding failed three times; {found}"));
                chunks
            }
            Waited::Overtaken => {
                ack.warnings.push("a later write replaced or deleted this revision".to_owned());
                0
            }
        };
        if unchanged {
            ack.chunks_reused = chunks;
        } else {
            ack.chunks_reused = self.state.reused(&key, revision).min(chunks);
            ack.chunks_new = chunks - ack.chunks_reused;
        }
        if chunks == 0 && ack.warnings.is_empty() && ack.stage >= Stage::Lexical {
            ack.warnings.push("the document has no text to search".to_owned());
        }
        Ok(ack)
    }

    /// Deletes a document; when this returns, no new question finds it.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], or the ledger failed.
    pub async fn delete(&self, ctx: &Ctx, id: &DocumentId) -> Result<Generation, EngineError> {
        ctx.check()?;
        let key = self.document_key(id);
        let (done, applied) = oneshot::channel();
        let generation = {
            let mut documents = self.state.documents_mut();
            // A document that the key may not read answers as one that does not exist.
            let readable = documents.entry(&key).is_some_and(|entry| self.may_read(&entry.current));
            let damaged = documents.is_damaged(&key) && self.reads_all();
            if !readable && !damaged {
                return Err(EngineError::NotFound { kind: "document", name: id.to_string() });
            }
            let (revision, generation) = documents.assign(key);
            let record = Record::DocumentDeleted {
                partition: self.state.key,
                document: key,
                revision,
                generation,
                deleted_ms: self.state.shared.parts.clock.unix_ms(),
            };
            let pending = self.state.shared.ledger.append(record);
            let commit = Commit::Delete { partition: Arc::clone(&self.state), key, revision, done };
            self.state.shared.intake(pending, commit)?;
            if let Some(entry) = documents.entry_mut(&key) {
                entry.deleting += 1;
            }
            generation
        };
        applied.await.unwrap_or(Err(EngineError::Closing))?;
        Ok(generation)
    }
}

/// An idempotency key that is in use: let go when the put is done, however it ends.
pub(crate) struct Claim {
    state: Arc<State>,
    hash: [u8; 16],
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.state.lock(&self.state.on_their_way).remove(&self.hash);
        self.state.announce();
    }
}

enum Claimed {
    Mine(Claim),
    Earlier(EarlierPut),
}

impl Version {
    pub(crate) fn durable(
        revision: Revision,
        generation: Generation,
        put: ibid_ledger::Sequence,
        meta: Arc<Meta>,
    ) -> Version {
        Version {
            revision,
            generation,
            put,
            meta,
            cut: None,
            embedded: 0,
            embedded_second: 0,
            reused: 0,
            parked: false,
        }
    }
}

/// How much there is to hash and to compress, about.
fn bytes_of(put: &Put) -> usize {
    let vectors = put.chunks.iter().filter_map(|chunk| chunk.vector.as_ref());
    put.content.len() + vectors.map(|vector| size_of_val(vector.as_slice())).sum::<usize>()
}

/// Everything that makes a put another one than before: content, what is said of it, and who may read it.
fn content_bytes(put: &Put) -> Vec<u8> {
    let ready: Vec<(usize, usize, &Option<Vec<f32>>)> =
        put.chunks.iter().map(|chunk| (chunk.bytes.start, chunk.bytes.end, &chunk.vector)).collect();
    let parts = (put.media_type, &put.title, &put.source_uri, &put.metadata, &put.readers, &put.content, ready);
    postcard::to_stdvec(&parts).expect("plain data in memory always serialises")
}

/// A put whose content was read.
struct Readable {
    put: Put,
    ready: Vec<ibid_ledger::ReadyChunk>,
    text: Compressed,
    made_from: Option<MadeFrom>,
}

/// Reads the content: its text, and what the text alone does not tell.
fn read(ctx: &Ctx, mut put: Put, dimension: usize) -> Result<Readable, EngineError> {
    let content = std::mem::take(&mut put.content);
    if put.media_type.is_converted() && !put.chunks.is_empty() {
        let problem = "are given for a format whose stored text is made from it; put its text as text/plain";
        return Err(Invalid::new("header.chunks", problem).into());
    }
    let limits = Limits { stop: &|| ctx.check().is_err(), ..Limits::NONE };
    let parsed = ibid_chunk::parse(&content, put.media_type, &limits).map_err(|error| match (error, ctx.check()) {
        (ParseError::Stopped, Err(stopped)) => EngineError::Stopped(stopped),
        (error, _) => EngineError::Unreadable(error),
    })?;
    if parsed.text.trim().is_empty() {
        return Err(Invalid::new("content", "is empty, expected text").into());
    }
    validate_chunks(&put.chunks, &parsed.text, dimension)?;
    let ready = std::mem::take(&mut put.chunks).into_iter().map(|chunk| {
        let span = Span::of(&parsed.text, chunk.bytes).expect("validated: a span of the text");
        ibid_ledger::ReadyChunk { span, vector: chunk.vector.unwrap_or_default() }
    });
    let ready = ready.collect();
    let text = Compressed::pack(&parsed.text).map_err(EngineError::of_ledger)?;
    // Text in another encoding than ours is made from the file too.
    let made_from = matches!(parsed.text, Cow::Owned(_)).then(|| {
        let outline = postcard::to_stdvec(&parsed.outline).expect("plain data in memory always serialises");
        Ok(MadeFrom {
            original: Compressed::pack_bytes(&content)?,
            reader: ibid_chunk::VERSION.to_owned(),
            outline: Compressed::pack_bytes(&outline)?,
        })
    });
    let made_from = made_from.transpose().map_err(EngineError::of_ledger)?;
    Ok(Readable { put, ready, text, made_from })
}

fn validate(put: &Put, settings: &CollectionSettings, bytes_max: usize) -> Result<(), Invalid> {
    if put.content.trim_ascii().is_empty() {
        return Err(Invalid::new("content", "is empty, expected text"));
    }
    if put.content.len() > bytes_max {
        let problem = format!("has {} bytes, expected at most {bytes_max}", put.content.len());
        return Err(Invalid::new("content", problem));
    }
    for (field, value) in &put.metadata {
        let Some(expected) = settings.metadata_schema.get(field) else { continue };
        if value.value_type() != *expected {
            let problem =
                format!("is {}, the collection's schema says {}", value.value_type().describe(), expected.describe());
            return Err(Invalid::new(format!("header.metadata[{field}]"), problem));
        }
    }
    if let Some(field) =
        put.metadata.iter().find_map(|(field, value)| matches!(value, Value::Float(n) if n.is_nan()).then_some(field))
    {
        return Err(Invalid::new(format!("header.metadata[{field}]"), "is not a number"));
    }
    Ok(())
}

fn validate_chunks(chunks: &[ReadyChunk], text: &str, dimension: usize) -> Result<(), Invalid> {
    let mut end = 0;
    for (ordinal, chunk) in chunks.iter().enumerate() {
        let field = |name: &str| format!("header.chunks[{ordinal}].{name}");
        let Range { start, end: chunk_end } = chunk.bytes;
        if Span::of(text, chunk.bytes.clone()).is_none() {
            let problem = format!("is {start}..{chunk_end}, which is no piece of the {} bytes of content", text.len());
            return Err(Invalid::new(field("span"), problem));
        }
        if start < end {
            return Err(Invalid::new(
                field("span"),
                format!("starts at {start}, before the end of the chunk before ({end})"),
            ));
        }
        end = chunk_end;
        match &chunk.vector {
            None if chunks[0].vector.is_some() => {
                return Err(Invalid::new(field("vector"), "is missing, others have one"));
            }
            None => {}
            Some(_) if chunks[0].vector.is_none() => {
                return Err(Invalid::new(field("vector"), "is there, the first chunk has none"));
            }
            Some(vector) => check_vector(&field("vector"), vector, dimension)?,
        }
    }
    Ok(())
}

/// Checks a client's vector: its length, and that it points somewhere.
///
/// # Errors
/// [`Invalid`] for `field`.
pub fn check_vector(field: &str, vector: &[f32], dimension: usize) -> Result<(), Invalid> {
    if vector.len() != dimension {
        let problem = format!("has {} dimensions, the collection's model has {dimension}", vector.len());
        return Err(Invalid::new(field, problem));
    }
    let length: f32 = vector.iter().map(|x| x * x).sum();
    if !length.is_finite() || length == 0.0 {
        return Err(Invalid::new(field, "is zero, or has values that are no finite numbers"));
    }
    Ok(())
}
