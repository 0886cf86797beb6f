//! An index: writes, and what readers see.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ibid_core::Label;

use crate::segment::{Run, Segment};
use crate::store::Saved;
use crate::unit::UnitVector;
use crate::{Config, ConfigError, Snapshot, VectorError, buffer};

/// The vectors of one partition, by label. Vectors are stored at length one: what is read back is the direction that was
/// given, not its length.
///
/// Writes exclude each other; readers never wait for them, nor for [`VectorIndex::maintain`].
///
/// ```
/// # use std::sync::Arc;
/// # use ibid_runtime::{Ctx, Priority, SystemClock};
/// # use ibid_vector::{Build, Config, VectorIndex};
/// let config = Config {
///     dimension: 2, graph_from: 20_000, m: 16, ef_construction: 200, ef_search: 96, seal_from: 4_096,
///     build: Build::Serial,
/// };
/// let index = VectorIndex::new(config)?;
/// index.insert(7, &[3.0, 4.0])?;
/// index.insert(8, &[1.0, 0.0])?;
/// let ctx = Ctx::new(Arc::new(SystemClock::new()), Priority::Query, None);
/// let found = index.snapshot().search(&ctx, &[0.0, 1.0], 1, None)?;
/// assert_eq!(found, [(7, 0.8)]);
/// # Ok::<(), ibid_vector::VectorError>(())
/// ```
pub struct VectorIndex {
    config: Config,
    published: RwLock<Arc<Vec<Run>>>,
    /// Held while a new list of runs is made from the published one.
    writer: Mutex<()>,
    /// Held while segments are merged.
    pub(crate) maintainer: Mutex<()>,
    /// What is on disk; held while saving.
    pub(crate) saved: Mutex<Saved>,
}

impl VectorIndex {
    /// An empty index.
    ///
    /// # Errors
    /// A setting is out of range.
    pub fn new(config: Config) -> Result<VectorIndex, ConfigError> {
        config.check()?;
        Ok(VectorIndex::from_runs(config, Vec::new(), Saved::default()))
    }

    /// `config` was checked, and a label is alive in one run at most.
    pub(crate) fn from_runs(config: Config, runs: Vec<Run>, saved: Saved) -> VectorIndex {
        VectorIndex {
            config,
            published: RwLock::new(Arc::new(runs)),
            writer: Mutex::default(),
            maintainer: Mutex::default(),
            saved: Mutex::new(saved),
        }
    }

    /// What the index was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Stores `vector` under `label`, in place of what was there.
    ///
    /// # Errors
    /// [`VectorError::Dimensions`], [`VectorError::NotFinite`], [`VectorError::Zero`].
    pub fn insert(&self, label: Label, vector: &[f32]) -> Result<(), VectorError> {
        let unit = UnitVector::of(vector, self.config.dimension)?;
        self.write(&[], Segment::of(vec![(label, unit)], self.config.dimension));
        Ok(())
    }

    /// Takes `label` away. Nothing happens if it is not there.
    pub fn remove(&self, label: Label) {
        self.write(&[label], Segment::of(Vec::new(), self.config.dimension));
    }

    /// Takes the labels of `remove` away, then stores those of `add`, each in place of what was there (of several vectors
    /// with one label the last stays). Snapshots see all of it or nothing.
    ///
    /// # Errors
    /// As [`VectorIndex::insert`], for the first vector that is refused; nothing has changed then.
    pub fn apply(&self, remove: &[Label], add: Vec<(Label, Vec<f32>)>) -> Result<(), VectorError> {
        let dimension = self.config.dimension;
        let units = add
            .into_iter()
            .map(|(label, vector)| Ok((label, UnitVector::of(&vector, dimension)?)))
            .collect::<Result<Vec<_>, VectorError>>()?;
        self.write(remove, Segment::of(units, dimension));
        Ok(())
    }

    fn write(&self, remove: &[Label], batch: Segment) {
        self.republish(|runs| {
            buffer::remove(runs, remove.iter().chain(batch.labels()).copied());
            buffer::append(runs, batch, self.config.dimension);
        });
    }

    /// Replaces the published runs by a changed copy.
    pub(crate) fn republish<T>(&self, change: impl FnOnce(&mut Vec<Run>) -> T) -> T {
        let _writing = lock(&self.writer);
        let mut runs = (*self.published()).clone();
        let done = change(&mut runs);
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(runs);
        done
    }

    pub(crate) fn published(&self) -> Arc<Vec<Run>> {
        Arc::clone(&self.published.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is stored now, for as long as the reader likes. Costs no copy.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.config, self.published())
    }
}

impl std::fmt::Debug for VectorIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VectorIndex").field("snapshot", &self.snapshot()).finish_non_exhaustive()
    }
}

/// The lists behind our locks are replaced as a whole, so that a panic elsewhere leaves none half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
