//! Snapshots: the log as of one moment, elsewhere.
//!
//! | file                   | responsibility                                                         |
//! | ---------------------- | ---------------------------------------------------------------------- |
//! | `snapshot/store.rs`    | where snapshots are kept; a folder                                     |
//! | `snapshot/manifest.rs` | what a snapshot consists of                                            |
//! | `snapshot/restore.rs`  | from a snapshot to a data folder                                       |
//!
//! The log's files never change but for the last one's growing end, so a list of them is a consistent copy of everything:
//! indexes are views, and are made anew. A file is cut into blocks of [`BLOCK_BYTES`], each kept once as
//! `blocks/<blake3>`, whichever snapshots it belongs to. The manifest `snapshots/<id>.json` is written last: without it
//! there is no snapshot, with it all of its blocks are there.
//!
//! Blocks hold the log's bytes as they are, the folder's secret among them: whoever reads the target reads everything that is
//! not encrypted. What is, is read with the tenants' keys, which lie beside the blocks as `tenant-keys/<tenant>`, sealed by
//! the master key: one that is destroyed makes place for `tenant-keys/<tenant>.destroyed`, and nobody reads that tenant's
//! records any more, whichever snapshots they are in.

mod manifest;
mod restore;
mod store;

use std::collections::HashSet;
use std::iter::Peekable;
use std::num::NonZeroUsize;

use ibid_core::TenantKey;
use ibid_runtime::{Ctx, Stopped};

pub use self::manifest::{BlockHash, Manifest, SnapshotFile, SnapshotId};
pub(crate) use self::restore::is_unfinished;
pub use self::restore::restore;
pub use self::store::{FolderStore, SnapshotStore, StoreError};
use crate::contents::Place;
use crate::keys::{self, KeyFile, TenantKeys};
use crate::log::Log;
use crate::segment::Segment;
use crate::{LedgerError, Sequence};

/// A block's length, unless it is a file's last.
pub const BLOCK_BYTES: usize = 256 << 10;

const BLOCKS: &str = "blocks";
const SNAPSHOTS: &str = "snapshots";
/// What the name of a destroyed key ends with, in a target.
const DESTROYED: &str = ".destroyed";

/// Why a snapshot was not made, read or restored. No message names a path but those of the log's own files.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The target cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such snapshot.
    #[error("there is no snapshot {id}; `ibid snapshot list` lists them")]
    NotFound {
        /// The one asked for.
        id: String,
    },
    /// There is no snapshot at all.
    #[error("the snapshot target holds no snapshot")]
    Nothing,
    /// The manifest is not what was written.
    #[error("the manifest of snapshot {id} is damaged; choose another snapshot")]
    Manifest {
        /// Its snapshot.
        id: SnapshotId,
    },
    /// A block is gone.
    #[error("block {block} of {file} is missing; choose another snapshot")]
    BlockMissing {
        /// The block.
        block: BlockHash,
        /// The log's file that it is a piece of.
        file: String,
    },
    /// A block is not what was written.
    #[error("block {block} of {file} is damaged; remove it, then the next snapshot writes it anew, or choose another")]
    BlockDamaged {
        /// The block.
        block: BlockHash,
        /// The log's file that it is a piece of.
        file: String,
    },
    /// A tenant's key is not what was written, or went while it was read.
    #[error(
        "the tenant's key {name} is damaged in the snapshot target; remove it, then the next snapshot writes it anew"
    )]
    KeyDamaged {
        /// Its name.
        name: String,
    },
    /// Made by a later version of this program.
    #[error("the snapshot has format {found}, this version reads up to {supported}; use a newer version")]
    Newer {
        /// The format found.
        found: u32,
        /// The highest one known.
        supported: u32,
    },
    /// Something is in the folder already.
    #[error("the folder to restore into is not empty; name one that is empty or not there")]
    NotEmpty,
    /// The folder cannot be written.
    #[error("{doing}; remove the folder and restore again")]
    Write {
        /// What was being done.
        doing: &'static str,
        /// What the disk said.
        #[source]
        source: std::io::Error,
    },
    /// The log cannot be read.
    #[error("read the log")]
    Log(#[source] LedgerError),
    /// Nobody waits for it any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// A snapshot that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// What it consists of.
    pub manifest: Manifest,
    /// Blocks that the target did not have.
    pub blocks_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
}

