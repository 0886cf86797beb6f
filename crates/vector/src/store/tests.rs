use ibid_runtime::{Fault, MemoryDisk};
use proptest::prelude::*;

use super::*;
use crate::testing::{clustered, ctx, small};

const DIMENSION: usize = 4;
const FOLDER: &str = "index";

/// A sealed segment with a graph and a dead label, and some fresh vectors.
fn index() -> VectorIndex {
    let index = VectorIndex::new(small(DIMENSION)).unwrap();
    index.apply(&[], clustered(21, 60, DIMENSION, 4)).unwrap();
    assert_eq!(index.maintain(&ctx()).unwrap().graphs, 1);
    index.apply(&[7], vec![(100, vec![1.0; DIMENSION]), (101, vec![-1.0; DIMENSION])]).unwrap();
    index
}

fn open(disk: &MemoryDisk) -> Result<(VectorIndex, Option<u64>), VectorError> {
    VectorIndex::open(disk, Path::new(FOLDER), small(DIMENSION))
}

fn files(disk: &MemoryDisk) -> Vec<PathBuf> {
    disk.list(Path::new(FOLDER)).unwrap().into_iter().map(|name| Path::new(FOLDER).join(name)).collect()
}

fn all(index: &VectorIndex) -> Vec<(u32, f32)> {
    index.snapshot().search(&ctx(), &[1.0, 0.5, -0.5, 0.1], 1_000, None).unwrap()
}

#[test]
fn what_was_saved_is_opened_and_sealed_segments_are_written_once() {
    let disk = MemoryDisk::new();
    assert_eq!(open(&disk).unwrap().1, None);
    let saved = index();
    saved.save(&disk, Path::new(FOLDER), 5).unwrap();
    let before = files(&disk);
    assert_eq!(before.len(), 3, "manifest, sealed, fresh: {before:?}");
    disk.create(&Path::new(FOLDER).join("leftover.new")).unwrap();

    let (opened, checkpoint) = open(&disk).unwrap();
    assert_eq!(checkpoint, Some(5));
    assert_eq!(all(&opened), all(&saved));
    assert_eq!(files(&disk), before, "the leftover is gone");

    opened.remove(100);
    opened.save(&disk, Path::new(FOLDER), 6).unwrap();
    let after = files(&disk);
    assert_eq!((after.len(), &after[0]), (3, &before[0]), "only the fresh file has another name");
    assert_eq!(all(&open(&disk).unwrap().0), all(&opened));

    let other = VectorIndex::open(&disk, Path::new(FOLDER), small(8)).unwrap_err();
    assert!(matches!(other, VectorError::StoredDimensions { stored: DIMENSION, expected: 8 }));
}

#[test]
fn a_save_that_fails_anywhere_leaves_the_old_state_or_the_new() {
    let (mut failed, mut step) = (true, 0);
    while failed {
        failed = false;
        for fault in [Fault::SyncFails(step), Fault::WriteTorn(step), Fault::DiskFull(step)] {
            let disk = MemoryDisk::new();
            let index = index();
            index.save(&disk, Path::new(FOLDER), 1).unwrap();
            let old = all(&index);
            index.apply(&[3, 101], clustered(22, 20, DIMENSION, 2)).unwrap();
            index.maintain(&ctx()).unwrap();
            disk.inject(fault);
            let saved = index.save(&disk, Path::new(FOLDER), 2);
            failed |= saved.is_err();
            disk.power_cut();
            let (opened, checkpoint) = open(&disk).unwrap();
            let expected = if saved.is_ok() { (all(&index), Some(2)) } else { (old, Some(1)) };
            assert_eq!((all(&opened), checkpoint), expected, "{fault:?}");
            index.save(&disk, Path::new(FOLDER), 3).unwrap();
            assert_eq!(all(&open(&disk).unwrap().0), all(&index), "saved again after {fault:?}");
        }
        step += 1;
    }
    assert!(step > 2, "faults struck");
}

#[test]
fn any_changed_byte_and_any_missing_end_is_corruption() {
    let disk = MemoryDisk::new();
    index().save(&disk, Path::new(FOLDER), 1).unwrap();
    for path in files(&disk) {
        let whole = disk.read(&path).unwrap();
        for offset in 0..whole.len() {
            disk.flip(&path, offset).unwrap();
            assert!(matches!(open(&disk), Err(VectorError::Corrupt { .. })), "{} {offset}", path.display());
            disk.flip(&path, offset).unwrap();
        }
        for len in (0..whole.len()).step_by(37) {
            let file = disk.open(&path).unwrap();
            file.truncate(len as u64).unwrap();
            assert!(matches!(open(&disk), Err(VectorError::Corrupt { .. })), "{} {len}", path.display());
            file.write_at(0, &whole).unwrap();
        }
        disk.rename(&path, Path::new("away")).unwrap();
        if path.ends_with(MANIFEST) {
            continue;
        }
        assert!(matches!(open(&disk), Err(VectorError::Corrupt { .. })), "{} is missing", path.display());
        disk.rename(Path::new("away"), &path).unwrap();
    }
}

proptest! {
    /// Damage that the checksums were made to fit: nothing but an error may come of it.
    #[test]
    fn a_forged_body_is_decoded_or_refused_without_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut index = index();
        let runs = index.snapshot();
        let mut file = format::encode(&runs.runs()[0].segment);
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        file.truncate(64 + cut.index(4 * file.len()).min(file.len() - 64));
        let body_bytes = (file.len() - 64) as u64;
        let body_checksum = crc32fast::hash(&file[64..]);
        file[28..32].copy_from_slice(&body_checksum.to_le_bytes());
        file[32..40].copy_from_slice(&body_bytes.to_le_bytes());
        let header_checksum = crc32fast::hash(&file[..60]);
        file[60..64].copy_from_slice(&header_checksum.to_le_bytes());
        if let Ok(segment) = format::decode(&file) {
            let dimension = segment.vectors().ncols();
            index = VectorIndex::from_runs(
                Config { dimension, ..small(dimension.max(1)) },
                vec![Run::new(segment, Stage::Sealed)],
                Saved::default(),
            );
            drop(index.snapshot().search(&ctx(), &vec![1.0; dimension], 10, None));
        }
        drop(manifest::decode(&file[..file.len().min(400)]));
    }
}
