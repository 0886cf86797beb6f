//! Encrypted ledgers, and what is left of them without their keys.

use std::time::Duration;

use ibid_core::{CollectionKey, DocumentKey, PartitionKey};
use ibid_runtime::{Ctx, Fault, ManualClock, MemoryDisk, Priority, SeededRandom};
use proptest::prelude::*;
use roaring::RoaringTreemap;

use super::*;
use crate::record::strategy;
use crate::snapshot::{self, FolderStore};
use crate::{Config, IndexKind, Ledger, Report, Whose};

const FOLDER: &str = "data";
const CANARY: &[u8] = b"a canary in the coal mine";

fn master(byte: &str) -> Option<MasterKey> {
    Some(MasterKey::parse(&byte.repeat(32)).unwrap())
}

fn open_at(disk: &MemoryDisk, folder: &str, master_key: Option<MasterKey>) -> Result<(Ledger, Report), LedgerError> {
    let config = Config {
        segment_bytes_max: 2_000,
        room_bytes: 400,
        queue_bytes_max: 1 << 20,
        index_open_max: Duration::from_secs(30),
        index_cache_bytes: 1 << 20,
        index_changes_max: 40,
        master_key,
    };
    let (disk, clock, random) = (Arc::new(disk.clone()), ManualClock::at(7), Arc::new(SeededRandom::new(1)));
    Ledger::open(disk, Path::new(folder), config, IndexKind::Memory, &clock, random)
}

fn open(disk: &MemoryDisk, master_key: Option<MasterKey>) -> Ledger {
    let (ledger, report) = open_at(disk, FOLDER, master_key).unwrap();
    assert_eq!(report.damaged, []);
    ledger
}

fn partition(tenant: u64) -> PartitionKey {
    PartitionKey { tenant: TenantKey(tenant), collection: CollectionKey(1) }
}

/// A document of a tenant, with the canary in a field that is not compressed.
fn put(tenant: u64, document: u8) -> Record {
    let mut stored = strategy::stored(1, "text", None);
    stored.title = String::from_utf8(CANARY.to_vec()).unwrap();
    Record::DocumentPut { partition: partition(tenant), document: DocumentKey([document; 16]), put: Box::new(stored) }
}

fn files(disk: &MemoryDisk, folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for name in disk.list(folder).unwrap_or_default() {
        let path = folder.join(name);
        match disk.read(&path) {
            Ok(bytes) => files.push((path, bytes)),
            Err(_) => files.extend(self::files(disk, &path)),
        }
    }
    files
}

fn holds(disk: &MemoryDisk, folder: &str, needle: &[u8]) -> bool {
    files(disk, Path::new(folder)).iter().any(|(_, bytes)| bytes.windows(needle.len()).any(|window| window == needle))
}

fn ctx() -> Ctx {
    Ctx::new(Arc::new(ManualClock::at(7)), Priority::Ingest, None)
}

fn compact(ledger: &Ledger) {
    ledger.seal().unwrap();
    ledger.compact(&ctx(), 0, 0, 0, &RoaringTreemap::new()).unwrap();
    ledger.release();
}

#[test]
fn without_the_right_master_key_the_folder_stays_as_it_is() {
    let disk = MemoryDisk::new();
    let ledger = open(&disk, master("a0"));
    ledger.append(put(1, 1)).wait().unwrap();
    drop(ledger);
    let before = files(&disk, Path::new(FOLDER));
    assert!(!holds(&disk, FOLDER, CANARY));

    assert!(matches!(open_at(&disk, FOLDER, None), Err(LedgerError::MasterKeyMissing)));
    assert!(matches!(open_at(&disk, FOLDER, master("a1")), Err(LedgerError::MasterKeyWrong)));
    assert!(files(&disk, Path::new(FOLDER)) == before);

    let ledger = open(&disk, master("a0"));
    let head = ledger.head(partition(1), DocumentKey([1; 16])).unwrap().unwrap();
    assert!(ledger.read(head.current.put.unwrap()).unwrap() == put(1, 1));
}

#[test]
fn a_folder_is_encrypted_from_then_on_and_wholly_once_it_is_compacted() {
    let disk = MemoryDisk::new();
    let ledger = open(&disk, None);
    ledger.append(put(1, 1)).wait().unwrap();
    ledger.append(put(1, 1)).wait().unwrap();
    drop(ledger);
    let ledger = open(&disk, master("a0"));
    ledger.append(put(1, 2)).wait().unwrap();
    assert!(holds(&disk, FOLDER, CANARY));
    compact(&ledger);
    assert!(!holds(&disk, FOLDER, CANARY));
    drop(ledger);
    let ledger = open(&disk, master("a0"));
    assert_eq!(ledger.heads(partition(1)).unwrap().len(), 2);
}

