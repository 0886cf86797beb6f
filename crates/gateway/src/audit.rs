//! The record of every model call: one append-only chain a tenant, whose content can be erased while the chain stays provable.
//!
//! | file               | responsibility                                                             |
//! | ------------------ | -------------------------------------------------------------------------- |
//! | `audit/entry.rs`   | what is recorded of a call, and what is searched by                          |
//! | `audit/frame.rs`   | the bytes of segments and frames; commitments and links                      |
//! | `audit/chain.rs`   | one tenant's chain: opened, its torn end mended, appended to                 |
//! | `audit/read.rs`    | tail, search, export                                                         |
//! | `audit/verify.rs`  | whether the chain is what was written                                        |
//! | `audit/erase.rs`   | content erased by request, document or age                                   |
//! | `audit/seal.rs`    | the seam where content is encrypted                                          |
//! | `audit/writer.rs`  | one thread that records for everybody: one sync for all that waits           |
//!
//! An entry's content gets a random salt; `commitment = H(salt, content)` and `link = H(link before, commitment, sequence)`.
//! Erasing overwrites content and salt: the links stay, and what was committed to can no longer be guessed at. Which entries
//! were erased is itself an entry. Sequences count one tenant's entries alone, from 1.
//!
//! Invariants:
//! - *acked-survives*: an entry that [`Audit::append`] or the writer has acknowledged was synced.
//! - *one-tenant-one-folder*: no file holds bytes, hashes or counts of two tenants.
//! - *no-silent-change*: an entry that was changed, removed, moved or added is named by [`Audit::verify`]; what was cut off the
//!   end is found by a head that somebody kept.
//! - No error and no `Debug` text holds content.

mod chain;
mod entry;
mod erase;
mod frame;
mod read;
mod seal;
mod verify;
mod writer;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ibid_core::TenantKey;
use ibid_runtime::{Disk, Random};

pub use entry::{CacheState, Entry, ReadFrom, Search};
pub use erase::Erase;
pub use read::{Recorded, Stated};
pub use seal::{Plain, Seal};
pub use verify::{Problem, Verification};
pub use writer::{Pending, Writer, WriterConfig};

use chain::Chain;

/// Where the record is and how it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The folder; one folder a tenant in it.
    pub folder: PathBuf,
    /// When a chain goes on in a new file, in bytes: 64 KiB to 1 GiB. Retention removes whole files.
    pub segment_bytes: u64,
    /// How many chains are kept open, at least 1.
    pub open_max: usize,
}

/// Why a record was not written or not read. No message names a path or holds content.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A configuration that cannot be used.
    #[error("{field}: {given} given, expected {expected}")]
    Config {
        /// The field.
        field: &'static str,
        /// What it was.
        given: u64,
        /// What it may be.
        expected: &'static str,
    },
    /// An entry beyond the format's limit.
    #[error("the entry has {given} bytes, at most {bytes_max} are recorded")]
    TooLarge {
        /// Its bytes.
        given: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// Too much waits to be written; try again later.
    #[error("{waiting} entries wait to be recorded, which is the limit")]
    Overloaded {
        /// Entries waiting.
        waiting: usize,
    },
    /// The disk refused. Nothing of what was to be written counts; writing goes on once it can.
    #[error("{doing}")]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// What the disk said.
        #[source]
        source: Arc<io::Error>,
    },
    /// A file that is none of this chain, or that a newer version wrote. It is kept as it is.
    #[error("a file of the record has {problem}; move it away to start anew, or restore it from a copy")]
    Corrupt {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The content cannot be sealed, for instance because the tenant's key is destroyed.
    #[error("the tenant's key cannot seal the record: {problem}")]
    Seal {
        /// Why.
        problem: String,
    },
    /// The writer was closed.
    #[error("the record is closed")]
    Closed,
}

impl AuditError {
    /// The same error for another who waited for the same write.
    fn again(&self) -> AuditError {
        match self {
            AuditError::Config { field, given, expected } => AuditError::Config { field, given: *given, expected },
            AuditError::TooLarge { given, bytes_max } => AuditError::TooLarge { given: *given, bytes_max: *bytes_max },
            AuditError::Overloaded { waiting } => AuditError::Overloaded { waiting: *waiting },
            AuditError::Disk { doing, source } => AuditError::Disk { doing, source: Arc::clone(source) },
            AuditError::Corrupt { problem } => AuditError::Corrupt { problem },
            AuditError::Seal { problem } => AuditError::Seal { problem: problem.clone() },
            AuditError::Closed => AuditError::Closed,
        }
    }
}

fn disk(doing: &'static str) -> impl FnOnce(io::Error) -> AuditError {
    move |source| AuditError::Disk { doing, source: Arc::new(source) }
}

