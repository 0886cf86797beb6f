//! Compacting the log: what was deleted or replaced is gone from the disk, everything else is found as before.

use std::path::Path;
use std::time::Duration;

use futures::executor::block_on;
use ibid_core::{CollectionName, DocumentId, Operator, TenantName};
use ibid_engine::{Compacted, Stage};
use ibid_runtime::Disk;

use crate::house::{House, ctx, docs};

pub(crate) const CANARY: &str = "quetzalcoatl";

fn compact(house: &House) -> Compacted {
    block_on(house.engine.compact(&ctx(&house.clock), &Operator::of_this_process())).unwrap()
}

/// The files under `dir` in which the canary's bytes stand.
pub(crate) fn sightings(disk: &dyn Disk, dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for path in disk.list(dir).unwrap().into_iter().map(|name| dir.join(name)) {
        match disk.read(&path) {
            Ok(bytes) if bytes.windows(CANARY.len()).any(|piece| piece == CANARY.as_bytes()) => {
                found.push(path.display().to_string());
            }
            Ok(_) => {}
            Err(_) => found.extend(sightings(disk, &path)),
        }
    }
    found
}

#[test]
fn what_was_deleted_leaves_the_disk_and_everything_else_stays() {
    let mut house = House::new();
    let kept = house.partition("acme");
    let canary = |name: &str| format!("# {CANARY} {name}\n\nThe {CANARY} of {name} is red.");
    let gone = house.partition(CANARY);
    for round in 0..30 {
        house.put(&kept, &format!("kept-{round}"), &format!("Apple {round} is red."), Stage::Vector).unwrap();
        house.put(&gone, &format!("{CANARY}-{round}"), &canary("a tenant"), Stage::Vector).unwrap();
    }
    house.put(&kept, "replaced", &canary("a version"), Stage::Vector).unwrap();
    house.put(&kept, "replaced", "Pears are red.", Stage::Vector).unwrap();
    house.put(&kept, CANARY, &canary("a document"), Stage::Vector).unwrap();
    block_on(kept.delete(&ctx(&house.clock), &DocumentId::new(CANARY).unwrap())).unwrap();
    let right = house.tenant("acme");
    let collection = CollectionName::new(CANARY).unwrap();
    let settings = kept.settings();
    block_on(house.engine.create_collection(&ctx(&house.clock), &right, collection.clone(), settings)).unwrap();
    block_on(house.engine.delete_collection(&right, &collection)).unwrap();
    block_on(house.engine.delete_tenant(&Operator::of_this_process(), &TenantName::new(CANARY).unwrap())).unwrap();
    assert!(!sightings(&house.disk, Path::new("data")).is_empty(), "the test looks at the wrong places");

    let before = house.found(&kept, "red");
    assert_eq!(before.0.len(), 31);
    assert!(compact(&house).records_dropped > 90);
    assert_eq!(sightings(&house.disk, Path::new("data")), Vec::<String>::new());
    drop((kept, gone));
    for _ in 0..2 {
        let kept = house.partition("acme");
        assert_eq!(house.found(&kept, "red"), before);
        // A name that was forgotten is free, and nothing of what had it comes back.
        let again = house.partition(CANARY);
        house.check(&again, "red", &[]);
        let back = house.put(&kept, CANARY, "A bird.", Stage::Vector).unwrap();
        assert!(back.revision.0 >= 3, "a revision is never given out twice: {back:?}");
        block_on(kept.delete(&ctx(&house.clock), &DocumentId::new(CANARY).unwrap())).unwrap();
        drop((kept, again));
        house = house.power_cut();
    }
}

#[test]
fn what_was_deleted_is_erased_in_time_without_being_asked() {
    let house = House::new();
    let kept = house.partition("acme");
    house.put(&kept, "a", &format!("The {CANARY} is red."), Stage::Vector).unwrap();
    block_on(kept.delete(&ctx(&house.clock), &DocumentId::new("a").unwrap())).unwrap();
    assert!(!sightings(&house.disk, Path::new("data")).is_empty());
    house.clock.advance(Duration::from_secs(3_601));
    while !sightings(&house.disk, Path::new("data")).is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(kept.name(), &docs());
}
