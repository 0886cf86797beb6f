//! A store that is slow to write, with the latest changes in front of it, in memory.
//!
//! The store holds exactly what it held at a checkpoint; later changes are in `recent`. Now and then these are set apart as
//! `frozen`, the log is told what the store will hold with them, and they go into the store: writers do not wait. So the
//! store is always at one of the log's last two checkpoints, and opening replays from there.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Changes, Digest, Index, IndexError, key};
use crate::Sequence;

/// A store and the changes in front of it.
pub(crate) struct LayeredIndex {
    store: Arc<dyn Index>,
    layers: RwLock<Layers>,
    /// Held from freezing to thawing: two at once would each tell the log of a store that the other one changes.
    moving: Mutex<()>,
}

struct Layers {
    recent: Changes,
    /// On their way into the store.
    frozen: Option<Arc<Changes>>,
    /// What the store holds without either.
    digest: Digest,
}

impl std::fmt::Debug for LayeredIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LayeredIndex(..)")
    }
}

/// Changes that are on their way into the store.
pub(crate) struct Frozen<'a> {
    _turn: MutexGuard<'a, ()>,
    changes: Arc<Changes>,
    /// What the store will hold with them.
    pub(crate) digest: Digest,
    /// The last record in them.
    pub(crate) applied: Sequence,
}

impl LayeredIndex {
    /// In front of `store`, which holds what `digest` says.
    pub(crate) fn new(store: Arc<dyn Index>, digest: Digest) -> LayeredIndex {
        let layers = RwLock::new(Layers { recent: Changes::new(), frozen: None, digest });
        LayeredIndex { store, layers, moving: Mutex::default() }
    }

    /// How many entries have changed since the last checkpoint.
    pub(crate) fn changed(&self) -> usize {
        self.layers().recent.len()
    }

    /// Sets what has changed apart, and says what the store will hold with it. What was set apart before goes along: it did
    /// not get into the store. Waits for whoever is at it.
    pub(crate) fn freeze(&self) -> Result<Frozen<'_>, IndexError> {
        let turn = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let (changes, before) = {
            let mut layers = self.layers_mut();
            let recent = std::mem::take(&mut layers.recent);
            let changes = match layers.frozen.take() {
                None => recent,
                Some(earlier) => {
                    let mut earlier = Arc::unwrap_or_clone(earlier);
                    earlier.extend(recent);
                    earlier
                }
            };
            let changes = Arc::new(changes);
            layers.frozen = Some(Arc::clone(&changes));
            (changes, layers.digest)
        };
        let mut digest = before;
        for (key, change) in &*changes {
            if let Some(old) = self.store.get(key)? {
                digest.remove(key, &old);
            }
            if let Some(new) = change {
                digest.add(key, new);
            }
        }
        let applied = match changes.get(key::APPLIED) {
            Some(Some(applied)) => super::decode(applied)?,
            Some(None) | None => super::get(&*self.store, key::APPLIED)?.unwrap_or_default(),
        };
        Ok(Frozen { _turn: turn, changes, digest, applied })
    }

    /// Brings what was set apart into the store.
    pub(crate) fn thaw(&self, frozen: &Frozen<'_>) -> Result<(), IndexError> {
        self.store.apply(&frozen.changes)?;
        self.store.flush()?;
        let mut layers = self.layers_mut();
        (layers.frozen, layers.digest) = (None, frozen.digest);
        Ok(())
    }

    fn layers(&self) -> RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn layers_mut(&self) -> RwLockWriteGuard<'_, Layers> {
        self.layers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Layers {
    fn get(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.recent.get(key).or_else(|| self.frozen.as_ref()?.get(key))
    }

    /// The changes under `prefix`, the latest of each key.
    fn under(&self, prefix: &[u8]) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let under = |changes: &Changes| -> Vec<_> {
            let range = changes.range::<[u8], _>(from).take_while(|(key, _)| key.starts_with(prefix));
            range.map(|(key, change)| (key.clone(), change.clone())).collect()
        };
        let mut changes: BTreeMap<_, _> = self.frozen.iter().flat_map(|frozen| under(frozen)).collect();
        changes.extend(under(&self.recent));
        changes
    }
}

impl Index for LayeredIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        // While it is held nothing moves into the store.
        let layers = self.layers();
        match layers.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.store.get(key),
        }
    }

    fn apply(&self, changes: &Changes) -> Result<(), IndexError> {
        self.layers_mut().recent.extend(changes.iter().map(|(key, change)| (key.clone(), change.clone())));
        Ok(())
    }

    fn scan_prefix(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), IndexError> {
        let mut changes = self.layers().under(prefix).into_iter().peekable();
        // What is taken out of the layers meanwhile is in the store by then, and the same.
        self.store.scan_prefix(prefix, &mut |key, value| {
            while let Some((changed, change)) = changes.next_if(|(changed, _)| changed.as_slice() < key) {
                if let Some(change) = change {
                    visit(&changed, &change);
                }
            }
            match changes.next_if(|(changed, _)| changed.as_slice() == key) {
                Some((_, Some(change))) => visit(key, &change),
                Some((_, None)) => {}
                None => visit(key, value),
            }
        })?;
        for (changed, change) in changes {
            if let Some(change) = change {
                visit(&changed, &change);
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), IndexError> {
        let frozen = self.freeze()?;
        self.thaw(&frozen)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{MemoryIndex, digest};
    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Apply(Changes),
        Freeze,
        Thaw,
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0..3u8, 0..3)
    }

    fn step() -> impl Strategy<Value = Step> {
        let changes = prop::collection::btree_map(key(), prop::option::of(prop::collection::vec(0..9u8, 0..3)), 0..5);
        prop_oneof![3 => changes.prop_map(Step::Apply), 1 => Just(Step::Freeze), 1 => Just(Step::Thaw)]
    }

    proptest! {
        #[test]
        fn layers_hold_what_a_plain_map_holds(steps in prop::collection::vec(step(), 0..30), prefix in key()) {
            let (plain, store) = (MemoryIndex::default(), Arc::new(MemoryIndex::default()));
            let layered = LayeredIndex::new(store.clone(), digest(&*store).unwrap());
            let mut frozen = None;
            for step in steps {
                match step {
                    Step::Apply(changes) => {
                        plain.apply(&changes).unwrap();
                        layered.apply(&changes).unwrap();
                    }
                    Step::Freeze => {
                        drop(frozen.take());
                        frozen = Some(layered.freeze().unwrap());
                    }
                    Step::Thaw => {
                        if let Some(frozen) = frozen.take() {
                            layered.thaw(&frozen).unwrap();
                            prop_assert_eq!(digest(&*store).unwrap(), frozen.digest);
                        }
                    }
                }
                let entries = |index: &dyn Index| {
                    let mut entries = Vec::new();
                    index.scan_prefix(&prefix, &mut |key, value| entries.push((key.to_vec(), value.to_vec()))).unwrap();
                    entries
                };
                prop_assert_eq!(entries(&layered), entries(&plain));
                prop_assert_eq!(layered.get(&prefix).unwrap(), plain.get(&prefix).unwrap());
            }
            drop(frozen);
            layered.flush().unwrap();
            prop_assert_eq!(digest(&*store).unwrap(), digest(&plain).unwrap());
        }
    }
}
