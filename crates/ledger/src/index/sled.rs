//! The index in sled, held at arm's length.
//!
//! sled 0.34 panics on files that were damaged, in its callers' threads and in its own. It is a view that can be rebuilt,
//! so every call catches a panic and gives an error; what it says is believed only because the log keeps its digest.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use super::{Changes, Digest, Index, IndexError, digest};

/// Entries in sled's default tree.
pub(crate) struct SledIndex {
    /// `None` only while it is dropped.
    db: Option<sled::Db>,
}

impl SledIndex {
    /// Opens or makes the store at `path` and reads all of it, on a thread of its own: what is damaged may panic or hang
    /// there. A thread that hangs is left behind.
    pub(crate) fn open(path: PathBuf, cache_bytes: u64, at_most: Duration) -> Result<(SledIndex, Digest), IndexError> {
        let (done, opened) = mpsc::channel();
        let work = move || {
            let result = caught("open", || {
                let config = sled::Config::new().path(path).cache_capacity(cache_bytes).flush_every_ms(None);
                let index = SledIndex { db: Some(config.open()?) };
                Ok(index)
            });
            let result = result.and_then(|index| digest(&index).map(|digest| (index, digest)));
            // Nobody waits any more once the time is over.
            let _ = done.send(result);
        };
        let thread = std::thread::Builder::new().name("ledger-index".to_owned()).spawn(work);
        thread.map_err(|error| IndexError::Failed(format!("sled's thread did not start: {error}")))?;
        opened.recv_timeout(at_most).unwrap_or(Err(IndexError::Late { at_most }))
    }

    fn with<T>(&self, doing: &str, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, IndexError> {
        let db = self.db.as_ref().expect("there until it is dropped");
        caught(doing, || work(db))
    }
}

impl Drop for SledIndex {
    fn drop(&mut self) {
        let db = self.db.take();
        if let Err(error) = caught("close", || {
            drop(db);
            Ok(())
        }) {
            tracing::warn!(%error, "the index did not close; it is rebuilt when the ledger is opened");
        }
    }
}

impl std::fmt::Debug for SledIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SledIndex(..)")
    }
}

impl Index for SledIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.with("read", |db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    fn apply(&self, changes: &Changes) -> Result<(), IndexError> {
        let mut batch = sled::Batch::default();
        for (key, change) in changes {
            match change {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        self.with("write", |db| db.apply_batch(batch))
    }

    fn scan_prefix(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), IndexError> {
        self.with("scan", |db| {
            for entry in db.scan_prefix(prefix) {
                let (key, value) = entry?;
                visit(&key, &value);
            }
            Ok(())
        })
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.with("flush", |db| db.flush().map(drop))
    }
}

/// Runs `work` so that a panic in it is an error.
fn caught<T>(doing: &str, work: impl FnOnce() -> sled::Result<T>) -> Result<T, IndexError> {
    // After a failure the store is thrown away, so nobody sees what a panic left half changed.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| IndexError::Failed(format!("sled failed to {doing}: {error}"))),
        Err(_) => Err(IndexError::Failed(format!("sled panicked on {doing}"))),
    }
}
