//! What of a page is its content.
//!
//! Never content: what is not shown, navigation by name (`nav`, roles), controls. Then, where the page says itself what its content
//! is (`main`, else `article`s with most of its text), that. Else blocks are told apart by their own and their neighbours' share of
//! links and length, after Kohlschütter, Fankhauser, Nejdl, "Boilerplate Detection using Shallow Text Features" (WSDM 2010), and
//! an element goes if none of its blocks is content. Their rules take short text for boilerplate; these keep it unless it stands
//! between links, and keep all where too little would be left: what is lost is never found, what is too much is ranked low.

use super::tree::{NONE, Node, Step, Tag, Tree, hint};
use crate::outline::Reason;

/// A block of more than a third links is none of content, nor is what neighbours ones of more than five ninths, as in the paper.
const LINKED_MAX: (u32, u32) = (1, 3);
const LINKED_BESIDE_MAX: (u32, u32) = (5, 9);
/// What the paper calls 17 words.
const SHORT_BYTES: u32 = 100;
/// A cookie banner or the like has at most this much text.
const NOTICE_BYTES_MAX: u32 = 900;
/// How far back among siblings running text is looked for.
const SIBLINGS_MAX: usize = 16;

mod mark {
    /// Where the content is.
    pub(super) const CONTENT: u8 = 1;
    /// Has content somewhere below.
    pub(super) const ABOVE: u8 = 1 << 1;
    /// Holds a block that is content by its links and length.
    pub(super) const GOOD: u8 = 1 << 2;
}

/// How a page's content was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// By its own landmarks.
    Landmarks,
    /// By links and lengths.
    Shallow,
    /// Not at all: everything that is shown is kept.
    All,
}

/// What of a page is its content: asked for each node of a walk from the root.
pub(crate) struct Content<'t> {
    tree: &'t Tree,
    /// Bytes of text that are not white space, and those of them in links, by node; nothing for what is left out by name.
    text: Vec<u32>,
    linked: Vec<u32>,
    marks: Vec<u8>,
    told: Told,
    /// Of all that may be content.
    total: u32,
}

