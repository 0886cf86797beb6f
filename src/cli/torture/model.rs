//! What must be stored, and what may be: the acknowledged state of everything, and the write that was on its way.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::revision::{Revision, number_in};
use crate::proto::Stage;

pub(super) const TENANTS: usize = 3;
pub(super) const COLLECTIONS: [&str; 2] = ["a", "b"];
/// Documents of a tenant, over its collections. All their chunks must fit in one reply.
pub(super) const DOCUMENTS: usize = 32;

/// A state that was acknowledged, and another one that was sent since. After a crash it is the one or the other.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Fate<T> {
    pub(super) acked: T,
    pub(super) sent: Option<T>,
}

impl<T: PartialEq> Fate<T> {
    pub(super) fn new(acked: T) -> Fate<T> {
        Fate { acked, sent: None }
    }

    pub(super) fn allows(&self, state: &T) -> bool {
        self.acked == *state || self.sent.as_ref() == Some(state)
    }
}

/// A document: the number of the revision it holds, or none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Document {
    pub(super) fate: Fate<Option<u64>>,
    /// How far the acknowledged revision was when it was acknowledged.
    stage: i32,
    /// It was written since it was last checked.
    pub(super) written: bool,
}

impl Document {
    fn absent() -> Document {
        Document { fate: Fate::new(None), stage: 0, written: false }
    }

    pub(super) fn acked(&mut self, state: Option<u64>, stage: Stage) {
        self.fate = Fate::new(state);
        self.stage = stage.into();
    }

    /// The revision, if it was acknowledged as found by what `stage` is about and nothing was sent since.
    pub(super) fn found_at(&self, stage: Stage) -> Option<u64> {
        self.fate.acked.filter(|_| self.fate.sent.is_none() && self.stage >= stage.into())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Tenant {
    pub(super) name: String,
    pub(super) there: Fate<bool>,
    /// How often it was dropped.
    pub(super) dropped: u64,
    pub(super) documents: Vec<Document>,
}

impl Tenant {
    /// It was dropped, and all it had with it.
    pub(super) fn gone(&mut self) {
        self.there = Fate::new(false);
        self.dropped += 1;
        self.documents.fill(Document::absent());
    }

    /// What a document is called in its texts.
    pub(super) fn title(&self, document: usize) -> String {
        format!("{}/{}/{}", self.name, collection(document), id(document))
    }
}

/// The collection of a document.
pub(super) fn collection(document: usize) -> &'static str {
    COLLECTIONS[document % COLLECTIONS.len()]
}

/// A document's id in its collection.
pub(super) fn id(document: usize) -> String {
    format!("document-{document}")
}

/// What was done so far.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) kills: u64,
    /// Writes that were acknowledged.
    pub(super) acked: u64,
    /// Writes that were on their way at a kill.
    pub(super) cut_off: u64,
    pub(super) tenants_dropped: u64,
    /// Snapshots made under load.
    #[serde(default)]
    pub(super) snapshots: u64,
}

/// Everything that is known of the data folder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Model {
    pub(super) seed: u64,
    pub(super) counts: Counts,
    pub(super) tenants: Vec<Tenant>,
    next_revision: u64,
    /// Writes were under way when this was saved: then it does not tell what came of them.
    writing: bool,
}

impl Model {
    pub(super) fn new(seed: u64) -> Model {
        let tenant = |number| Tenant {
            name: format!("torture-{number}"),
            there: Fate::new(false),
            dropped: 0,
            documents: vec![Document::absent(); DOCUMENTS],
        };
        let tenants = (0..TENANTS).map(tenant).collect();
        Model { seed, counts: Counts::default(), tenants, next_revision: 1, writing: false }
    }

    /// The number of a revision that there was not yet.
    pub(super) fn next_revision(&mut self) -> u64 {
        self.next_revision += 1;
        self.next_revision - 1
    }

    /// The server was killed: counts it, and what was on its way.
    pub(super) fn killed(&mut self) {
        let documents = self.tenants.iter().flat_map(|tenant| &tenant.documents);
        self.counts.kills += 1;
        self.counts.cut_off += documents.filter(|document| document.fate.sent.is_some()).count() as u64;
    }