/// The end of a chain. Whoever keeps one can tell later that nothing up to it was changed or cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last entry's number; 0 of a chain without entries.
    pub sequence: u64,
    /// The last entry's link.
    pub link: [u8; 32],
}

/// All tenants' records.
#[derive(Debug)]
pub struct Audit {
    config: Config,
    parts: Parts,
    open: Mutex<Open>,
}

#[derive(Debug, Clone)]
struct Parts {
    disk: Arc<dyn Disk>,
    random: Arc<dyn Random>,
    seal: Arc<dyn Seal>,
}

#[derive(Debug, Default)]
struct Open {
    chains: HashMap<TenantKey, (u64, Arc<Mutex<Chain>>)>,
    used: u64,
}

impl Audit {
    /// The records in `config.folder`. Reads nothing yet: a chain is opened when it is first used.
    ///
    /// # Errors
    /// [`AuditError::Config`], or the folder cannot be made.
    pub fn open(
        config: Config,
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        seal: Arc<dyn Seal>,
    ) -> Result<Audit, AuditError> {
        if !(64 << 10..=1 << 30).contains(&config.segment_bytes) {
            let given = config.segment_bytes;
            return Err(AuditError::Config { field: "segment_bytes", given, expected: "64 KiB to 1 GiB" });
        }
        if config.open_max == 0 {
            return Err(AuditError::Config { field: "open_max", given: 0, expected: "at least 1" });
        }
        disk.create_dir_all(&config.folder).map_err(self::disk("make the record's folder"))?;
        Ok(Audit { config, parts: Parts { disk, random, seal }, open: Mutex::default() })
    }

    /// Appends `entries` to the tenant's chain, all or none of them, and syncs. Blocks the thread; [`Writer`] does not.
    ///
    /// # Errors
    /// [`AuditError`]: none of them counts. After a power cut that follows an error some may be there all the same.
    pub fn append(&self, tenant: TenantKey, entries: &[Entry]) -> Result<Head, AuditError> {
        let contents = entries.iter().map(Entry::encode).collect::<Result<Vec<_>, _>>()?;
        let chain = self.chain(tenant)?;
        let mut chain = lock(&chain);
        let frames: Vec<_> = contents.into_iter().map(|content| (frame::Kind::Entry, content)).collect();
        chain.append(&frames)?;
        Ok(chain.head())
    }

    /// The end of the tenant's chain now.
    ///
    /// # Errors
    /// [`AuditError`]: the chain cannot be read.
    pub fn head(&self, tenant: TenantKey) -> Result<Head, AuditError> {
        let chain = self.chain(tenant)?;
        let chain = lock(&chain);
        Ok(chain.head())
    }

    /// Removes a deleted tenant's record with all of its files.
    ///
    /// # Errors
    /// [`AuditError::Disk`]
    pub fn remove(&self, tenant: TenantKey) -> Result<(), AuditError> {
        let chain = self.chain(tenant);
        // Who is in the middle of a write goes on first; whoever comes later starts a new chain.
        let held = chain.as_ref().ok().map(|chain| lock(chain));
        self.lock_open().chains.remove(&tenant);
        let folder = self.tenant_folder(tenant);
        self.parts.disk.remove_dir_all(&folder).map_err(disk("remove a tenant's record"))?;
        let synced = self.parts.disk.sync_dir(&self.config.folder).map_err(disk("sync the record's folder"));
        if let Some(mut chain) = held {
            chain.retire();
        }
        synced
    }

    fn tenant_folder(&self, tenant: TenantKey) -> PathBuf {
        self.config.folder.join(format!("{:016x}", tenant.0))
    }

    fn chain(&self, tenant: TenantKey) -> Result<Arc<Mutex<Chain>>, AuditError> {
        let mut open = self.lock_open();
        open.used += 1;
        let used = open.used;
        if let Some((last, chain)) = open.chains.get_mut(&tenant) {
            *last = used;
            return Ok(Arc::clone(chain));
        }
        let chain = Chain::open(tenant, self.tenant_folder(tenant), self.config.segment_bytes, self.parts.clone())?;
        let chain = Arc::new(Mutex::new(chain));
        open.chains.insert(tenant, (used, Arc::clone(&chain)));
        while open.chains.len() > self.config.open_max {
            // One that somebody holds stays: two of one chain would write over each other.
            let idle = open.chains.iter().filter(|(_, (_, chain))| Arc::strong_count(chain) == 1);
            let Some(tenant) = idle.min_by_key(|(_, (last, _))| *last).map(|(tenant, _)| *tenant) else { break };
            open.chains.remove(&tenant);
        }
        Ok(chain)
    }

    fn lock_open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(chain: &Mutex<Chain>) -> MutexGuard<'_, Chain> {
    chain.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