impl<'t> Content<'t> {
    pub(crate) fn of(tree: &'t Tree) -> Content<'t> {
        let count = tree.nodes.len();
        let (text, linked) = (vec![0; count], vec![0; count]);
        let mut content = Content { tree, text, linked, marks: vec![0; count], told: Told::All, total: 0 };
        let landmarks = content.measure();
        content.total = content.text[0];
        content.told = if content.choose(landmarks) {
            Told::Landmarks
        } else if content.tell_by_links() {
            Told::Shallow
        } else {
            Told::All
        };
        content
    }

    /// Everything that is shown, navigation included.
    pub(crate) fn keep_all(&mut self) {
        self.told = Told::All;
        self.total = 0;
    }

    /// Whether a node is content with what is in it, or has content in it.
    pub(crate) fn look(&self, node: u32) -> Looked {
        if let Some(reason) = self.left_out_by_name(node) {
            return Looked::LeftOut(reason);
        }
        let marks = self.marks[node as usize];
        if self.told == Told::Landmarks && marks & (mark::CONTENT | mark::ABOVE) == 0 {
            let parent = self.tree.node(node).parent;
            let inside = parent != NONE && self.marks[parent as usize] & mark::ABOVE == 0;
            if !inside {
                return Looked::LeftOut(Reason::Navigation);
            }
        }
        if self.is_boilerplate(node) { Looked::LeftOut(Reason::Navigation) } else { Looked::Content }
    }

    /// Bytes of text in a node, whatever it is.
    pub(crate) fn bytes_in(&self, node: u32) -> usize {
        let texts = self.tree.walk(node).filter_map(|step| match step {
            Step::Enter(node) if self.tree.node(node).tag == Tag::Text => Some(self.tree.text(node).trim().len()),
            Step::Enter(_) | Step::Leave(_) => None,
        });
        texts.sum()
    }

    fn left_out_by_name(&self, node: u32) -> Option<Reason> {
        let Node { tag, hints, parent, .. } = *self.tree.node(node);
        let is_page = |node: u32| node == NONE || self.tree.node(node).parent == 0;
        // Pages hide themselves until their scripts have run.
        if hints & hint::HIDDEN != 0 && !is_page(node) && !is_page(parent) {
            return Some(Reason::Hidden);
        }
        match tag {
            Tag::Hidden | Tag::Head | Tag::Title => Some(Reason::Hidden),
            Tag::Unread => Some(Reason::Unread),
            Tag::Control => Some(Reason::Navigation),
            Tag::Nav => (self.total != 0 || self.told != Told::All).then_some(Reason::Navigation),
            Tag::Button if !self.heads(parent) => Some(Reason::Navigation),
            Tag::Link if is_permalink(self.tree, node) => Some(Reason::Navigation),
            _ if hints & hint::NAVIGATION != 0 => Some(Reason::Navigation),
            _ => None,
        }
    }

    /// Whether a button in `node` shows and hides what it names: that of an accordion.
    fn heads(&self, node: u32) -> bool {
        let mut node = node;
        for _ in 0..4 {
            if node == NONE {
                return false;
            }
            if matches!(self.tree.node(node).tag, Tag::Heading(_) | Tag::Term) {
                return true;
            }
            node = self.tree.node(node).parent;
        }
        false
    }

    /// Sums up the text below each node. Returns the outermost `main`s, the outermost `article`s and the headings of level 1.
    fn measure(&mut self) -> [Vec<u32>; 3] {
        let tree = self.tree;
        let mut landmarks = [Vec::new(), Vec::new(), Vec::new()];
        let (mut mains, mut articles, mut links) = (0, 0, 0);
        // Navigation counts for nothing from the start.
        self.told = Told::Shallow;
        let mut walk = tree.walk(0);
        while let Some(step) = walk.next() {
            let (Step::Enter(node) | Step::Leave(node)) = step;
            let Node { tag, hints, parent, .. } = *tree.node(node);
            let is_main = tag == Tag::Main || hints & hint::MAIN != 0;
            if let Step::Leave(_) = step {
                mains -= u32::from(is_main);
                articles -= u32::from(tag == Tag::Article);
                links -= u32::from(tag == Tag::Link);
                if parent != NONE {
                    self.text[parent as usize] += self.text[node as usize];
                    self.linked[parent as usize] += self.linked[node as usize];
                }
                continue;
            }
            if self.left_out_by_name(node).is_some() {
                walk.skip_inside();
                continue;
            }
            if is_main && mains == 0 {
                landmarks[0].push(node);
            }
            match tag {
                Tag::Text => {
                    let bytes = tree.text(node).bytes().filter(|byte| !byte.is_ascii_whitespace()).count() as u32;
                    self.text[node as usize] = bytes;
                    self.linked[node as usize] = if links > 0 { bytes } else { 0 };
                }
                Tag::Article if articles == 0 => landmarks[1].push(node),
                Tag::Heading(1) => landmarks[2].push(node),
                _ => {}
            }
            mains += u32::from(is_main);
            articles += u32::from(tag == Tag::Article);
            links += u32::from(tag == Tag::Link);
        }
        landmarks
    }

    fn unlinked(&self, node: u32) -> u32 {
        self.text[node as usize] - self.linked[node as usize]
    }

    /// Marks what the page's own landmarks say is its content, if they hold enough of its text.
    fn choose(&mut self, landmarks: [Vec<u32>; 3]) -> bool {
        let [mains, articles, titles] = landmarks;
        let total = u64::from(self.unlinked(0));
        let sum = |nodes: &[u32]| nodes.iter().map(|&node| u64::from(self.unlinked(node))).sum::<u64>();
        let mut chosen = if !mains.is_empty() && 4 * sum(&mains) >= total {
            mains
        } else if !articles.is_empty() && 2 * sum(&articles) >= total && total > 0 {
            articles
        } else {
            return false;
        };
        // The page's heading may stand above what it heads.
        if let [title] = titles[..]
            && !chosen.iter().any(|&node| is_within(self.tree, title, node))
        {
            chosen.push(title);
        }
        for node in chosen {
            self.marks[node as usize] |= mark::CONTENT;
            self.mark_above(node, mark::ABOVE);
        }
        true
    }

    /// Marks all around a node, as far as they are not marked yet.
    fn mark_above(&mut self, node: u32, mark: u8) {
        let mut above = self.tree.node(node).parent;
        while above != NONE && self.marks[above as usize] & mark == 0 {
            self.marks[above as usize] |= mark;
            above = self.tree.node(above).parent;
        }
    }

    /// Marks what is in a table that is content: it was judged as one block.
    fn mark_inside(&mut self, table: u32) {
        for step in self.tree.walk(table) {
            let (Step::Enter(node) | Step::Leave(node)) = step;
            self.marks[node as usize] |= mark::GOOD;
        }
    }

    /// Marks what holds blocks that are content by their links and lengths. `false` if that is less than half of the text.
    fn tell_by_links(&mut self) -> bool {
        let runs = self.runs();
        let is_above = |(text, linked): (u32, u32), (part, of): (u32, u32)| linked * of > text * part;
        let size = |at: Option<&Run>| at.map_or((0, 0), |run| (run.text, run.linked));
        let mut good = 0;
        let mut next_is_good = false;
        for n in (0..runs.len()).rev() {
            let run = &runs[n];
            let (before, after) = (size(n.checked_sub(1).and_then(|n| runs.get(n))), size(runs.get(n + 1)));
            let is_between = is_above(before, LINKED_BESIDE_MAX) && (after.0 == 0 || is_above(after, LINKED_MAX));
            let is_good = if is_above((run.text, run.linked), LINKED_MAX) {
                false
            } else if run.is_heading {
                next_is_good
            } else {
                !(is_between && run.text <= SHORT_BYTES && after.0 <= SHORT_BYTES)
            };
            if is_good {
                good += run.text - run.linked;
                self.marks[run.parent as usize] |= mark::GOOD;
                self.mark_above(run.parent, mark::GOOD);
                if self.tree.node(run.parent).tag == Tag::Table {
                    self.mark_inside(run.parent);
                }
            }
            next_is_good = is_good;
        }
        good > 0 && 2 * good >= self.unlinked(0)
    }

    /// The page's blocks: text between the bounds of block elements; a table is one.
    fn runs(&self) -> Vec<Run> {
        let tree = self.tree;
        let mut runs = Vec::new();
        let mut run = Run::default();
        let mut walk = tree.walk(0);
        while let Some(step) = walk.next() {
            let (Step::Enter(node) | Step::Leave(node)) = step;
            let entered = matches!(step, Step::Enter(_));
            let Node { tag, parent, .. } = *tree.node(node);
            if entered && (self.text[node as usize] == 0 || self.left_out_by_name(node).is_some()) {
                walk.skip_inside();
                continue;
            }
            match tag {
                Tag::Text if entered => {
                    run.text += self.text[node as usize];
                    run.linked += self.linked[node as usize];
                    run.parent = parent;
                }
                Tag::Text | Tag::Inline | Tag::Link | Tag::Image | Tag::Quotation | Tag::Button => {}
                _ => {
                    if run.text > 0 {
                        runs.push(std::mem::take(&mut run));
                    }
                    run.is_heading = entered && matches!(tag, Tag::Heading(_));
                    if entered && tag == Tag::Table && is_data_table(tree, node) {
                        let (text, linked) = (self.text[node as usize], 0);
                        runs.push(Run { text, linked, parent: node, is_heading: false });
                        walk.skip_inside();
                    }
                }
            }
        }
        runs
    }

    fn is_boilerplate(&self, node: u32) -> bool {
        let Node { tag, hints, parent, .. } = *self.tree.node(node);
        let (text, linked) = (self.text[node as usize], self.linked[node as usize]);
        let is_inline = matches!(tag, Tag::Text | Tag::Inline | Tag::Link | Tag::Image | Tag::Quotation | Tag::Button);
        if self.told == Told::All
            || is_inline
            || text == 0
            || self.marks[node as usize] & (mark::CONTENT | mark::ABOVE) != 0
        {
            return false;
        }
        let is_part = 2 * u64::from(text) <= u64::from(self.total);
        let is_linked = 3 * u64::from(linked) > u64::from(text);
        if is_part && hints & hint::MENU != 0 && is_linked
            || is_part && hints & hint::NOTICE != 0 && text <= NOTICE_BYTES_MAX
            || is_part
                && matches!(tag, Tag::Aside | Tag::Footer)
                && (is_linked || self.told == Told::Shallow && !self.follows_text(node))
        {
            return true;
        }
        // What is in an element that was kept as a whole is kept with it.
        let is_good = |node: u32| self.marks[node as usize] & mark::GOOD != 0;
        let is_in_good = parent != NONE && is_good(parent);
        self.told == Told::Shallow && !is_good(node) && is_in_good && !self.follows_text(node)
    }

    /// Whether a sibling before a node is running text: a list of links below it belongs to it.
    fn follows_text(&self, node: u32) -> bool {
        let mut before = self.tree.node(node).prev;
        for _ in 0..SIBLINGS_MAX {
            if before == NONE {
                return false;
            }
            let is_good = self.marks[before as usize] & mark::GOOD != 0;
            let is_text = matches!(
                self.tree.node(before).tag,
                Tag::Paragraph | Tag::List | Tag::NumberedList | Tag::DefinitionList | Tag::Pre | Tag::Quote
            );
            if is_good && is_text {
                return true;
            }
            before = self.tree.node(before).prev;
        }
        false
    }
}

/// What [`Content::look`] sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    Content,
    LeftOut(Reason),
}

