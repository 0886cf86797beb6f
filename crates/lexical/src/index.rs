//! An index: opened and verified, written, merged, destroyed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ibid_runtime::{Disk, RealDisk};
use tantivy::directory::RamDirectory;
use tantivy::index::{IndexSettings, SegmentComponent, SegmentMeta};
use tantivy::indexer::{LogMergePolicy, MergeCandidate, MergePolicy};
use tantivy::store::Compressor;
use tantivy::tokenizer::{TextAnalyzer, TokenizerManager};
use tantivy::{Directory, Index, IndexWriter, TantivyError};

use crate::directory::IndexFolder;
use crate::error::guarded;
use crate::schema::{Fields, schema};
use crate::snapshot::State;
use crate::{Analysis, Changes, LexicalError, Snapshot, writer};

/// As many segments of about one size are merged into one, so that a chunk is copied about log8(chunks) times.
const MERGE_SEGMENTS: usize = 8;
/// Segments of fewer chunks count as of one size.
const SEGMENT_CHUNKS_MIN: u32 = 256;
/// A segment of which a greater share is deleted is rewritten.
const DELETED_SHARE_MAX: f32 = 0.3;

/// How often it is asked whether a merge has ended.
const MERGE_PAUSE: Duration = Duration::from_millis(10);

/// Where an index lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In memory, for as long as it is open: for small partitions, which are quickly rebuilt.
    Memory,
    /// In this folder, which holds nothing else; created if there is none.
    Folder(PathBuf),
}

/// An index that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The index.
    pub index: LexicalIndex,
    /// The caller's number of the last commit; `None` for a new index. After a power cut it may be an earlier one's.
    pub checkpoint: Option<u64>,
}

/// The BM25 index of one partition. While nothing is written or merged it has no thread and no write buffer.
pub struct LexicalIndex {
    index: Index,
    fields: Fields,
    analyzer: TextAnalyzer,
    writing: Mutex<Writing>,
    current: RwLock<Snapshot>,
}

/// tantivy's writer owns a lock file and three threads: it is open while a batch is written, and kept from one batch to
/// the next only while a merge needs it.
#[derive(Default)]
struct Writing {
    writer: Option<IndexWriter>,
    merging: bool,
}

impl fmt::Debug for LexicalIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LexicalIndex").field("current", &self.snapshot()).finish_non_exhaustive()
    }
}

impl LexicalIndex {
    /// Opens an index, or makes an empty one. Every file is read and its checksum compared.
    ///
    /// # Errors
    /// [`LexicalError::Corrupt`]: a file is damaged or missing, or the index was made with another analysis.
    /// [`LexicalError::Failed`]: the disk refused.
    pub fn open(storage: &Storage, analysis: Analysis) -> Result<Opened, LexicalError> {
        guarded("open", || LexicalIndex::open_or_panic(storage, analysis))
    }

    /// Reads every committed file once more and compares its checksum.
    ///
    /// # Errors
    /// [`LexicalError::Corrupt`]: a file is damaged or missing. [`LexicalError::Failed`]: the disk refused.
    pub fn verify(&self) -> Result<(), LexicalError> {
        guarded("verify", || verify_checksums(&self.index))
    }

    fn open_or_panic(storage: &Storage, analysis: Analysis) -> Result<Opened, LexicalError> {
        let failed = LexicalError::when("open");
        let directory: Box<dyn Directory> = match storage {
            Storage::Memory => Box::new(RamDirectory::create()),
            Storage::Folder(folder) => {
                RealDisk.create_dir_all(folder).map_err(|error| failed(error.into()))?;
                Box::new(IndexFolder::open(folder).map_err(|error| failed(error.into()))?)
            }
        };
        let (schema, fields) = schema(analysis);
        let analyzer = analysis.analyzer();
        let analyzers = TokenizerManager::default();
        analyzers.register(&analysis.to_string(), analyzer.clone());
        // Nothing is stored, so that nothing need be compressed, on a thread of its own at that.
        let settings = IndexSettings {
            docstore_compression: Compressor::None,
            docstore_compress_dedicated_thread: false,
            ..IndexSettings::default()
        };
        let index = Index::builder()
            .schema(schema)
            .settings(settings)
            .tokenizers(analyzers)
            .open_or_create(directory)
            .map_err(&failed)?;
        verify_checksums(&index)?;
        let checkpoint = match index.load_metas().map_err(&failed)?.payload {
            Some(payload) => Some(writer::read_checkpoint(&payload)?),
            None => None,
        };
        let state = State::load(&index, fields, analyzer.clone(), None)?;
        let current = RwLock::new(Snapshot(Arc::new(state)));
        let index = LexicalIndex { index, fields, analyzer, writing: Mutex::default(), current };
        Ok(Opened { index, checkpoint })
    }

    /// Deletes an index that is not open. Nothing happens if there is none.
    ///
    /// # Errors
    /// [`LexicalError::Failed`]: the disk refused.
    pub fn destroy(folder: &Path) -> Result<(), LexicalError> {
        RealDisk.remove_dir_all(folder).map_err(|error| LexicalError::Failed { doing: "delete", source: error.into() })
    }

