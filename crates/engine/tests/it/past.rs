//! The past: each generation is found as it was, for as long as all of it is kept, and what was deleted is in none.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures::executor::block_on;
use ibid_core::TenantName;
use ibid_core::{
    ChunkId, DocumentId, Generation, Identity, Operator, Purpose, Reader, Readers, Revision, Scope, Scopes,
};
use ibid_engine::{Cited, CitedState, EngineError, KeyRequest, Partition, Put, Resolved, Snapshot, Stage};

use crate::compaction::{CANARY, sightings};
use crate::house::{House, PAST_CHUNKS_MAX, ctx, docs, document};

const HOUR: Duration = Duration::from_secs(3_600);

fn id(name: &str) -> DocumentId {
    DocumentId::new(name).unwrap()
}

/// What both arms find for a word, with scores to the last bit: document, revision, text.
type Seen = [Vec<(String, u64, String, u32)>; 2];

fn seen(house: &House, snapshot: &Snapshot, word: &str) -> Seen {
    let ctx = ctx(&house.clock);
    let vector = block_on(snapshot.model().embed(&ctx, Purpose::Query, &[word.to_owned()])).unwrap().remove(0);
    let arms = [snapshot.by_words(&ctx, word, 50).unwrap(), snapshot.by_meaning(&ctx, &vector, 50, 0.0).unwrap()];
    arms.map(|found| {
        let one = |candidate: &ibid_engine::Candidate| {
            let found = snapshot.find(candidate.label).unwrap();
            (found.document.to_string(), found.revision.0, found.text, candidate.score.to_bits())
        };
        let mut all: Vec<_> = found.iter().map(one).collect();
        all.sort();
        all
    })
}

fn at(house: &House, partition: &Partition, generation: u64) -> Result<Snapshot, EngineError> {
    block_on(partition.snapshot_at(&ctx(&house.clock), Generation(generation), None))
}

#[track_caller]
fn refused(snapshot: Result<Snapshot, EngineError>, oldest: &str) {
    match snapshot {
        Err(EngineError::OutOfRange(invalid)) => {
            assert_eq!(invalid.field, "generation");
            assert!(invalid.problem.ends_with(oldest), "{invalid}");
        }
        Err(error) => panic!("{error}"),
        Ok(snapshot) => panic!("generation {:?} is there", snapshot.generation()),
    }
}

fn compact(house: &House) {
    block_on(house.engine.compact(&ctx(&house.clock), &Operator::of_this_process())).unwrap();
}

/// Puts, and what is found afterwards, by generation.
fn history(house: &House, partition: &Partition) -> BTreeMap<u64, Seen> {
    let mut recorded = BTreeMap::new();
    let puts = [("a", "Red apples."), ("b", "Red pears and red plums."), ("a", "Red apples are blue, blue and red.")];
    let more =
        [("c", "Nothing of that colour."), ("b", "A red pear."), ("a", "Red."), ("d", "---\n"), ("d", "Red red.")];
    for (name, text) in puts.into_iter().chain(more) {
        house.clock.advance(Duration::from_secs(60));
        let ack = house.put(partition, name, text, Stage::Vector).unwrap();
        recorded.insert(ack.generation.0, seen(house, &partition.snapshot(None), "red"));
    }
    recorded
}

#[track_caller]
fn check(house: &House, partition: &Partition, recorded: &BTreeMap<u64, Seen>) {
    for (generation, expected) in recorded {
        let snapshot = at(house, partition, *generation).unwrap();
        assert_eq!(snapshot.generation().0, *generation);
        assert_eq!(&seen(house, &snapshot, "red"), expected, "generation {generation}");
    }
}

#[test]
fn every_generation_is_found_as_it_was_also_after_a_restart_and_when_the_log_is_compacted() {
    let house = House::that_retains(HOUR);
    let docs = house.partition("acme");
    let recorded = history(&house, &docs);
    check(&house, &docs, &recorded);
    compact(&house);
    check(&house, &docs, &recorded);
    let (info, text) = docs.document(&id("a"), Some(Revision(2))).unwrap();
    assert_eq!((info.generation.0, info.chunks, text.as_str()), (3, 1, "Red apples are blue, blue and red."));

    let house = house.power_cut();
    let docs = house.partition("acme");
    check(&house, &docs, &recorded);
    refused(at(&house, &docs, 99), "the collection is at 8");
}