/// A block of text.
#[derive(Debug, Default)]
struct Run {
    text: u32,
    linked: u32,
    /// What it stands in.
    parent: u32,
    is_heading: bool,
}

fn is_within(tree: &Tree, node: u32, around: u32) -> bool {
    let mut node = node;
    while node != NONE && node != around {
        node = tree.node(node).parent;
    }
    node == around
}

/// A link to the heading that it stands in.
fn is_permalink(tree: &Tree, node: u32) -> bool {
    let first = tree.node(node).first;
    first != NONE
        && tree.node(first).tag == Tag::Text
        && tree.node(first).next == NONE
        && matches!(tree.text(first).trim(), "¶" | "#" | "§" | "🔗" | "\u{f0c1}")
}

/// Whether a table holds data, and not the parts of a page: it has headers, or only short cells in rows and columns.
pub(crate) fn is_data_table(tree: &Tree, table: u32) -> bool {
    const CELL_BYTES_MAX: usize = 1000;
    if tree.node(table).hints & hint::PRESENTATION != 0 {
        return false;
    }
    let (mut rows, mut columns, mut cells, mut bytes) = (0, 0, 0, 0);
    let mut parts = false;
    let mut walk = tree.walk(table);
    while let Some(step) = walk.next() {
        let Step::Enter(node) = step else { continue };
        match tree.node(node).tag {
            Tag::HeaderCell | Tag::TableHead | Tag::TableCaption => return true,
            Tag::Table if node != table => {
                parts = true;
                walk.skip_inside();
            }
            Tag::Heading(_) | Tag::Pre => parts = true,
            Tag::Row => (rows, cells) = (rows + 1, 0),
            Tag::Cell => (cells, bytes) = (cells + 1, 0),
            Tag::Text => {
                bytes += tree.text(node).trim().len();
                parts |= bytes > CELL_BYTES_MAX;
            }
            _ => {}
        }
        columns = columns.max(cells);
    }
    !parts && rows > 1 && columns > 1
}