/// The snapshots in `store`, the oldest first.
///
/// # Errors
/// [`SnapshotError::Store`]
pub fn list(store: &dyn SnapshotStore) -> Result<Vec<SnapshotId>, SnapshotError> {
    let names = store.list(SNAPSHOTS)?;
    let mut ids: Vec<SnapshotId> =
        names.iter().filter_map(|name| SnapshotId::parse(name.strip_suffix(".json")?)).collect();
    ids.sort();
    Ok(ids)
}

/// The manifest of snapshot `id`; of the newest one if none is named.
///
/// # Errors
/// [`SnapshotError`]
pub fn read(store: &dyn SnapshotStore, id: Option<&SnapshotId>) -> Result<Manifest, SnapshotError> {
    let id = match id {
        Some(id) => id.clone(),
        None => list(store)?.pop().ok_or(SnapshotError::Nothing)?,
    };
    let bytes = store.get(&manifest_name(&id))?.ok_or_else(|| SnapshotError::NotFound { id: id.to_string() })?;
    Manifest::decode(&id, &bytes)
}

/// Reads every block of a snapshot and compares it with its hash.
///
/// # Errors
/// [`SnapshotError`], for the first block that is missing or damaged.
pub fn verify(ctx: &Ctx, store: &dyn SnapshotStore, manifest: &Manifest) -> Result<(), SnapshotError> {
    // Files may share blocks.
    let mut seen = HashSet::new();
    for file in &manifest.files {
        for (ordinal, block) in file.blocks.iter().enumerate().filter(|(_, block)| seen.insert(**block)) {
            ctx.check()?;
            fetch(store, file, ordinal, *block)?;
        }
    }
    Ok(())
}

/// Copies the log as it is now into `store`. Writers do not wait, and compaction may go on.
pub(crate) fn create(ctx: &Ctx, log: &Log, store: &dyn SnapshotStore, now_ms: u64) -> Result<Created, SnapshotError> {
    let newest_ms = list(store)?.last().map_or(0, SnapshotId::created_ms);
    // Ids are in the order of creation, whatever the clock does.
    let created_ms = now_ms.max(newest_ms + 1);
    let mut segments = log.segments();
    if planted!(SnapshotWithoutTail) {
        segments.pop();
    }
    let last_sequence = Sequence(segments.last().map_or(0, |last| last.next_sequence().0 - 1));
    let mut copy = Copy::new(store)?;
    let files = segments.iter().map(|segment| copy.segment(ctx, log, segment)).collect::<Result<_, _>>()?;
    let manifest = Manifest {
        format: manifest::FORMAT,
        id: SnapshotId::new(created_ms, last_sequence),
        created_ms,
        last_sequence: last_sequence.0,
        folder: manifest::folder(log.secret()),
        damaged_records: copy.damaged_records,
        plain_records: Some(copy.plain_records),
        files,
    };
    // A key is durable before anything is sealed with it, so those of the records above are here by now.
    update_keys(log.keys(), store)?;
    // Also blocks that an earlier attempt left behind.
    store.sync()?;
    store.put(&manifest_name(&manifest.id), &manifest.encode())?;
    store.sync()?;
    Ok(Created { manifest, blocks_written: copy.blocks_written, bytes_written: copy.bytes_written })
}

/// What was deleted from a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Snapshots.
    pub snapshots: u64,
    /// Blocks that no other one needs.
    pub blocks: u64,
    /// Snapshots that are left.
    pub left: u64,
}

