//! Snapshots by the engine: one at a time, given up when nobody waits.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::executor::block_on;
use ibid_core::Operator;
use ibid_engine::snapshots::{self, FolderStore, SnapshotStore, StoreError};
use ibid_engine::{EngineError, Stage};
use ibid_runtime::{Ctx, MemoryDisk};

use crate::house::{House, ctx};

/// Takes nothing until nobody waits for the snapshot any more.
#[derive(Debug)]
struct Stuck {
    store: FolderStore,
    reached: AtomicBool,
    snapshot: Ctx,
}

/// Gives up after ten seconds.
fn wait_until(holds: impl Fn() -> bool) {
    (0..10_000).take_while(|_| !holds()).for_each(|_| std::thread::sleep(Duration::from_millis(1)));
}

impl SnapshotStore for Stuck {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.reached.store(true, Ordering::SeqCst);
        wait_until(|| self.snapshot.check().is_err());
        self.store.put(name, bytes)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(name)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.store.list(folder)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.store.delete(name)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.store.sync()
    }
}

#[test]
fn one_snapshot_is_made_at_a_time_and_closing_stops_it() {
    let house = House::new();
    let partition = house.partition("acme");
    let text = |seed: u32| (0..40_000).map(|n: u32| format!("{:x} ", n.wrapping_mul(seed))).collect::<String>();
    house.put(&partition, "a", &text(2_654_435_761), Stage::Durable).unwrap();
    house.put(&partition, "b", &text(2_246_822_519), Stage::Durable).unwrap();
    let store = FolderStore::new(Arc::new(MemoryDisk::new()), Path::new("backup").to_owned());
    let snapshot = ctx(&house.clock);
    let stuck = Arc::new(Stuck { store, reached: AtomicBool::new(false), snapshot: snapshot.clone() });
    let create = |ctx: &Ctx| {
        let store = Arc::clone(&stuck) as Arc<dyn SnapshotStore>;
        block_on(house.engine.create_snapshot(ctx, &Operator::of_this_process(), store))
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| create(&snapshot));
        wait_until(|| stuck.reached.load(Ordering::SeqCst));
        assert!(matches!(create(&ctx(&house.clock)), Err(EngineError::Unfit(_))), "a second one meanwhile");
        // Writers do not wait for it.
        house.put(&partition, "c", "It goes on.", Stage::Durable).unwrap();
        house.engine.close();
        let stopped = first.join().unwrap();
        assert!(matches!(stopped, Err(EngineError::Stopped(_))), "{stopped:?}");
    });
    assert_eq!(snapshots::list(&*stuck).unwrap(), [], "no manifest, no snapshot");
    assert!(matches!(create(&ctx(&house.clock)), Err(EngineError::Closing)));
}
