//! A collection's model is changed while it is searched: every answer is of one model, whatever is cut off goes on, and what
//! is dropped is gone.

use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use ibid_core::DocumentId;
use ibid_engine::{
    EngineError, Labelled, Migration, ModelVersion, Partition, Put, ReadyChunk, SecondRole, Stage, Switching, Trial,
};
use ibid_runtime::{Clock, Fault, SystemClock};

use crate::house::{House, ctx, docs, document};
use crate::words::{Mood, Words};

const PATIENCE: Duration = Duration::from_secs(20);

fn models() -> Vec<Arc<Words>> {
    vec![Words::new("old", "1", 64), Words::new("new", "1", 48)]
}

/// A house with a collection of `count` documents, each of one chunk with a word of its own.
fn filled(count: usize) -> (House, Partition) {
    let house = House::with(models());
    let partition = house.partition("acme");
    for n in 0..count {
        house.put(&partition, &id(n), &text(n), Stage::Durable).unwrap();
    }
    block_on(partition.settled(&ctx(&house.clock), |_| {})).unwrap();
    (house, partition)
}

fn id(n: usize) -> String {
    format!("{n:03}")
}

fn text(n: usize) -> String {
    format!("Fruit{n:03} is ripe.")
}

fn trial() -> Trial {
    Trial { queries: Vec::new(), loss_max: 0.02, force: false }
}

impl House {
    fn start_with(&self, switching: Switching) -> Result<Migration, EngineError> {
        let (tenant, to) = (self.tenant("acme"), &self.models[1].id);
        block_on(self.engine.start_migration(&ctx(&self.clock), &tenant, &docs(), to, switching, false))
    }

    fn start_migration(&self) {
        self.start_with(Switching::Asked).unwrap();
    }

    fn switch(&self, trial: Trial) -> Result<Migration, EngineError> {
        let (tenant, to) = (self.tenant("acme"), &self.models[1].id);
        block_on(self.engine.switch_model(&ctx(&self.clock), &tenant, &docs(), to, trial))
    }

    fn roll_back(&self) -> Result<Migration, EngineError> {
        block_on(self.engine.roll_back_model(&ctx(&self.clock), &self.tenant("acme"), &docs()))
    }

    fn finish(&self) -> Result<Migration, EngineError> {
        block_on(self.engine.finish_migration(&ctx(&self.clock), &self.tenant("acme"), &docs()))
    }

    fn abort(&self) -> Result<Migration, EngineError> {
        block_on(self.engine.abort_migration(&ctx(&self.clock), &self.tenant("acme"), &docs()))
    }