/// Deletes all snapshots but the newest `keep`, then the blocks that none of these needs. Nobody makes a snapshot meanwhile.
///
/// # Errors
/// [`SnapshotError`]; nothing is deleted if one that stays cannot be read, because nobody knows its blocks then.
pub fn prune(ctx: &Ctx, store: &dyn SnapshotStore, keep: NonZeroUsize) -> Result<Pruned, SnapshotError> {
    let mut old = list(store)?;
    let stay = old.split_off(old.len().saturating_sub(keep.get()));
    let mut needed = HashSet::new();
    for id in &stay {
        ctx.check()?;
        let manifest = read(store, Some(id))?;
        needed.extend(manifest.files.iter().flat_map(|file| file.blocks.iter().copied()));
    }
    // Manifests go first: one without its blocks would pass for a snapshot.
    for id in &old {
        ctx.check()?;
        store.delete(&manifest_name(id))?;
    }
    store.sync()?;
    let mut blocks = 0;
    for block in store.list(BLOCKS)?.iter().filter_map(|name| BlockHash::parse(name)) {
        ctx.check()?;
        if !needed.contains(&block) {
            store.delete(&block_name(block))?;
            blocks += 1;
        }
    }
    store.sync()?;
    Ok(Pruned { snapshots: old.len() as u64, blocks, left: stay.len() as u64 })
}

/// Makes the keys in `store` those of the folder, the destroyed ones too. Only the difference is written.
pub(crate) fn update_keys(keys: &TenantKeys, store: &dyn SnapshotStore) -> Result<(), SnapshotError> {
    // Whoever read the files before a key was destroyed must not put it back after.
    let _one = keys.copying();
    let files = keys.files().map_err(SnapshotError::Log)?;
    if files.is_empty() {
        return Ok(());
    }
    let there: HashSet<String> = store.list(keys::FOLDER)?.into_iter().collect();
    let mut changed = false;
    for (name, file) in files {
        let destroyed = format!("{name}{DESTROYED}");
        match file {
            KeyFile::Sealed { .. } if !there.contains(&name) => store.put(&key_name(&name), &file.encode())?,
            KeyFile::Destroyed { .. } if !there.contains(&destroyed) || there.contains(&name) => {
                store.put(&key_name(&destroyed), &file.encode())?;
                store.delete(&key_name(&name))?;
            }
            KeyFile::Sealed { .. } | KeyFile::Destroyed { .. } => continue,
        }
        changed = true;
    }
    if changed { Ok(store.sync()?) } else { Ok(()) }
}

/// Whether `store` says that a tenant's key is destroyed, and has it no more.
///
/// # Errors
/// [`SnapshotError::Store`]
pub fn is_key_destroyed(store: &dyn SnapshotStore, tenant: TenantKey) -> Result<bool, SnapshotError> {
    let name = keys::file_name(tenant);
    let destroyed = store.get(&key_name(&format!("{name}{DESTROYED}")))?.is_some();
    Ok(destroyed && store.get(&key_name(&name))?.is_none())
}

fn key_name(name: &str) -> String {
    format!("{}/{name}", keys::FOLDER)
}

/// Blocks on their way.
struct Copy<'a> {
    store: &'a dyn SnapshotStore,
    there: HashSet<BlockHash>,
    blocks_written: u64,
    bytes_written: u64,
    damaged_records: u64,
    plain_records: u64,
}