    /// What `file` says; `None` if there is no file.
    pub(super) fn load(file: &Path) -> anyhow::Result<Option<Model>> {
        let bytes = match fs::read(file) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("--state: read {}", file.display()))?,
        };
        let model: Model =
            serde_json::from_slice(&bytes).with_context(|| format!("--state: {} is none", file.display()))?;
        ensure!(
            !model.writing,
            "--state: the run that wrote {} was cut off amid its writes; begin with another --state and --data-dir",
            file.display()
        );
        Ok(Some(model))
    }

    /// Writes it to `file`.
    pub(super) fn save(&mut self, file: &Path, writing: bool) -> anyhow::Result<()> {
        self.writing = writing;
        let fresh = file.with_extension("new");
        let bytes = serde_json::to_vec(self).context("render the state")?;
        let saved = fs::write(&fresh, bytes).and_then(|()| fs::rename(&fresh, file));
        saved.with_context(|| format!("--state: write {}", file.display()))
    }
}

/// What was found where a document should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// One of the states that it may be in.
    Right(Option<u64>),
    /// What was acknowledged is not there: nothing is, or an older revision.
    Lost,
    /// The text is no whole revision.
    Half,
    /// It was deleted, and is there.
    Resurrected,
}

/// Compares what is stored under `title` with what may be.
pub(super) fn judge(title: &str, fate: &Fate<Option<u64>>, text: Option<&str>) -> Verdict {
    let Some(text) = text else {
        return if fate.allows(&None) { Verdict::Right(None) } else { Verdict::Lost };
    };
    match number_in(text).filter(|number| Revision::of(title, *number).text() == text) {
        None => Verdict::Half,
        Some(number) if fate.allows(&Some(number)) => Verdict::Right(Some(number)),
        Some(_) if fate.acked.is_none() => Verdict::Resurrected,
        Some(_) => Verdict::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_or_sent_is_right_and_nothing_else() {
        let text = |number| Revision::of("t/a/1", number).text();
        // Two chunks at least, so that one can be of another revision.
        let two = (10..).filter(|number| Revision::of("t/a/1", *number).chunks.len() > 1);
        let [old, acked, sent]: [u64; 3] = two.take(3).collect::<Vec<_>>().try_into().unwrap();
        let check = |fate: Fate<Option<u64>>, found: Option<&str>, expected: Verdict| {
            assert_eq!(judge("t/a/1", &fate, found), expected, "{fate:?}");
        };
        let put = Fate { acked: Some(acked), sent: Some(Some(sent)) };
        check(put, Some(&text(acked)), Verdict::Right(Some(acked)));
        check(put, Some(&text(sent)), Verdict::Right(Some(sent)));
        check(put, Some(&text(old)), Verdict::Lost);
        check(put, None, Verdict::Lost);
        let mixed = Revision::of("t/a/1", sent).chunks[0].clone() + "\n\n" + &Revision::of("t/a/1", acked).chunks[1];
        check(put, Some(&mixed), Verdict::Half);
        check(put, Some(&text(acked)[..40]), Verdict::Half);
        check(put, Some(""), Verdict::Half);
        check(put, Some(&Revision::of("t/a/2", acked).text()), Verdict::Half);

        let deleting = Fate { acked: Some(acked), sent: Some(None) };
        check(deleting, None, Verdict::Right(None));
        check(deleting, Some(&text(acked)), Verdict::Right(Some(acked)));
        let deleted = Fate { acked: None, sent: None };
        check(deleted, Some(&text(old)), Verdict::Resurrected);
        let again = Fate { acked: None, sent: Some(Some(sent)) };
        check(again, Some(&text(acked)), Verdict::Resurrected);
        check(again, None, Verdict::Right(None));
    }

    #[test]
    fn a_state_that_was_saved_amid_writes_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        assert!(Model::load(&file).unwrap().is_none());
        let mut model = Model::new(7);
        let number = model.next_revision();
        model.tenants[1].documents[3].acked(Some(number), Stage::Lexical);
        model.save(&file, false).unwrap();
        let mut loaded = Model::load(&file).unwrap().unwrap();
        assert_eq!(loaded.tenants[1].documents[3].found_at(Stage::Lexical), Some(number));
        assert_eq!(loaded.tenants[1].documents[3].found_at(Stage::Vector), None);
        assert_eq!(loaded.next_revision(), number + 1);
        loaded.save(&file, true).unwrap();
        assert!(Model::load(&file).unwrap_err().to_string().contains("amid its writes"));
    }
}