    /// Each of the documents, and no other one, is found by the vector of its word.
    #[track_caller]
    fn check_each(&self, partition: &Partition, documents: impl Iterator<Item = usize>) {
        for n in documents {
            self.check(partition, &format!("Fruit{n:03}"), &[&id(n)]);
        }
    }
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let clock = SystemClock::new();
    let start = clock.monotonic();
    while !holds() {
        assert!(clock.monotonic() - start < PATIENCE, "still waiting until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[track_caller]
fn until_ready(partition: &Partition) {
    until("the second model has everything", || partition.migration().second.is_some_and(|second| second.is_ready()));
}

fn serving(partition: &Partition) -> String {
    let snapshot = partition.snapshot(None);
    assert_eq!(partition.settings().embedder, *snapshot.model().model());
    snapshot.model().model().to_string()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, EngineError>, expected: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, EngineError::Unfit(_)), "{error:?}");
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn a_collection_moves_to_another_model_and_back_with_what_is_written_meanwhile() {
    let (house, partition) = filled(40);
    house.models[1].behave(Mood::Waits);
    house.start_migration();
    refused(house.switch(trial()), "40 of 40 chunks");
    house.put(&partition, "100", &text(100), Stage::Vector).unwrap();
    house.put(&partition, &id(0), &text(101), Stage::Vector).unwrap();
    block_on(partition.delete(&ctx(&house.clock), &DocumentId::new(&id(1)).unwrap())).unwrap();
    assert_eq!(serving(&partition), "old");
    house.check(&partition, "Fruit101", &[&id(0)]);

    house.models[1].behave(Mood::Works);
    until_ready(&partition);
    let before = partition.snapshot(None);
    let switched = house.switch(trial()).unwrap();
    let compared = switched.second.clone().unwrap().comparison.unwrap();
    assert_eq!((compared.queries, compared.recall_serving, compared.recall_coming), (40, 1.0, 1.0));
    assert_eq!((serving(&partition).as_str(), switched.second.unwrap().role), ("new", SecondRole::Kept));
    assert_eq!(before.model().model().as_str(), "old", "a question under way is answered by the model it began with");
    assert!(before.by_meaning(&ctx(&house.clock), &house.models[0].vector("Fruit002"), 1, 0.0).is_ok());
    house.check_each(&partition, (2..40).chain([100]));
    house.check(&partition, "Fruit101", &[&id(0)]);
    house.check(&partition, "Fruit001", &[]);
    assert_eq!(house.switch(trial()).unwrap().serving.id.as_str(), "new", "to ask again changes nothing");

    house.put(&partition, "102", &text(102), Stage::Vector).unwrap();
    block_on(partition.delete(&ctx(&house.clock), &DocumentId::new(&id(2)).unwrap())).unwrap();
    until_ready(&partition);
    house.roll_back().unwrap();
    assert_eq!(serving(&partition), "old");
    house.check_each(&partition, (3..40).chain([100, 102]));
    house.check(&partition, "Fruit002", &[]);

    house.switch(trial()).unwrap();
    assert_eq!(house.finish().unwrap().second, None);
    refused(house.roll_back(), "keeps no model");
    house.check_each(&partition, (3..40).chain([100, 102]));
    let embedded = house.models.iter().map(|model| model.embedded()).sum::<usize>();
    let house = house.power_cut();
    let partition = house.partition("acme");
    assert_eq!((serving(&partition).as_str(), partition.migration().second), ("new", None));
    house.check_each(&partition, (3..40).chain([100, 102]));
    let questions = 40;
    let now = house.models.iter().map(|model| model.embedded()).sum::<usize>();
    assert!(now <= embedded + questions, "a restart embeds nothing anew");
}

#[test]
fn cut_off_at_any_record_it_goes_on_to_one_switch() {
    for syncs in 0.. {
        let (house, partition) = filled(80);
        house.disk.inject(Fault::SyncFails(syncs));
        let started = house.start_with(Switching::WhenReady { loss_max: 0.02 });
        // To the end, or to the sync that fails: then no write is taken any more.
        let switched = || partition.migration().second.is_some_and(|second| second.role == SecondRole::Kept);
        for probe in 200.. {
            let soon = SystemClock::new();
            while started.is_ok() && !switched() && soon.monotonic() < Duration::from_millis(100) {
                std::thread::sleep(Duration::from_millis(2));
            }
            if switched() || house.put(&partition, "probe", &text(probe), Stage::Durable).is_err() {
                break;
            }
        }
        let whole = switched();
        drop(partition);
        let house = house.power_cut();
        let partition = house.partition("acme");
        if partition.migration().second.is_none() {
            house.start_with(Switching::WhenReady { loss_max: 0.02 }).unwrap();
        }
        until("it has switched", || partition.migration().second.unwrap().role == SecondRole::Kept);
        assert_eq!(serving(&partition), "new");
        block_on(partition.settled(&ctx(&house.clock), |_| {})).unwrap();
        house.check_each(&partition, (0..80).step_by(9));
        until_ready(&partition);
        house.roll_back().unwrap();
        house.check_each(&partition, (0..80).step_by(9));
        if whole {
            assert!(syncs > 4, "the start, some batches and the switch are to be cut off, it were {syncs} syncs");
            return;
        }
    }
}

#[test]
fn what_is_aborted_leaves_nothing_behind() {
    let (house, partition) = filled(40);
    house.start_migration();
    until_ready(&partition);
    let made = house.models[1].embedded();
    assert_eq!(made, 40);
    assert_eq!(house.abort().unwrap().second, None);
    refused(house.switch(trial()), "is not coming");
    refused(house.abort(), "no model is coming");
    house.check_each(&partition, 0..40);

    let house = house.power_cut();
    let partition = house.partition("acme");
    house.start_migration();
    until_ready(&partition);
    assert_eq!(house.models[1].embedded(), made + 40, "its vectors are made anew");
}

#[test]
fn a_model_that_finds_less_is_not_switched_to_unless_it_is_forced() {
    let (house, partition) = filled(40);
    house.models[1].behave(Mood::Dull);
    house.start_with(Switching::WhenReady { loss_max: 0.02 }).unwrap();
    until("both are compared", || partition.migration().second.unwrap().comparison.is_some());
    refused(house.switch(trial()), "1.000 before");
    assert_eq!(serving(&partition), "old");
    let relevant = vec![DocumentId::new("elsewhere").unwrap()];
    let queries = vec![Labelled { question: "Fruit001".to_owned(), relevant }];
    // Neither finds it: nothing is lost.
    let switched = house.switch(Trial { queries, ..trial() }).unwrap();
    assert!(switched.second.unwrap().comparison.unwrap().labelled);
    house.roll_back().unwrap();
    house.switch(Trial { force: true, ..trial() }).unwrap();
    assert_eq!(serving(&partition), "new");
}

#[test]
fn a_document_that_the_new_model_fails_at_holds_the_switch_up_until_it_is_forced() {
    let (house, partition) = filled(3);
    house.models[1].behave(Mood::Fails);
    house.start_migration();
    until("it has failed", || partition.migration().second.unwrap().documents_failed == 3);
    house.models[1].behave(Mood::Works);
    refused(house.switch(trial()), "failed at 3 documents");
    house.switch(Trial { force: true, ..trial() }).unwrap();
    assert_eq!(serving(&partition), "new");
    // Now that it serves they are tried again.
    block_on(partition.settled(&ctx(&house.clock), |_| {})).unwrap();
    house.check_each(&partition, 0..3);
}

#[test]
fn vectors_that_came_with_a_document_are_the_serving_models_alone() {
    let (house, partition) = filled(0);
    let with_vector = |id: &str, n: usize, model: &Words| {
        let vector = Some(model.vector(&text(n)));
        let chunks = vec![ReadyChunk { bytes: 0..text(n).len(), vector }];
        Put { chunks, ..document(id, &text(n), Stage::Vector) }
    };
    let put = |put: Put| block_on(partition.put(&ctx(&house.clock), put));
    put(with_vector("a", 1, &house.models[0])).unwrap();
    assert_eq!(house.models[0].embedded(), 0);
    house.start_migration();
    put(with_vector("b", 2, &house.models[0])).unwrap();
    until_ready(&partition);
    assert_eq!((house.models[0].embedded(), house.models[1].embedded()), (0, 2));
    house.switch(trial()).unwrap();
    let Err(EngineError::Invalid(invalid)) = put(with_vector("c", 3, &house.models[0])) else { panic!("refused") };
    assert_eq!(invalid.field, "header.chunks[0].vector");
    put(with_vector("c", 3, &house.models[1])).unwrap();
    until_ready(&partition);
    for (id, word) in [("a", "Fruit001"), ("b", "Fruit002"), ("c", "Fruit003")] {
        house.check(&partition, word, &[id]);
    }
    house.roll_back().unwrap();
    for (id, word) in [("a", "Fruit001"), ("b", "Fruit002"), ("c", "Fruit003")] {
        house.check(&partition, word, &[id]);
    }
}

#[test]
fn a_collection_whose_model_is_gone_says_so_and_can_be_embedded_anew() {
    for others in [vec![Words::new("new", "1", 48)], vec![Words::new("old", "2", 64)]] {
        let house = filled(3).0.power_cut_and(others);
        let (tenant, ctx) = (house.tenant("acme"), ctx(&house.clock));
        let open = || block_on(house.engine.partition(&ctx, &tenant, &docs()));
        let error = open().unwrap_err();
        assert!(matches!(error, EngineError::OtherModel { .. }), "{error:?}");
        assert!(error.to_string().contains("ibid models migrate docs --to MODEL --force"), "{error}");

        let to = &house.models[0].id;
        let start = |force| block_on(house.engine.start_migration(&ctx, &tenant, &docs(), to, Switching::Asked, force));
        assert!(matches!(start(false), Err(EngineError::OtherModel { .. })));
        let ModelVersion { id, .. } = start(true).unwrap().serving;
        assert_eq!(id, *to);
        let partition = open().unwrap();
        block_on(partition.settled(&ctx, |_| {})).unwrap();
        house.check_each(&partition, 0..3);
    }
}

#[test]
fn a_second_model_that_is_gone_stands_still_until_it_is_back() {
    let (house, _) = filled(3);
    house.models[1].behave(Mood::Waits);
    house.start_migration();
    let both = house.models.clone();
    let house = house.power_cut_and(vec![Arc::clone(&both[0])]);
    let partition = house.partition("acme");
    house.put(&partition, "100", &text(100), Stage::Vector).unwrap();
    house.check_each(&partition, (0..3).chain([100]));
    assert!(!partition.migration().second.unwrap().loaded);

    both[1].behave(Mood::Works);
    let house = house.power_cut_and(both);
    let partition = house.partition("acme");
    until_ready(&partition);
    house.switch(trial()).unwrap();
    house.check_each(&partition, (0..3).chain([100]));
}
