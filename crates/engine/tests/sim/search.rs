//! What a search found, against what it may find.

use std::collections::{BTreeMap, BTreeSet};

use ibid_engine::{Found, Invariant};

use crate::model::{Document, Failure};
use crate::names::number_of;
use crate::plan::{self, Place};

/// What a search of both arms for everything found.
pub(crate) struct Searched<'a> {
    pub(crate) place: Place,
    pub(crate) documents: &'a BTreeMap<u8, Document>,
    pub(crate) words: &'a [Found],
    pub(crate) meaning: &'a [Found],
    /// Nothing may be missing.
    pub(crate) strict: bool,
}

impl Searched<'_> {
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let mut revisions: BTreeMap<u8, BTreeSet<u64>> = BTreeMap::new();
        for chunk in self.words.iter().chain(self.meaning) {
            revisions.entry(number_of(chunk.document.as_str())).or_default().insert(chunk.revision.0);
        }
        for (number, revisions) in &revisions {
            if revisions.len() > 1 {
                let what = format!("document {number} is found in revisions {revisions:?} at once");
                return Err(Failure::new(Invariant::NoHalfDocument, what));
            }
        }
        for chunk in self.words.iter().chain(self.meaning) {
            let number = number_of(chunk.document.as_str());
            let versions = self.documents.get(&number).map_or(&[][..], |document| &document.versions);
            let version = versions.iter().find(|version| version.revision == Some(chunk.revision.0));
            let Some(version) = version else {
                let what = format!("document {number} is found in revision {}, of {versions:?}", chunk.revision.0);
                return Err(Failure::new(Invariant::NoResurrection, what));
            };
            if !plan::text(self.place, number, version.content).contains(&chunk.text) {
                let what = format!("document {number} is found with a text that is not its own");
                return Err(Failure::new(Invariant::NoHalfDocument, what));
            }
        }
        let parts = |found: &[Found], number: u8| -> BTreeSet<usize> {
            let own = found.iter().filter(|chunk| number_of(chunk.document.as_str()) == number);
            own.flat_map(|chunk| (0..10).filter(|part| chunk.text.contains(&plan::part_word(*part)))).collect()
        };
        for (number, document) in self.documents {
            let (words, meaning) = (parts(self.words, *number), parts(self.meaning, *number));
            let found = revisions.get(number).and_then(|revisions| revisions.first());
            let version = document.versions.iter().find(|version| version.revision == found.copied());
            let whole = (0..version.map_or(0, |version| plan::parts(version.content))).collect();
            let missing = format!("document {number}: of parts {whole:?}, words find {words:?}, meaning {meaning:?}");
            if words != whole {
                return Err(Failure::new(Invariant::NoHalfDocument, missing));
            }
            if !self.strict {
                continue;
            }
            if found.copied() != document.newest().revision {
                return Err(Failure::new(Invariant::WordsEqualLedger, missing));
            }
            if meaning != whole {
                return Err(Failure::new(Invariant::VectorsEqualLedger, missing));
            }
        }
        Ok(())
    }
}