#[test]
fn a_destroyed_key_takes_what_it_sealed_along_in_snapshots_too() {
    let disk = MemoryDisk::new();
    let store = FolderStore::new(Arc::new(disk.clone()), PathBuf::from("backup"));
    let ledger = open(&disk, master("a0"));
    for tenant in [1, 2] {
        ledger.append(put(tenant, 1)).wait().unwrap();
    }
    let earlier = ledger.snapshot(&ctx(), &store, 7).unwrap().manifest;
    assert!(!holds(&disk, "backup", CANARY));
    let whose = Whose::Tenant(TenantKey(1));
    assert_eq!(ledger.holding(&ctx(), &whose).unwrap().found, 1);

    let sealed = disk.read(Path::new("data/tenant-keys/0000000000000001")).unwrap();
    ledger.append(Record::TenantDeleted { tenant: TenantKey(1), deleted_ms: 9 }).wait().unwrap();
    ledger.destroy_key(TenantKey(1), 9).unwrap();
    assert_eq!(ledger.holding(&ctx(), &whose).unwrap().found, 0, "before anything is compacted");
    assert_eq!(ledger.deleted_ms(&whose).unwrap(), Some(9));
    assert!(!snapshot::is_key_destroyed(&store, TenantKey(1)).unwrap());
    ledger.update_keys(&store).unwrap();
    assert!(snapshot::is_key_destroyed(&store, TenantKey(1)).unwrap());
    let key = &sealed[41..89];
    assert!(!holds(&disk, FOLDER, key) && !holds(&disk, "backup", key));
    // What a stage of the deleted tenant still had to say.
    ledger.append(put(1, 7)).wait().unwrap();
    drop(ledger);
    let ledger = open(&disk, master("a0"));
    assert_eq!(ledger.holding(&ctx(), &whose).unwrap().found, 0);
    compact(&ledger);

    snapshot::restore(&ctx(), &store, &earlier, &disk, Path::new("restored")).unwrap();
    let (restored, report) = open_at(&disk, "restored", master("a0")).unwrap();
    assert_eq!(report.damaged, [], "what is erased on purpose is no damage");
    assert_eq!(restored.heads(partition(1)).unwrap(), []);
    assert!(restored.deleted_ms(&whose).unwrap().is_some(), "the snapshot was older than the deletion");
    assert_eq!(restored.heads(partition(2)).unwrap().len(), 1);
    compact(&restored);
    assert_eq!(restored.heads(partition(2)).unwrap().len(), 1);
}

#[test]
fn a_lost_key_is_damage_and_what_it_sealed_waits_for_it() {
    let disk = MemoryDisk::new();
    let ledger = open(&disk, master("a0"));
    for (tenant, document) in [(1, 1), (2, 1), (2, 1)] {
        ledger.append(put(tenant, document)).wait().unwrap();
    }
    drop(ledger);
    let path = Path::new("data/tenant-keys/0000000000000001");
    let sealed = disk.read(path).unwrap();
    disk.open(path).unwrap().write_at(50, &[!sealed[50]]).unwrap();

    let (ledger, report) = open_at(&disk, FOLDER, master("a0")).unwrap();
    assert_eq!(report.damaged.len(), 1);
    assert_eq!(ledger.heads(partition(2)).unwrap().len(), 1, "the others are served");
    assert!(matches!(ledger.append(put(1, 2)).wait(), Err(LedgerError::KeyLost { .. })));
    compact(&ledger);
    drop(ledger);

    disk.open(path).unwrap().write_at(0, &sealed).unwrap();
    assert_eq!(open(&disk, master("a0")).heads(partition(1)).unwrap().len(), 1);
}

#[test]
fn a_destruction_that_was_cut_off_is_finished_and_no_damage() {
    let disk = MemoryDisk::new();
    let ledger = open(&disk, master("a0"));
    for tenant in [1, 2] {
        ledger.append(put(tenant, 1)).wait().unwrap();
    }
    ledger.append(Record::TenantDeleted { tenant: TenantKey(1), deleted_ms: 7 }).wait().unwrap();
    disk.inject(Fault::WriteTorn(0));
    assert!(ledger.destroy_key(TenantKey(1), 7).is_err());
    drop(ledger);
    let ledger = open(&disk, master("a0"));
    assert!(ledger.is_key_destroyed(TenantKey(1)));
    assert_eq!(ledger.heads(partition(2)).unwrap().len(), 1);
}

#[test]
fn a_key_is_durable_before_what_it_seals() {
    let disk = MemoryDisk::new();
    let ledger = open(&disk, master("a0"));
    ledger.append(put(1, 1)).wait().unwrap();
    disk.power_cut();
    drop(ledger);
    assert_eq!(open(&disk, master("a0")).heads(partition(1)).unwrap().len(), 1);
}

#[test]
fn a_full_disk_refuses_the_first_write_of_a_tenant_and_takes_the_next() {
    let disk = MemoryDisk::new();
    let ledger = open(&disk, master("a0"));
    disk.inject(Fault::DiskFull(1));
    assert!(matches!(ledger.append(put(1, 1)).wait(), Err(LedgerError::Full)));
    ledger.append(put(1, 1)).wait().unwrap();
}

proptest! {
    #[test]
    fn a_key_file_with_any_byte_changed_is_none(at in 0..FILE_BYTES, change in 1..=255_u8, destroyed: bool) {
        let tenant = TenantKey(7);
        let file = match destroyed {
            true => KeyFile::Destroyed { tenant, destroyed_ms: 9 },
            false => KeyFile::Sealed { tenant, nonce: [3; NONCE_BYTES], key: [4; SEALED_BYTES] },
        };
        let mut bytes = file.encode();
        prop_assert_eq!(KeyFile::decode(&bytes), Some(file));
        bytes[at] ^= change;
        prop_assert_eq!(KeyFile::decode(&bytes), None);
    }
}
