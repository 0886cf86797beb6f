use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;

use ibid_core::Label;
use ibid_runtime::MemoryDisk;
use proptest::prelude::*;

use super::*;
use crate::testing::{clustered, ctx, small};

const DIMENSION: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    /// Labels to remove, and labels to add with the number of the vector they get.
    Apply(Vec<Label>, Vec<(Label, u8)>),
    Maintain,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let label = || 0u32..40;
    prop_oneof![
        6 => (prop::collection::vec(label(), 0..6), prop::collection::vec((label(), any::<u8>()), 0..12))
            .prop_map(|(remove, add)| Step::Apply(remove, add)),
        2 => Just(Step::Maintain),
        1 => Just(Step::Reopen),
    ]
}

/// Few different directions, so that there are ties.
fn vector(number: u8) -> Vec<f32> {
    (0..DIMENSION).map(|at| f32::from(number >> (2 * at) & 3) - 1.3).collect()
}

proptest! {
    /// Whatever was written, merged, saved and opened: what is stored is what a map would hold, and what is found is what
    /// sorting all of it would give: exactly, for the planner scans what is this small.
    #[test]
    fn an_index_is_a_map_that_can_be_searched(steps in prop::collection::vec(step(), 1..25)) {
        let (disk, folder) = (MemoryDisk::new(), Path::new("index"));
        let mut index = VectorIndex::new(small(DIMENSION)).unwrap();
        let mut model: BTreeMap<Label, UnitVector> = BTreeMap::new();
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Apply(remove, add) => {
                    remove.iter().for_each(|label| drop(model.remove(label)));
                    let add: Vec<_> = add.into_iter().map(|(label, number)| (label, vector(number))).collect();
                    model.extend(add.iter().map(|(label, raw)| (*label, UnitVector::of(raw, DIMENSION).unwrap())));
                    index.apply(&remove, add).unwrap();
                }
                Step::Maintain => drop(index.maintain(&ctx()).unwrap()),
                Step::Reopen => {
                    index.save(&disk, folder, at as u64).unwrap();
                    let (opened, checkpoint) = VectorIndex::open(&disk, folder, small(DIMENSION)).unwrap();
                    prop_assert_eq!(checkpoint, Some(at as u64));
                    index = opened;
                }
            }
            let snapshot = index.snapshot();
            prop_assert_eq!(snapshot.len(), model.len());
            for label in 0..40 {
                prop_assert_eq!(snapshot.contains(label), model.contains_key(&label));
                prop_assert_eq!(snapshot.vector(label), model.get(&label).map(|unit| unit.as_slice().to_vec()));
            }
            let query = UnitVector::of(&vector(at as u8), DIMENSION).unwrap();
            let mut sorted: Vec<(Label, f32)> = model
                .iter()
                .map(|(label, unit)| (*label, crate::distance::cosine(unit.as_slice(), query.as_slice())))
                .collect();
            sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            sorted.truncate(7);
            prop_assert_eq!(snapshot.search(&ctx(), &vector(at as u8), 7, None).unwrap(), sorted);
        }
    }
}

#[test]
fn a_batch_with_one_bad_vector_changes_nothing() {
    let index = VectorIndex::new(small(2)).unwrap();
    index.insert(1, &[1.0, 0.0]).unwrap();
    let refused = index.apply(&[1], vec![(2, vec![0.0, 1.0]), (3, vec![0.0, f32::NAN])]);
    assert!(matches!(refused, Err(VectorError::NotFinite { component: 1 })));
    let snapshot = index.snapshot();
    assert!(snapshot.contains(1) && snapshot.len() == 1);
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let index = VectorIndex::new(small(2)).unwrap();
    index.insert(1, &[1.0, 0.0]).unwrap();
    let before = index.snapshot();
    index.apply(&[1], vec![(2, vec![0.0, 1.0])]).unwrap();
    assert_eq!(before.search(&ctx(), &[1.0, 1.0], 9, None).unwrap().len(), 1);
    assert!(before.contains(1) && !before.contains(2));
    assert!(!index.snapshot().contains(1) && index.snapshot().contains(2));
}

#[test]
fn what_is_removed_while_its_segment_is_merged_does_not_come_back() {
    let config = Config { seal_from: 1_000, graph_from: 1_000, ..small(16) };
    let index = VectorIndex::new(config).unwrap();
    index.apply(&[], clustered(3, 3_000, 16, 30)).unwrap();
    let (started, wait) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            started.send(()).unwrap();
            index.maintain(&ctx()).unwrap()
        });
        wait.recv().unwrap();
        // The build takes far longer than these, but they are right whenever they happen.
        index.apply(&[5], vec![(6, vec![-1.0; 16]), (7_000, vec![1.0; 16])]).unwrap();
        assert!(!index.snapshot().contains(5));
    });
    let snapshot = index.snapshot();
    assert_eq!((snapshot.len(), snapshot.contains(5), snapshot.contains(7_000)), (3_000, false, true));
    assert_eq!(snapshot.vector(6).unwrap(), vec![-0.25; 16]);
    let all = snapshot.search(&ctx(), &[1.0; 16], 3_000, None).unwrap();
    assert!(all.iter().all(|(label, _)| *label != 5));
}
