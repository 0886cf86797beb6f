//! What the engine must hold: maps, changed by the same writes.

use std::collections::BTreeMap;

use ibid_engine::Invariant;

use crate::plan::{Place, Putting};

/// A change that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    CreateTenant(u8),
    DropTenant(u8),
    CreateCollection(Place),
    DeleteCollection(Place),
    /// The revision it got, if it was acknowledged.
    Put(Putting, Option<u64>),
    Delete(Place, u8),
}

/// A version: its number, and which content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    /// `None` until it is seen: nobody acknowledged it.
    pub(crate) revision: Option<u64>,
    pub(crate) content: u8,
}

/// A document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    /// Those that may be served: the one that was complete last, and the newer ones; the newest is last.
    pub(crate) versions: Vec<Version>,
}

impl Document {
    pub(crate) fn newest(&self) -> Version {
        *self.versions.last().expect("a document has a version")
    }
}

/// A collection, since it was made.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Collection {
    pub(crate) documents: BTreeMap<u8, Document>,
    /// What each revision that was seen stands for.
    pub(crate) history: BTreeMap<(u8, u64), u8>,
    /// The revision that each idempotency key stands for, by document.
    pub(crate) keys: BTreeMap<(u8, u8), Option<u64>>,
    /// What each generation showed that was seen at rest: revisions by document, without those that were deleted since.
    pub(crate) past: BTreeMap<u64, BTreeMap<u8, u64>>,
}

impl Collection {
    /// The collection is at `generation`, with every document at its last stage if `at_rest`. A number that a failed write
    /// took may be given out again after a restart.
    pub(crate) fn note_generation(&mut self, generation: u64, at_rest: bool) {
        self.past.split_off(&(generation + 1));
        let newest = |(number, document): (&u8, &Document)| Some((*number, document.newest().revision?));
        if at_rest {
            self.past.insert(generation, self.documents.iter().filter_map(newest).collect());
        }
    }

    /// What a past generation must show.
    pub(crate) fn documents_at(&self, generation: u64) -> BTreeMap<u8, Document> {
        let versions = self.past[&generation].iter().map(|(number, revision)| {
            let version = Version { revision: Some(*revision), content: self.history[&(*number, *revision)] };
            (*number, Document { versions: vec![version] })
        });
        versions.collect()
    }

    /// The highest revision of a document that was seen.
    pub(crate) fn highest(&self, document: u8) -> u64 {
        self.history.range((document, 0)..=(document, u64::MAX)).next_back().map_or(0, |((_, revision), _)| *revision)
    }
}

/// Everything that was acknowledged.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) tenants: BTreeMap<u8, BTreeMap<u8, Collection>>,
}

/// What the engine shows: revision and content by tenant, collection and document.
pub(crate) type Observed = BTreeMap<u8, BTreeMap<u8, BTreeMap<u8, (u64, u8)>>>;

/// An invariant that does not hold, and where it shows.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) invariant: Invariant,
    pub(crate) what: String,
}

impl Failure {
    pub(crate) fn new(invariant: Invariant, what: impl Into<String>) -> Failure {
        Failure { invariant, what: what.into() }
    }
}

impl Model {
    pub(crate) fn collection(&self, place: Place) -> Option<&Collection> {
        self.tenants.get(&place.tenant)?.get(&place.collection)
    }

    pub(crate) fn collection_mut(&mut self, place: Place) -> Option<&mut Collection> {
        self.tenants.get_mut(&place.tenant)?.get_mut(&place.collection)
    }

    /// The places there are.
    pub(crate) fn places(&self) -> Vec<Place> {
        let place = |(tenant, collections): (&u8, &BTreeMap<u8, Collection>)| {
            let tenant = *tenant;
            collections.keys().map(move |collection| Place { tenant, collection: *collection }).collect::<Vec<_>>()
        };
        self.tenants.iter().flat_map(place).collect()
    }