    /// What is committed now.
    pub fn snapshot(&self) -> Snapshot {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Commits `changes` and `checkpoint` as one: later snapshots see all of it, earlier ones nothing. In a folder it
    /// survives the end of the process. After a power cut the index may be [`LexicalError::Corrupt`], or have other chunks
    /// than were committed last: compare [`Snapshot::labels`]. Writing the same changes again changes nothing.
    ///
    /// # Errors
    /// [`LexicalError::Failed`], [`LexicalError::Corrupt`]: see there.
    #[tracing::instrument(name = "lexical.write", skip_all, fields(add = changes.add.len(), remove = changes.remove.len()))]
    pub fn write(&self, changes: Changes, checkpoint: u64) -> Result<(), LexicalError> {
        guarded("write", || self.write_or_panic(changes, checkpoint))
    }

    fn write_or_panic(&self, changes: Changes, checkpoint: u64) -> Result<(), LexicalError> {
        let failed = LexicalError::when("write");
        let mut writing = self.writing();
        // On an error the writer goes, and with it the part of the batch that it holds.
        let mut writer = match writing.writer.take() {
            Some(writer) => writer,
            None => writer::open(&self.index).map_err(&failed)?,
        };
        writer::commit(&mut writer, self.fields, changes, checkpoint).map_err(&failed)?;
        if writing.merging {
            writing.writer = Some(writer);
        }
        self.publish(&writing)
    }

    /// Merges segments of about one size where they are many, and rewrites those of which much is deleted. May take
    /// long; snapshots, searches and writes go on meanwhile. Returns whether anything was merged: then there may be
    /// more to merge.
    ///
    /// # Errors
    /// [`LexicalError::Failed`], [`LexicalError::Corrupt`]: see there; also if a write failed meanwhile. Nothing is
    /// lost.
    #[tracing::instrument(name = "lexical.merge", skip_all)]
    pub fn maintain(&self) -> Result<bool, LexicalError> {
        let mut policy = LogMergePolicy::default();
        policy.set_min_num_segments(MERGE_SEGMENTS);
        policy.set_min_layer_size(SEGMENT_CHUNKS_MIN);
        policy.set_level_log_size((MERGE_SEGMENTS as f64).log2());
        policy.set_del_docs_ratio_before_merge(DELETED_SHARE_MAX);
        guarded("merge", || self.merge(|segments| policy.compute_merge_candidates(segments)))
    }

    /// Rewrites every segment in which a chunk is deleted, so that no word of a chunk that was removed before this call is
    /// left. Waits for a merge that is under way.
    ///
    /// # Errors
    /// As [`LexicalIndex::maintain`].
    #[tracing::instrument(name = "lexical.erase", skip_all)]
    pub fn erase(&self) -> Result<(), LexicalError> {
        guarded("erase", || self.erase_or_panic())
    }

    fn erase_or_panic(&self) -> Result<(), LexicalError> {
        let holds_deleted = |segment: &SegmentMeta| segment.num_deleted_docs() > 0;
        let metas = || self.index.searchable_segment_metas().map_err(LexicalError::when("erase"));
        while self.writing().merging || metas()?.iter().any(holds_deleted) {
            let alone = |segment: &SegmentMeta| MergeCandidate(vec![segment.id()]);
            if !self.merge(|segments| segments.iter().filter(|one| holds_deleted(one)).map(alone).collect())? {
                std::thread::sleep(MERGE_PAUSE);
            }
        }
        Ok(())
    }

    /// Merges the groups of segments that `choose` names, unless a merge is under way.
    fn merge(&self, choose: impl FnOnce(&[SegmentMeta]) -> Vec<MergeCandidate>) -> Result<bool, LexicalError> {
        let failed = LexicalError::when("merge");
        let mut writing = self.writing();
        if writing.merging {
            return Ok(false);
        }
        let groups = choose(&self.index.searchable_segment_metas().map_err(&failed)?);
        if groups.is_empty() {
            return Ok(false);
        }
        let mut writer = writer::open(&self.index).map_err(&failed)?;
        let merges: Vec<_> = groups.iter().map(|group| writer.merge(&group.0)).collect();
        *writing = Writing { writer: Some(writer), merging: true };
        drop(writing);

        let merged = merges.into_iter().try_for_each(|merge| match merge.wait() {
            // A write has meanwhile deleted all of a segment that was to be merged: what was merged is thrown away.
            Ok(_) | Err(TantivyError::InvalidArgument(_)) => Ok(()),
            Err(error) => Err(error),
        });

        let mut writing = self.writing();
        *writing = Writing::default();
        merged.map_err(&failed)?;
        self.publish(&writing)?;
        Ok(true)
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what is committed the current snapshot. Who publishes holds the writers' lock, so that none goes back.
    fn publish(&self, _writing: &Writing) -> Result<(), LexicalError> {
        let before = self.snapshot();
        let state = State::load(&self.index, self.fields, self.analyzer.clone(), Some(&before.0))?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Snapshot(Arc::new(state));
        Ok(())
    }
}

fn verify_checksums(index: &Index) -> Result<(), LexicalError> {
    use SegmentComponent::{Delete, FastFields, FieldNorms, Positions, Postings, Store, Terms};
    let failed = LexicalError::when("open");
    for segment in index.searchable_segment_metas().map_err(&failed)? {
        let mut files = vec![Postings, Positions, Terms, FastFields, FieldNorms, Store];
        files.extend(segment.has_deletes().then_some(Delete));
        for file in files.into_iter().map(|component| segment.relative_path(component)) {
            let intact = index.directory().validate_checksum(&file).map_err(|error| failed(error.into()))?;
            if !intact {
                return Err(LexicalError::corrupt(format!("{} fails its checksum", file.display())));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
