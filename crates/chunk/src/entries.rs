//! Entries of JSON and YAML to an outline: a piece for each subtree that is small enough to be read at once, under the keys
//! that lead to it.

use std::ops::Range;

use ibid_core::Place;

use crate::named::{LEVELS_MAX, Named, name};
use crate::outline::{Outline, Placed, Shape};
use crate::parse::{Limits, ParseError};

/// Collections nest at most so deep.
pub(crate) const DEPTH_MAX: usize = 512;
/// A collection up to this many bytes is one piece with one place; a larger one goes down to its entries.
const PIECE_BYTES_MAX: usize = 800;
/// A collection up to this many bytes is not told apart any more.
const WHOLE_BYTES_MAX: usize = 200;
/// Neighbouring elements of an array which are no collections are taken together up to this many bytes: numbers say nothing
/// each by itself.
const ELEMENTS_BYTES_MAX: usize = 80;
/// A document has about this many entries at most: in a very long one, neighbours are taken together.
const ENTRIES_MAX: usize = 1 << 19;
/// A longer pointer is cut to one that leads to what is around: each chunk of the entry has a copy of it.
const POINTER_BYTES_MAX: usize = 1024;
/// Work is stopped, if at all, between so many entries.
const STOP_EVERY: usize = 4096;

/// What leads to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    /// Nothing: a document itself, several entries together, an entry whose key is no text.
    None,
    Index(u32),
    /// Of [`Entries::keys`].
    Key(u32, u32),
}

/// A key and value, an element, or a few of them.
#[derive(Debug)]
struct Entry {
    start: u32,
    end: u32,
    depth: u16,
    is_scalar: bool,
    label: Label,
}

/// A collection whose end has not come.
struct Open {
    entry: usize,
    children: u32,
}

/// The entries of a text, as its parser meets them: each before what is nested in it.
pub(crate) struct Entries<'t> {
    text: &'t str,
    /// Entries shorter than this are taken together.
    grain: usize,
    entries: Vec<Entry>,
    keys: String,
    open: Vec<Open>,
    /// Of the document, or of several.
    documents: u32,
}

/// The key of an entry.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Key<'k> {
    /// It is an element, or a document.
    Next,
    /// It is a text.
    Text(&'k str),
    /// It is no text.
    Other,
}