    /// The write took place.
    pub(crate) fn apply(&mut self, write: Write) {
        match write {
            Write::CreateTenant(tenant) => drop(self.tenants.entry(tenant).or_default()),
            Write::DropTenant(tenant) => drop(self.tenants.remove(&tenant)),
            Write::CreateCollection(place) => {
                if let Some(tenant) = self.tenants.get_mut(&place.tenant) {
                    tenant.entry(place.collection).or_default();
                }
            }
            Write::DeleteCollection(place) => {
                if let Some(tenant) = self.tenants.get_mut(&place.tenant) {
                    tenant.remove(&place.collection);
                }
            }
            Write::Put(Putting { place, document, content, key }, revision) => {
                let Some(collection) = self.collection_mut(place) else { return };
                let entry = collection.documents.entry(document);
                let versions = &mut entry.or_insert(Document { versions: Vec::new() }).versions;
                versions.push(Version { revision, content });
                collection.keys.extend(key.map(|key| ((document, key), revision)));
                collection.history.extend(revision.map(|revision| ((document, revision), content)));
            }
            Write::Delete(place, document) => {
                if let Some(collection) = self.collection_mut(place) {
                    collection.documents.remove(&document);
                    for shown in collection.past.values_mut() {
                        shown.remove(&document);
                    }
                }
            }
        }
    }

    /// Every document is complete: nothing but the newest version is served.
    pub(crate) fn at_rest(&mut self) {
        let collections = self.tenants.values_mut().flat_map(BTreeMap::values_mut);
        for document in collections.flat_map(|collection| collection.documents.values_mut()) {
            document.versions.drain(..document.versions.len() - 1);
        }
    }

    /// Whether `observed` is what there must be. Learns the revisions that it did not know.
    pub(crate) fn agree(&mut self, observed: &Observed) -> Result<(), Failure> {
        if let Some(tenant) = observed.keys().find(|tenant| !self.tenants.contains_key(tenant)) {
            return Err(Failure::new(Invariant::NoResurrection, format!("tenant {tenant} is there again")));
        }
        for (tenant, collections) in &mut self.tenants {
            let lost = |what: String| Err(Failure::new(Invariant::AckedSurvives, what));
            let Some(seen) = observed.get(tenant) else { return lost(format!("tenant {tenant} is not there")) };
            if let Some(collection) = seen.keys().find(|collection| !collections.contains_key(collection)) {
                let what = format!("collection {collection} of tenant {tenant} is there again");
                return Err(Failure::new(Invariant::NoResurrection, what));
            }
            for (number, collection) in collections {
                let Some(seen) = seen.get(number) else {
                    return lost(format!("collection {number} of tenant {tenant} is not there"));
                };
                collection.agree(seen).map_err(|Failure { invariant, what }| {
                    Failure::new(invariant, format!("tenant {tenant}, collection {number}: {what}"))
                })?;
            }
        }
        Ok(())
    }
}

impl Collection {
    fn agree(&mut self, seen: &BTreeMap<u8, (u64, u8)>) -> Result<(), Failure> {
        if let Some(document) = seen.keys().find(|document| !self.documents.contains_key(document)) {
            return Err(Failure::new(Invariant::NoResurrection, format!("document {document} is there again")));
        }
        for (number, document) in &mut self.documents {
            let Some((revision, content)) = seen.get(number) else {
                return Err(Failure::new(Invariant::AckedSurvives, format!("document {number} is not there")));
            };
            let highest = self.history.range((*number, 0)..=(*number, u64::MAX)).next_back();
            let highest = highest.map_or(0, |((_, revision), _)| *revision);
            let newest = document.newest();
            let known = newest.revision.map_or(*revision > highest, |known| known == *revision);
            if !known || newest.content != *content {
                let what = format!("document {number} is revision {revision} with content {content}, not {newest:?}");
                let earlier = self.history.get(&(*number, *revision)).is_some_and(|earlier| earlier == content);
                let invariant = if earlier { Invariant::AckedSurvives } else { Invariant::RevisionNeverReused };
                return Err(Failure::new(invariant, what));
            }
            let learnt = Some(*revision);
            if newest.revision.is_none() {
                document.versions.last_mut().expect("a document has a version").revision = learnt;
                self.history.insert((*number, *revision), *content);
                let unknown = self.keys.iter_mut().filter(|((of, _), known)| of == number && known.is_none());
                unknown.for_each(|(_, known)| *known = learnt);
            }
        }
        Ok(())
    }
}