impl<'a> Copy<'a> {
    fn new(store: &'a dyn SnapshotStore) -> Result<Copy<'a>, SnapshotError> {
        // One question instead of one for each block.
        let there = store.list(BLOCKS)?.iter().filter_map(|name| BlockHash::parse(name)).collect();
        Ok(Copy { store, there, blocks_written: 0, bytes_written: 0, damaged_records: 0, plain_records: 0 })
    }

    fn segment(&mut self, ctx: &Ctx, log: &Log, segment: &Segment) -> Result<SnapshotFile, SnapshotError> {
        let failed = |source| SnapshotError::Log(LedgerError::read("read a segment")(source));
        // Behind the records of a sealed one stands its table of contents.
        let bytes = if segment.sealed { segment.file.len().map_err(failed)? } else { segment.end };
        let mut check = Check { log, places: segment.contents.places().peekable(), bytes: Vec::new(), start: 0 };
        let mut blocks = Vec::new();
        let mut offset = 0;
        while offset < bytes {
            ctx.check()?;
            let mut block = vec![0; block_bytes(bytes, offset)];
            segment.file.read_at(offset, &mut block).map_err(failed)?;
            offset += block.len() as u64;
            let Looked { damaged, plain } = check.look_at(&block).map_err(SnapshotError::Log)?;
            self.damaged_records += damaged;
            self.plain_records += plain;
            blocks.push(self.block(&block)?);
        }
        Ok(SnapshotFile { segment: segment.number, bytes, blocks })
    }

    fn block(&mut self, bytes: &[u8]) -> Result<BlockHash, SnapshotError> {
        let hash = BlockHash::of(bytes);
        if self.there.insert(hash) {
            self.store.put(&block_name(hash), bytes)?;
            self.blocks_written += 1;
            self.bytes_written += bytes.len() as u64;
        }
        Ok(hash)
    }
}

/// Looks at records while they are copied: a block's hash says that it is kept as it was read, not that this was what was
/// written.
struct Check<'a, P: Iterator<Item = Place>> {
    log: &'a Log,
    places: Peekable<P>,
    /// What was read of the next record so far.
    bytes: Vec<u8>,
    /// Where that stands.
    start: u64,
}

/// Of some records.
#[derive(Default)]
struct Looked {
    damaged: u64,
    /// Not encrypted, though a tenant's bytes may be in them.
    plain: u64,
}

impl<P: Iterator<Item = Place>> Check<'_, P> {
    /// Counts the records that `block` ends.
    fn look_at(&mut self, block: &[u8]) -> Result<Looked, LedgerError> {
        self.bytes.extend_from_slice(block);
        let end = self.start + self.bytes.len() as u64;
        let mut looked = Looked::default();
        while let Some(place) = self.places.next_if(|place| place.end() <= end) {
            let from = (place.offset - self.start) as usize;
            let whole = self.log.whole(place.sequence, &self.bytes[from..from + place.bytes as usize])?;
            match whole {
                None => looked.damaged += 1,
                Some((header, _)) => looked.plain += u64::from(header.seal.is_none() && place.may_be_a_tenants()),
            }
        }
        let next = self.places.peek().map_or(end, |place| place.offset.min(end));
        self.bytes.drain(..(next - self.start) as usize);
        self.start = next;
        Ok(looked)
    }
}

/// The `ordinal`-th block of `file`, as it was written.
fn fetch(
    store: &dyn SnapshotStore,
    file: &SnapshotFile,
    ordinal: usize,
    block: BlockHash,
) -> Result<Vec<u8>, SnapshotError> {
    let bytes = store.get(&block_name(block))?;
    let bytes = bytes.ok_or_else(|| SnapshotError::BlockMissing { block, file: file.name() })?;
    let whole = BlockHash::of(&bytes) == block && bytes.len() == block_bytes(file.bytes, file.offset_of(ordinal));
    if whole { Ok(bytes) } else { Err(SnapshotError::BlockDamaged { block, file: file.name() }) }
}

/// How long the block at `offset` of a file of `bytes` is.
fn block_bytes(bytes: u64, offset: u64) -> usize {
    usize::try_from(bytes.saturating_sub(offset)).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES))
}

fn block_name(block: BlockHash) -> String {
    format!("{BLOCKS}/{block}")
}

fn manifest_name(id: &SnapshotId) -> String {
    format!("{SNAPSHOTS}/{id}.json")
}

#[cfg(test)]
mod tests;