impl<'t> Entries<'t> {
    /// For a text below 4 GiB.
    pub(crate) fn new(text: &'t str) -> Entries<'t> {
        let grain = text.len() / ENTRIES_MAX;
        Entries { text, grain, entries: Vec::new(), keys: String::new(), open: Vec::new(), documents: 0 }
    }

    /// How deep the collections nest that are open.
    pub(crate) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Numbers the next document, where lines are numbered and some are empty.
    pub(crate) fn number(&mut self, document: usize) {
        self.documents = u32::try_from(document).unwrap_or(u32::MAX);
    }

    /// A collection begins.
    pub(crate) fn begin(&mut self, start: usize, key: Key<'_>) {
        self.push(start..start, key, false);
        self.open.push(Open { entry: self.entries.len() - 1, children: 0 });
    }

    /// The innermost collection ends.
    pub(crate) fn end(&mut self, end: usize) {
        let Some(Open { entry, .. }) = self.open.pop() else { return };
        self.entries[entry].end = number(end);
        let whole = WHOLE_BYTES_MAX.max(self.grain);
        if end - self.entries[entry].start as usize <= whole {
            let kept = entry + 1;
            if let Some(&Label::Key(start, _)) =
                self.entries[kept..].iter().map(|nested| &nested.label).find(|label| matches!(label, Label::Key(..)))
            {
                self.keys.truncate(start as usize);
            }
            self.entries.truncate(kept);
        }
        self.join();
    }

    /// A value that is no collection, with its key.
    pub(crate) fn scalar(&mut self, bytes: Range<usize>, key: Key<'_>) {
        self.push(bytes, key, true);
        self.join();
    }

    fn push(&mut self, bytes: Range<usize>, key: Key<'_>, is_scalar: bool) {
        let count = self.open.last_mut().map_or(&mut self.documents, |open| &mut open.children);
        let index = *count;
        *count = count.saturating_add(1);
        let label = match key {
            Key::Next => Label::Index(index),
            Key::Text(key) => {
                let start = number(self.keys.len());
                self.keys.push_str(key);
                Label::Key(start, number(self.keys.len()))
            }
            Key::Other => Label::None,
        };
        let depth = u16::try_from(self.open.len()).unwrap_or(u16::MAX);
        self.entries.push(Entry { start: number(bytes.start), end: number(bytes.end), depth, is_scalar, label });
    }

    /// Takes the last entry together with the one before, if both are too short to stand alone.
    fn join(&mut self) {
        let [.., before, last] = &mut self.entries[..] else { return };
        let is_element = |entry: &Entry| entry.is_scalar && entry.depth > 0 && !matches!(entry.label, Label::Key(..));
        let most = if is_element(before) && is_element(last) { ELEMENTS_BYTES_MAX.max(self.grain) } else { self.grain };
        if before.depth == last.depth && (last.end - before.start) as usize <= most {
            (before.end, before.label) = (last.end, Label::None);
            if let Label::Key(start, _) = last.label {
                self.keys.truncate(start as usize);
            }
            self.entries.pop();
        }
    }

    /// The outline of all of them. Pointers into one document among several begin with its number.
    pub(crate) fn outline(mut self, limits: &Limits<'_>, has_one_document: bool) -> Result<Outline, ParseError> {
        if has_one_document && let Some(document) = self.entries.first_mut() {
            document.label = Label::None;
        }
        let pointers_left = 2 * self.text.len() + (64 << 10);
        let mut writer = Writer {
            keys: &self.keys,
            named: Named::new(self.text),
            path: Vec::new(),
            pointer: String::new(),
            header: None,
            is_run: false,
            scopes: Vec::new(),
            places: Vec::new(),
            pointers_left,
        };
        for (n, entry) in self.entries.iter().enumerate() {
            if n % STOP_EVERY == 0 && (limits.stop)() {
                return Err(ParseError::Stopped);
            }
            let has_nested = self.entries.get(n + 1).is_some_and(|next| next.depth > entry.depth);
            writer.write(entry, has_nested);
        }
        Ok(Outline { blocks: writer.named.finish(), places: writer.places, ..Outline::default() })
    }
}

fn number(byte: usize) -> u32 {
    u32::try_from(byte).expect("a text is below 4 GiB")
}

/// An entry whose nested ones are being written.
struct Scope {
    depth: u16,
    /// What leads to it, in names and in the pointer's bytes.
    names: usize,
    pointer: usize,
    /// Its node's depth; `None` if its entries are pieces of their own.
    node: Option<usize>,
    /// Whether a place covers it.
    is_placed: bool,
}

struct Writer<'t, 'k> {
    keys: &'k str,
    named: Named<'t>,
    path: Vec<String>,
    pointer: String,
    /// Where the collections begin that go down to their entries, the first of which has not been written.
    header: Option<usize>,
    /// Whether the last piece is entries side by side.
    is_run: bool,
    scopes: Vec<Scope>,
    places: Vec<Placed>,
    /// Pointers together are not much longer than the text, whatever its keys are.
    pointers_left: usize,
}

impl Writer<'_, '_> {
    fn write(&mut self, entry: &Entry, has_nested: bool) {
        let bytes = entry.start as usize..entry.end as usize;
        self.scopes.truncate(self.scopes.iter().rposition(|scope| scope.depth < entry.depth).map_or(0, |n| n + 1));
        let parent = self.scopes.last();
        let (names, pointer) = parent.map_or((0, 0), |parent| (parent.names, parent.pointer));
        let (node, was_placed) = parent.map_or((None, false), |parent| (parent.node, parent.is_placed));
        let is_own_piece = parent.is_none_or(|parent| parent.node.is_none());
        self.path.truncate(names);
        self.pointer.truncate(pointer);
        let label = self.label(entry.label);

        let is_large = bytes.len() > PIECE_BYTES_MAX;
        let goes_down = is_large && has_nested;
        let is_placed = was_placed || !goes_down;
        if is_placed && !was_placed {
            self.place(bytes.clone());
        }
        let mut scope = Scope {
            depth: entry.depth,
            names,
            pointer: self.pointer.len(),
            node: node.map(|depth| depth + 1),
            is_placed,
        };
        if is_own_piece && is_large {
            self.path.extend(label.filter(|_| names < LEVELS_MAX));
            scope.names = self.path.len();
            if goes_down && (self.path.len() > names || entry.label == Label::None) {
                self.header.get_or_insert(bytes.start);
            } else {
                let start = self.header.take().unwrap_or(bytes.start);
                self.named.begin(&self.path, start, if has_nested { Shape::List } else { Shape::Item });
                self.is_run = false;
                scope.node = Some(0);
            }
        } else if is_own_piece {
            if self.header.is_some() || !self.is_run || !self.named.is_under(&self.path) {
                let start = self.header.take().unwrap_or(bytes.start);
                self.named.begin(&self.path, start, Shape::List);
                self.is_run = true;
            }
            self.named.node(bytes.start, 1, Shape::Item);
            scope.node = Some(1);
        } else if let Some(depth) = scope.node {
            self.named.node(bytes.start, depth, Shape::Item);
        }
        self.scopes.push(scope);
    }

    /// Goes one step down in the pointer. Returns what the step is called.
    fn label(&mut self, label: Label) -> Option<String> {
        match label {
            Label::None => None,
            Label::Index(index) => {
                self.pointer.push_str(&format!("/{index}"));
                Some(format!("[{index}]"))
            }
            Label::Key(start, end) => {
                let key = &self.keys[start as usize..end as usize];
                self.pointer.push('/');
                for char in key.chars() {
                    match char {
                        '~' => self.pointer.push_str("~0"),
                        '/' => self.pointer.push_str("~1"),
                        _ => self.pointer.push(char),
                    }
                }
                name(key)
            }
        }
    }

    fn place(&mut self, bytes: Range<usize>) {
        let whole = self.pointer.len() <= POINTER_BYTES_MAX;
        let most = self.pointer.floor_char_boundary(POINTER_BYTES_MAX);
        let end = if whole { self.pointer.len() } else { self.pointer[..most].rfind('/').unwrap_or(0) };
        let own = &self.pointer[..end];
        match self.places.last_mut() {
            Some(Placed { bytes: before, place: Place::Pointer(pointer) }) if pointer == own => {
                before.end = bytes.end;
            }
            Some(_) | None if own.len() <= self.pointers_left => {
                self.pointers_left -= own.len();
                self.places.push(Placed { bytes, place: Place::Pointer(own.to_owned()) });
            }
            Some(_) | None => {}
        }
    }
}