#[test]
fn what_is_kept_no_more_is_refused_and_leaves_the_log() {
    let house = House::that_retains(HOUR);
    let docs = house.partition("acme");
    let recorded = history(&house, &docs);
    // Eight puts, a minute apart: 3 took the first version's place, 5 and 6 later ones'.
    house.clock.advance(HOUR - Duration::from_secs(5 * 60));
    check(&house, &docs, &recorded);
    house.clock.advance(Duration::from_millis(1));
    refused(at(&house, &docs, 2), "the oldest of which everything is kept is 3");
    assert!(docs.document(&id("a"), Some(Revision(1))).is_err());
    check(&house, &docs, &recorded.range(3..).map(|(generation, seen)| (*generation, seen.clone())).collect());

    house.put(&docs, "e", &format!("# {CANARY}\n\nA bird."), Stage::Vector).unwrap();
    house.put(&docs, "e", "Nothing.", Stage::Vector).unwrap();
    house.clock.advance(HOUR);
    compact(&house);
    assert!(!sightings(&house.disk, Path::new("data")).is_empty());
    assert_eq!(at(&house, &docs, 9).unwrap().by_words(&ctx(&house.clock), CANARY, 5).unwrap().len(), 1);
    house.clock.advance(Duration::from_millis(1));
    refused(at(&house, &docs, 9), "the oldest of which everything is kept is 10");
    compact(&house);
    assert_eq!(sightings(&house.disk, Path::new("data")), Vec::<String>::new());
    assert!(at(&house, &docs, 10).is_ok());
    let house = house.power_cut();
    refused(at(&house, &house.partition("acme"), 9), "is kept is 10");
    assert!(block_on(house.engine.violations(&ctx(&house.clock))).unwrap().is_empty());
}

#[test]
fn without_a_window_there_is_the_present_alone() {
    let house = House::new();
    let docs = house.partition("acme");
    house.put(&docs, "a", "Red apples.", Stage::Vector).unwrap();
    house.put(&docs, "b", "Red pears.", Stage::Vector).unwrap();
    refused(at(&house, &docs, 1), "the oldest of which everything is kept is 2");
    assert_eq!(seen(&house, &at(&house, &docs, 2).unwrap(), "red"), seen(&house, &docs.snapshot(None), "red"));
}

#[test]
fn what_was_deleted_is_in_no_past_also_of_the_document_that_was_made_anew() {
    let house = House::that_retains(HOUR);
    let docs = house.partition("acme");
    history(&house, &docs);
    let before = at(&house, &docs, 3).unwrap();
    assert!(seen(&house, &before, "red")[0].iter().any(|(document, ..)| document == "a"));
    block_on(docs.delete(&ctx(&house.clock), &id("a"))).unwrap();
    house.put(&docs, "a", "Red apples again.", Stage::Vector).unwrap();
    house.put(&docs, "a", "Red apples again and again.", Stage::Vector).unwrap();
    let look = |house: &House| {
        let docs = house.partition("acme");
        let documents = |generation| {
            let found = seen(house, &at(house, &docs, generation).unwrap(), "red");
            let [words, meaning] = found.map(|arm| {
                let red = arm.into_iter().filter(|(.., text, _)| text.contains("ed"));
                red.map(|(document, revision, ..)| (document, revision)).collect::<Vec<_>>()
            });
            assert_eq!(words, meaning);
            words
        };
        let one = |name: &str, revision| (name.to_owned(), revision);
        assert_eq!(documents(3), [one("b", 1)]);
        assert_eq!(documents(9), [one("b", 2), one("d", 2)]);
        assert_eq!(documents(10), [one("a", 5), one("b", 2), one("d", 2)]);
        assert!(docs.document(&id("a"), Some(Revision(2))).is_err());
    };
    look(&house);
    compact(&house);
    look(&house);
    let house = house.power_cut();
    look(&house);
}

#[test]
fn a_past_generation_shows_what_both_its_own_and_the_newest_version_let_the_key_read() {
    let house = House::that_retains(HOUR);
    let all = house.partition("acme");
    let put = |text: &str, readers: &[&str]| {
        let readers = Readers::of(readers.iter().map(|one| (*one).to_owned()));
        block_on(all.put(&ctx(&house.clock), Put { readers, ..document("a", text, Stage::Vector) })).unwrap();
    };
    put("Red one.", &["board"]);
    put("Red two.", &["desk"]);
    put("Red three.", &["desk", "board"]);
    house.put(&all, "b", "Red pears.", Stage::Vector).unwrap();
    let by = Identity::Operator(Operator::of_this_process());
    let reader = Reader::As(["desk".to_owned()].into());
    let request = KeyRequest { scopes: Scopes::from([Scope::Search]), reader, label: String::new(), expires_ms: None };
    let key = block_on(house.engine.create_key(&by, Some(&TenantName::new("acme").unwrap()), request)).unwrap().0;
    let Ok(Identity::Tenant(desk)) = house.engine.authenticate(&key.shown) else { panic!("expected a tenant") };
    let desk = block_on(house.engine.partition(&ctx(&house.clock), &desk, &docs())).unwrap();
    let found = |generation| seen(&house, &at(&house, &desk, generation).unwrap(), "red")[0].clone();
    assert!(found(1).is_empty());
    assert_eq!(found(2)[0].1, 2);
    let cited = |revision| Cited {
        document: id("a"),
        revision: Revision(revision),
        chunk: None,
        bytes: Some(0..3),
        quote_hash: None,
    };
    assert_eq!(desk.resolve(&cited(1)).map(|it| (it.state, it.quote)).unwrap(), (CitedState::Superseded, None));
    assert_eq!(desk.resolve(&cited(2)).unwrap().quote.as_deref(), Some("Red"));
    put("Red four.", &["board"]);
    house.put(&all, "c", "Pears.", Stage::Vector).unwrap();
    assert!(found(2).is_empty() && found(3).is_empty(), "the right was withdrawn");
    let missing = |resolved: Result<Resolved, EngineError>| matches!(resolved, Err(EngineError::NotFound { .. }));
    assert!(missing(desk.resolve(&cited(2))));
    block_on(all.delete(&ctx(&house.clock), &id("a"))).unwrap();
    assert!(missing(desk.resolve(&cited(2))));
    assert_eq!(all.resolve(&cited(2)).unwrap().state, CitedState::Erased);
}

#[test]
fn a_citation_is_current_superseded_or_erased() {
    let house = House::that_retains(HOUR);
    let docs = house.partition("acme");
    let part = |name: &str| format!("# {name}\n\n{}\n\n", format!("{name} and more words of its own. ").repeat(6));
    let (first, second) = (part("Apples") + &part("Pears"), part("Plums") + &part("Pears"));
    house.put(&docs, "a", &first, Stage::Vector).unwrap();
    let snapshot = docs.snapshot(None);
    let hits = snapshot.by_words(&ctx(&house.clock), "pears", 1).unwrap();
    let hit = snapshot.find(hits[0].label).unwrap();
    let cited = Cited {
        document: id("a"),
        revision: hit.revision,
        chunk: Some(hit.chunk),
        bytes: Some(hit.span.range()),
        quote_hash: Some(*blake3::hash(hit.text.as_bytes()).as_bytes()),
    };
    let resolved = docs.resolve(&cited).unwrap();
    assert_eq!((resolved.state, resolved.quote.as_deref()), (CitedState::Current, Some(hit.text.as_str())));
    assert!(resolved.quote_matches && resolved.place.unwrap().span == hit.span);

    house.put(&docs, "a", &second, Stage::Vector).unwrap();
    let resolved = docs.resolve(&cited).unwrap();
    assert_eq!((resolved.state, resolved.newest), (CitedState::Superseded, Some(Revision(2))));
    assert!(resolved.stored && resolved.quote_matches);
    let place = resolved.place.unwrap();
    assert_eq!((place.revision.0, place.span.quote(&second)), (2, Some(hit.text.as_str())));
    let changed = docs.resolve(&Cited { quote_hash: Some([0; 32]), ..cited.clone() }).unwrap();
    assert!(!changed.quote_matches);

    let field = |cited: Cited| match docs.resolve(&cited) {
        Err(EngineError::Invalid(invalid)) => invalid.field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(Cited { revision: Revision(3), ..cited.clone() }), "revision");
    assert_eq!(field(Cited { revision: Revision(0), ..cited.clone() }), "revision");
    assert_eq!(field(Cited { bytes: Some(0..100_000), ..cited.clone() }), "span");
    assert_eq!(field(Cited { bytes: Some(0..3), ..cited.clone() }), "span");
    assert_eq!(field(Cited { chunk: ChunkId::parse(&"ab".repeat(16)), ..cited.clone() }), "chunk_id");

    house.clock.advance(2 * HOUR);
    let resolved = docs.resolve(&cited).unwrap();
    assert_eq!((resolved.state, resolved.stored, resolved.quote_matches), (CitedState::Superseded, false, false));
    assert!(resolved.place.is_some(), "the chunk is in the newest revision all the same");

    block_on(docs.delete(&ctx(&house.clock), &id("a"))).unwrap();
    let erased = |house: &House, newest: Option<u64>| {
        let resolved = house.partition("acme").resolve(&cited).unwrap();
        assert_eq!((resolved.state, resolved.newest), (CitedState::Erased, newest.map(Revision)));
        assert!(!resolved.stored && resolved.quote.is_none() && resolved.place.is_none());
    };
    erased(&house, None);
    house.put(&docs, "a", &first, Stage::Vector).unwrap();
    erased(&house, Some(4));
    let house = house.power_cut();
    erased(&house, Some(4));
    let nobody = Cited { document: id("b"), ..cited.clone() };
    assert!(matches!(house.partition("acme").resolve(&nobody), Err(EngineError::NotFound { .. })));
}

#[test]
fn a_generation_of_too_many_chunks_is_refused() {
    let house = House::that_retains(HOUR);
    let docs = house.partition("acme");
    for n in 0..=PAST_CHUNKS_MAX {
        house.put(&docs, &n.to_string(), "Red.", Stage::Vector).unwrap();
    }
    house.put(&docs, "last", "Red.", Stage::Vector).unwrap();
    assert!(at(&house, &docs, PAST_CHUNKS_MAX as u64).is_ok());
    let refused = at(&house, &docs, PAST_CHUNKS_MAX as u64 + 1);
    assert!(matches!(refused, Err(EngineError::Unfit(_))), "{refused:?}");
}
