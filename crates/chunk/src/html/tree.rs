//! A page to a tree, as browsers build it: html5gum cuts it into tags and text, html5ever's rules make the tree, and its nodes
//! lie in one vector.
//!
//! The rules walk the open elements at most tags and clone formatting elements that nobody closed, so a page can make more work
//! than it has bytes. Depth, nodes and steps are bounded here; what nests deeper stays, side by side instead of nested.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use html5ever::interface::{ElemName, ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{Tag as TagToken, TagKind, Token, TokenSink, TokenSinkResult};
use html5ever::tree_builder::{TreeBuilder, TreeBuilderOpts};
use html5ever::{Attribute, LocalName, Namespace, QualName, local_name, ns};
use html5gum::{Emitter, Error, State, Tokenizer};

use crate::parse::{Limits, ParseError};

/// Elements nest this deep, half of what browsers allow.
const DEPTH_MAX: u32 = 256;
/// A page has at most this many elements and pieces of text, those that the rules add included: 128 MiB.
const NODES_MAX: usize = 4 << 20;
/// Open elements beyond `SHALLOW` at all tags together: a page of a million tags may nest them 48 deep on average.
const STEPS_MAX: u64 = 32_000_000;
const SHALLOW: u32 = 16;
/// An attribute's value is read this far.
const VALUE_BYTES_MAX: usize = 1024;
/// Text is handed over in pieces of about this length.
const TEXT_BYTES: usize = 1 << 16;
/// Whether to go on is asked once for so many tags.
const TAGS_PER_CHECK: u32 = 4096;

/// What an element is to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    /// No element: `first..last` is its text.
    Text,
    /// Stands within a line, as every element does that is not known.
    Inline,
    Link,
    /// Begins and ends a line.
    Block,
    Paragraph,
    Heading(u8),
    List,
    NumberedList,
    Item,
    DefinitionList,
    Term,
    Definition,
    Table,
    TableCaption,
    TableHead,
    TableBody,
    Row,
    Cell,
    HeaderCell,
    Pre,
    Quote,
    Caption,
    Break,
    Rule,
    /// `first..last` is its alternative text.
    Image,
    Quotation,
    Nav,
    Footer,
    Aside,
    Main,
    Article,
    Button,
    /// A form's other controls.
    Control,
    /// Not shown, and no text for people.
    Hidden,
    /// Shown, and not read.
    Unread,
    Head,
    Title,
}

/// What an element's attributes say, as bits of [`Node::hints`].
pub(crate) mod hint {
    pub(crate) const HIDDEN: u16 = 1;
    /// `role` says that it is navigation, or the page's head or foot.
    pub(crate) const NAVIGATION: u16 = 1 << 1;
    pub(crate) const MAIN: u16 = 1 << 2;
    /// A table that only places things.
    pub(crate) const PRESENTATION: u16 = 1 << 3;
    /// Its class or id is one of menus, sidebars and the like.
    pub(crate) const MENU: u16 = 1 << 4;
    /// Its class or id is one of cookie banners, share buttons and the like.
    pub(crate) const NOTICE: u16 = 1 << 5;
    pub(crate) const SVG: u16 = 1 << 6;
    pub(crate) const MATHML: u16 = 1 << 7;
}

/// No node.
pub(crate) const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) parent: u32,
    pub(crate) prev: u32,
    pub(crate) next: u32,
    /// The first and the last child; for a text the range in [`Tree::texts`].
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) hints: u16,
    pub(crate) tag: Tag,
    name: LocalName,
}

#[derive(Debug)]
pub(crate) struct Tree {
    /// The first is the document.
    pub(crate) nodes: Vec<Node>,
    pub(crate) texts: String,
    /// Numbers that a list starts at, an item has, or a cell spans; by node, ascending.
    numbers: Vec<(u32, u32)>,
}

impl Tree {
    /// The tree of a page.
    pub(crate) fn of(page: &str, limits: &Limits<'_>) -> Result<Tree, ParseError> {
        let opts = TreeBuilderOpts { scripting_enabled: true, drop_doctype: true, ..TreeBuilderOpts::default() };
        let builder = TreeBuilder::new(Sink::new(page), opts);
        let mut tokenizer = Tokenizer::new_with_emitter(page, Tags::new(&builder, limits));
        match tokenizer.next() {
            Some(Ok(error)) => return Err(error),
            Some(Err(never)) => match never {},
            None => {}
        }
        drop(tokenizer);
        Ok(builder.sink.tree.into_inner())
    }

    pub(crate) fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    /// The words of a text or an image.
    pub(crate) fn text(&self, node: u32) -> &str {
        let Node { first, last, .. } = self.node(node);
        &self.texts[*first as usize..*last as usize]
    }

    /// The number that goes with an element.
    pub(crate) fn number(&self, node: u32) -> Option<u32> {
        let at = self.numbers.binary_search_by_key(&node, |(node, _)| *node).ok()?;
        Some(self.numbers[at].1)
    }

    /// Enters and leaves `root` and everything in it, in the page's order.
    pub(crate) fn walk(&self, root: u32) -> Walk<'_> {
        Walk { tree: self, root, step: Some(Step::Enter(root)), last: None }
    }

    fn has_children(&self, node: u32) -> bool {
        let node = self.node(node);
        !matches!(node.tag, Tag::Text | Tag::Image) && node.first != NONE
    }

    fn push(&mut self, tag: Tag, hints: u16, name: LocalName) -> u32 {
        // What is made beyond the limit, at most for one more tag, takes the last one's place; `Tags` then gives up.
        if self.nodes.len() < NODES_MAX {
            self.nodes.push(Node { parent: NONE, prev: NONE, next: NONE, first: NONE, last: NONE, hints, tag, name });
        } else {
            self.detach(self.nodes.len() as u32 - 1);
        }
        self.nodes.len() as u32 - 1
    }

    fn detach(&mut self, node: u32) {
        let Node { parent, prev, next, .. } = *self.node(node);
        if parent == NONE {
            return;
        }
        match prev {
            NONE => self.nodes[parent as usize].first = next,
            prev => self.nodes[prev as usize].next = next,
        }
        match next {
            NONE => self.nodes[parent as usize].last = prev,
            next => self.nodes[next as usize].prev = prev,
        }
        let node = &mut self.nodes[node as usize];
        (node.parent, node.prev, node.next) = (NONE, NONE, NONE);
    }

    /// Puts a node that has no place into `parent`, before `next` or at the end.
    fn insert(&mut self, node: u32, parent: u32, next: u32) {
        let prev = if next == NONE { self.node(parent).last } else { self.node(next).prev };
        match prev {
            NONE => self.nodes[parent as usize].first = node,
            prev => self.nodes[prev as usize].next = node,
        }
        match next {
            NONE => self.nodes[parent as usize].last = node,
            next => self.nodes[next as usize].prev = node,
        }
        let node = &mut self.nodes[node as usize];
        (node.parent, node.prev, node.next) = (parent, prev, next);
    }

    /// As `insert`; a text is added to the one before it where that was the last to be read.
    fn insert_child(&mut self, child: NodeOrText<u32>, parent: u32, next: u32) {
        match child {
            NodeOrText::AppendNode(node) => {
                self.detach(node);
                self.insert(node, parent, next);
            }
            NodeOrText::AppendText(text) => {
                let start = self.texts.len() as u32;
                self.texts.push_str(&text);
                let end = self.texts.len() as u32;
                let prev = if next == NONE { self.node(parent).last } else { self.node(next).prev };
                if prev != NONE && self.node(prev).tag == Tag::Text && self.node(prev).last == start {
                    self.nodes[prev as usize].last = end;
                    return;
                }
                let node = self.push(Tag::Text, 0, local_name!(""));
                (self.nodes[node as usize].first, self.nodes[node as usize].last) = (start, end);
                self.insert(node, parent, next);
            }
        }
    }
}

/// A step of a [`Walk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Enter(u32),
    Leave(u32),
}

/// A walk over a subtree, without recursion.
pub(crate) struct Walk<'t> {
    tree: &'t Tree,
    root: u32,
    step: Option<Step>,
    last: Option<Step>,
}

impl Walk<'_> {
    /// Leaves out what is in the node that was just entered, and that it is left.
    pub(crate) fn skip_inside(&mut self) {
        if let Some(Step::Enter(node)) = self.last {
            self.step = self.after(node);
        }
    }

    fn after(&self, node: u32) -> Option<Step> {
        if node == self.root {
            return None;
        }
        let Node { parent, next, .. } = *self.tree.node(node);
        Some(if next == NONE { Step::Leave(parent) } else { Step::Enter(next) })
    }
}

impl Iterator for Walk<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.last = self.step;
        self.step = match self.step? {
            Step::Enter(node) if self.tree.has_children(node) => Some(Step::Enter(self.tree.node(node).first)),
            Step::Enter(node) => Some(Step::Leave(node)),
            Step::Leave(node) => self.after(node),
        };
        self.last
    }
}

/// What html5ever's rules build.
struct Sink {
    tree: RefCell<Tree>,
    /// The element that was made last.
    latest: Cell<u32>,
}

impl Sink {
    fn new(page: &str) -> Sink {
        let tags = page.bytes().filter(|&byte| byte == b'<').count();
        let nodes = Vec::with_capacity((tags + 16).min(NODES_MAX));
        let mut tree = Tree { nodes, texts: String::with_capacity(page.len() / 4), numbers: Vec::new() };
        tree.push(Tag::Block, 0, local_name!(""));
        Sink { tree: RefCell::new(tree), latest: Cell::new(0) }
    }

    /// How deep the element that was made last is nested, as far as it matters.
    fn depth(&self) -> u32 {
        let tree = self.tree.borrow();
        let (mut depth, mut node) = (0, self.latest.get());
        while node != NONE && depth < DEPTH_MAX {
            depth += 1;
            node = tree.node(node).parent;
        }
        depth
    }
}

#[derive(Debug)]
struct Name {
    ns: Namespace,
    local: LocalName,
}

impl ElemName for Name {
    fn ns(&self) -> &Namespace {
        &self.ns
    }

    fn local_name(&self) -> &LocalName {
        &self.local
    }
}

/// The names of the attributes that [`Tags`] sums up an element's own in.
const HINTS: LocalName = local_name!("class");
const NUMBER: LocalName = local_name!("start");
const ALT: LocalName = local_name!("alt");

impl TreeSink for Sink {
    type Handle = u32;
    type Output = ();
    type ElemName<'a> = Name;

    fn finish(self) {}

    fn parse_error(&self, _: Cow<'static, str>) {}

    fn get_document(&self) -> u32 {
        0
    }

    fn elem_name<'a>(&'a self, target: &'a u32) -> Name {
        let tree = self.tree.borrow();
        let node = tree.node(*target);
        let ns = match node.hints & (hint::SVG | hint::MATHML) {
            hint::SVG => ns!(svg),
            hint::MATHML => ns!(mathml),
            _ => ns!(html),
        };
        Name { ns, local: node.name.clone() }
    }

    fn create_element(&self, name: QualName, attrs: Vec<Attribute>, _: ElementFlags) -> u32 {
        let value = |wanted: LocalName| attrs.iter().find(|attr| attr.name.local == wanted).map(|attr| &*attr.value);
        let mut hints = value(HINTS).and_then(|value| value.parse().ok()).unwrap_or(0);
        if name.ns == ns!(svg) {
            hints |= hint::SVG;
        } else if name.ns == ns!(mathml) {
            hints |= hint::MATHML;
        }
        let mut tree = self.tree.borrow_mut();
        let tree = &mut *tree;
        let tag = tag(&name);
        let node = tree.push(tag, hints, name.local);
        if let Some(number) = value(NUMBER).and_then(|value| value.parse().ok())
            && tree.numbers.last().is_none_or(|(last, _)| *last < node)
        {
            tree.numbers.push((node, number));
        }
        if tag == Tag::Image {
            let start = tree.texts.len() as u32;
            tree.texts.push_str(value(ALT).unwrap_or_default());
            (tree.nodes[node as usize].first, tree.nodes[node as usize].last) = (start, tree.texts.len() as u32);
        }
        self.latest.set(node);
        node
    }

    fn create_comment(&self, _: StrTendril) -> u32 {
        self.tree.borrow_mut().push(Tag::Hidden, 0, local_name!(""))
    }

    fn create_pi(&self, _: StrTendril, _: StrTendril) -> u32 {
        self.tree.borrow_mut().push(Tag::Hidden, 0, local_name!(""))
    }

    fn append(&self, parent: &u32, child: NodeOrText<u32>) {
        self.tree.borrow_mut().insert_child(child, *parent, NONE);
    }

    fn append_based_on_parent_node(&self, element: &u32, prev_element: &u32, child: NodeOrText<u32>) {
        let has_parent = self.tree.borrow().node(*element).parent != NONE;
        if has_parent {
            self.append_before_sibling(element, child);
        } else {
            self.append(prev_element, child);
        }
    }

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    /// Templates are not shown; their content may as well be in them.
    fn get_template_contents(&self, target: &u32) -> u32 {
        *target
    }

    fn same_node(&self, x: &u32, y: &u32) -> bool {
        x == y
    }

    fn set_quirks_mode(&self, _: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &u32, new_node: NodeOrText<u32>) {
        let mut tree = self.tree.borrow_mut();
        let parent = tree.node(*sibling).parent;
        tree.insert_child(new_node, parent, *sibling);
    }

    fn add_attrs_if_missing(&self, _: &u32, _: Vec<Attribute>) {}

    fn remove_from_parent(&self, target: &u32) {
        self.tree.borrow_mut().detach(*target);
    }

    fn reparent_children(&self, node: &u32, new_parent: &u32) {
        let mut tree = self.tree.borrow_mut();
        loop {
            let child = tree.node(*node).first;
            if child == NONE {
                break;
            }
            tree.detach(child);
            tree.insert(child, *new_parent, NONE);
        }
    }
}

/// What the tokenizer finds, handed to the rules; of attributes only what matters here.
struct Tags<'b, 'l> {
    builder: &'b TreeBuilder<u32, Sink>,
    limits: &'l Limits<'l>,
    text: Vec<u8>,
    is_end: bool,
    self_closing: bool,
    name: Vec<u8>,
    last_start: Vec<u8>,
    attribute: Vec<u8>,
    value: Vec<u8>,
    hints: u16,
    number: Option<u32>,
    alt: Vec<u8>,
    /// Elements too deep to be nested, whose end tags are still to come.
    flattened: Vec<LocalName>,
    depth: u32,
    tags: u32,
    steps: u64,
    /// Bytes of the page read.
    byte: usize,
    error: Option<ParseError>,
}

impl<'b, 'l> Tags<'b, 'l> {
    fn new(builder: &'b TreeBuilder<u32, Sink>, limits: &'l Limits<'l>) -> Tags<'b, 'l> {
        Tags {
            builder,
            limits,
            text: Vec::new(),
            is_end: false,
            self_closing: false,
            name: Vec::new(),
            last_start: Vec::new(),
            attribute: Vec::new(),
            value: Vec::new(),
            hints: 0,
            number: None,
            alt: Vec::new(),
            flattened: Vec::new(),
            depth: 0,
            tags: 0,
            steps: 0,
            byte: 0,
            error: None,
        }
    }

    fn flush_text(&mut self) {
        let text = String::from_utf8_lossy(&self.text);
        for (n, piece) in text.split('\0').enumerate() {
            if n > 0 {
                let _ = self.builder.process_token(Token::NullCharacterToken, 1);
            }
            if !piece.is_empty() {
                let _ = self.builder.process_token(Token::CharacterTokens(StrTendril::from_slice(piece)), 1);
            }
        }
        drop(text);
        self.text.clear();
    }

    fn flush_attribute(&mut self) {
        let value = String::from_utf8_lossy(&self.value);
        match self.attribute.as_slice() {
            b"hidden" => self.hints |= hint::HIDDEN,
            b"aria-hidden" if value.eq_ignore_ascii_case("true") => self.hints |= hint::HIDDEN,
            b"style" if is_hiding(&value) => self.hints |= hint::HIDDEN,
            b"role" => match value.trim() {
                "navigation" | "search" | "banner" | "contentinfo" | "menu" | "menubar" | "toolbar" => {
                    self.hints |= hint::NAVIGATION;
                }
                "main" => self.hints |= hint::MAIN,
                "presentation" | "none" => self.hints |= hint::PRESENTATION,
                _ => {}
            },
            b"class" | b"id" => self.hints |= hints_of_names(&value),
            b"start" | b"value" | b"colspan" => self.number = value.trim().parse().ok(),
            b"alt" => self.alt.extend_from_slice(&self.value),
            _ => {}
        }
        self.attribute.clear();
        self.value.clear();
    }

    fn emit(&mut self, kind: TagKind, name: LocalName, attrs: Vec<Attribute>) -> Option<State> {
        let (self_closing, had_duplicate_attributes) = (self.self_closing, false);
        let tag = TagToken { kind, name, self_closing, attrs, had_duplicate_attributes };
        match self.builder.process_token(Token::TagToken(tag), 1) {
            TokenSinkResult::Continue | TokenSinkResult::Script(_) | TokenSinkResult::EncodingIndicator(_) => None,
            TokenSinkResult::Plaintext => Some(State::PlainText),
            TokenSinkResult::RawData(RawKind::Rcdata) => Some(State::RcData),
            TokenSinkResult::RawData(RawKind::Rawtext) => Some(State::RawText),
            TokenSinkResult::RawData(RawKind::ScriptData | RawKind::ScriptDataEscaped(_)) => Some(State::ScriptData),
        }
    }

    fn start_tag(&mut self, name: LocalName) -> Option<State> {
        let mut attrs = Vec::new();
        let mut attribute = |name: LocalName, value: StrTendril| {
            attrs.push(Attribute { name: QualName::new(None, ns!(), name), value });
        };
        // Equal formatting elements are cloned at most three times, so they had better be equal.
        let hints = if is_formatting(&name) { self.hints & hint::HIDDEN } else { self.hints };
        if hints != 0 {
            attribute(HINTS, StrTendril::from_slice(&hints.to_string()));
        }
        if let Some(number) = self.number
            && matches!(name, local_name!("ol") | local_name!("li") | local_name!("td") | local_name!("th"))
        {
            attribute(NUMBER, StrTendril::from_slice(&number.to_string()));
        }
        if name == local_name!("img") && !self.alt.is_empty() {
            attribute(ALT, StrTendril::from_slice(&String::from_utf8_lossy(&self.alt)));
        }
        self.depth = self.builder.sink.depth();
        if self.depth < DEPTH_MAX || !is_nesting(&name) {
            return self.emit(TagKind::StartTag, name, attrs);
        }
        let state = self.emit(TagKind::StartTag, name.clone(), attrs);
        self.emit(TagKind::EndTag, name.clone(), Vec::new());
        if self.flattened.len() < NODES_MAX {
            self.flattened.push(name);
        }
        state
    }

    /// Counts a tag, and sees whether the page is within the limits.
    fn count(&mut self) {
        self.tags += 1;
        self.steps += u64::from(self.depth.saturating_sub(SHALLOW));
        if self.steps > STEPS_MAX {
            self.error = Some(ParseError::TooDeep { limit: DEPTH_MAX as usize, byte: self.byte });
        }
        if self.builder.sink.tree.borrow().nodes.len() >= NODES_MAX {
            let what = "elements and pieces of text";
            self.error = Some(ParseError::TooLarge { what, limit: NODES_MAX, byte: self.byte });
        }
        if self.tags.is_multiple_of(TAGS_PER_CHECK) && (self.limits.stop)() {
            self.error = Some(ParseError::Stopped);
        }
    }
}

impl Emitter for Tags<'_, '_> {
    type Token = ParseError;

    fn set_last_start_tag(&mut self, last_start_tag: Option<&[u8]>) {
        self.last_start.clear();
        self.last_start.extend(last_start_tag.unwrap_or_default());
    }

    fn emit_eof(&mut self) {
        self.flush_text();
        let _ = self.builder.process_token(Token::EOFToken, 1);
        self.builder.end();
    }

    fn emit_error(&mut self, _: Error) {}

    fn should_emit_errors(&mut self) -> bool {
        false
    }

    fn pop_token(&mut self) -> Option<ParseError> {
        self.error.take()
    }

    fn emit_string(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
        if self.text.len() >= TEXT_BYTES {
            self.flush_text();
            self.count();
        }
    }

    fn init_start_tag(&mut self) {
        self.init_end_tag();
        self.is_end = false;
    }

    fn init_end_tag(&mut self) {
        self.is_end = true;
        self.self_closing = false;
        self.name.clear();
        self.attribute.clear();
        self.value.clear();
        self.hints = 0;
        self.number = None;
        self.alt.clear();
    }

    fn init_comment(&mut self) {}

    fn emit_current_tag(&mut self) -> Option<State> {
        self.flush_attribute();
        self.flush_text();
        let name = local_name(&self.name);
        let state = if self.is_end {
            if self.flattened.last() == Some(&name) {
                self.flattened.pop();
                None
            } else {
                self.emit(TagKind::EndTag, name, Vec::new())
            }
        } else {
            std::mem::swap(&mut self.last_start, &mut self.name);
            self.start_tag(name)
        };
        self.count();
        state
    }

    fn emit_current_comment(&mut self) {}

    fn emit_current_doctype(&mut self) {}

    fn set_self_closing(&mut self) {
        self.self_closing = !self.is_end;
    }

    fn set_force_quirks(&mut self) {}

    fn push_tag_name(&mut self, name: &[u8]) {
        push_bounded(&mut self.name, name);
    }

    fn push_comment(&mut self, _: &[u8]) {}

    fn push_doctype_name(&mut self, _: &[u8]) {}

    fn init_doctype(&mut self) {}

    fn init_attribute(&mut self) {
        self.flush_attribute();
    }

    fn push_attribute_name(&mut self, name: &[u8]) {
        push_bounded(&mut self.attribute, name);
    }

    fn push_attribute_value(&mut self, value: &[u8]) {
        push_bounded(&mut self.value, value);
    }

    fn set_doctype_public_identifier(&mut self, _: &[u8]) {}

    fn set_doctype_system_identifier(&mut self, _: &[u8]) {}

    fn push_doctype_public_identifier(&mut self, _: &[u8]) {}

    fn push_doctype_system_identifier(&mut self, _: &[u8]) {}

    fn current_is_appropriate_end_tag_token(&mut self) -> bool {
        self.is_end && !self.last_start.is_empty() && self.last_start == self.name
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&mut self) -> bool {
        self.builder.adjusted_current_node_present_but_not_in_html_namespace()
    }

    fn move_position(&mut self, offset: isize) {
        self.byte = self.byte.wrapping_add_signed(offset);
    }
}

fn push_bounded(to: &mut Vec<u8>, bytes: &[u8]) {
    let room = VALUE_BYTES_MAX.saturating_sub(to.len());
    to.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// The name of an element. Those that HTML does not know are told apart by their first bytes: longer names would go into a table
/// of the whole program.
fn local_name(name: &[u8]) -> LocalName {
    const BYTES_MAX: usize = 7;
    let name = String::from_utf8_lossy(name);
    let short = || LocalName::from(&name[..name.floor_char_boundary(BYTES_MAX)]);
    LocalName::try_static(&name).unwrap_or_else(short)
}

/// Whether an element that nobody closed is opened again in the next paragraph.
fn is_formatting(name: &LocalName) -> bool {
    matches!(
        *name,
        local_name!("a")
            | local_name!("b")
            | local_name!("big")
            | local_name!("code")
            | local_name!("em")
            | local_name!("font")
            | local_name!("i")
            | local_name!("nobr")
            | local_name!("s")
            | local_name!("small")
            | local_name!("strike")
            | local_name!("strong")
            | local_name!("tt")
            | local_name!("u")
    )
}

/// Whether elements can be nested in it, and an end tag after its start tag does no harm.
fn is_nesting(name: &LocalName) -> bool {
    !matches!(
        *name,
        local_name!("html")
            | local_name!("head")
            | local_name!("body")
            | local_name!("frameset")
            | local_name!("br")
            | local_name!("img")
            | local_name!("hr")
            | local_name!("input")
            | local_name!("wbr")
            | local_name!("area")
            | local_name!("base")
            | local_name!("col")
            | local_name!("embed")
            | local_name!("link")
            | local_name!("meta")
            | local_name!("param")
            | local_name!("source")
            | local_name!("track")
            | local_name!("script")
            | local_name!("style")
            | local_name!("title")
            | local_name!("textarea")
            | local_name!("noscript")
            | local_name!("noframes")
            | local_name!("noembed")
            | local_name!("iframe")
            | local_name!("xmp")
            | local_name!("plaintext")
    )
}

/// Whether a style takes its element from the page.
fn is_hiding(style: &str) -> bool {
    style.split(';').filter_map(|rule| rule.split_once(':')).any(|(property, value)| {
        let (property, value) = (property.trim(), value.trim());
        let is = |name: &str, hiding: &str| {
            property.eq_ignore_ascii_case(name)
                && value.get(..hiding.len()).is_some_and(|start| start.eq_ignore_ascii_case(hiding))
        };
        is("display", "none") || is("visibility", "hidden") || is("mso-hide", "all")
    })
}

/// What the words of a class or id say.
fn hints_of_names(names: &str) -> u16 {
    let mut hints = 0;
    for word in names.split(|char: char| !char.is_ascii_alphanumeric()).flat_map(split_camel_case) {
        let mut buffer = [0; 16];
        let Some(lower) = buffer.get_mut(..word.len()) else { continue };
        lower.copy_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        hints |= match &*lower {
            b"nav" | b"navbar" | b"navigation" | b"navbox" | b"menu" | b"menubar" | b"breadcrumb" | b"breadcrumbs"
            | b"pagination" | b"pager" | b"sidebar" | b"toc" | b"related" | b"tags" | b"footer" | b"toolbar"
            | b"masthead" | b"topbar" => hint::MENU,
            b"editsection" => hint::NAVIGATION,
            b"cookie" | b"cookies" | b"cookiebanner" | b"consent" | b"gdpr" | b"newsletter" | b"subscribe"
            | b"social" | b"share" | b"sharing" | b"advert" | b"advertisement" | b"ads" | b"sponsored" | b"popup"
            | b"modal" | b"skip" | b"skiplink" => hint::NOTICE,
            _ => 0,
        };
    }
    hints
}

/// `cookieBanner` to `cookie`, `Banner`.
fn split_camel_case(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let end = rest.bytes().skip(1).position(|byte| byte.is_ascii_uppercase()).map_or(rest.len(), |at| at + 1);
        let (word, after) = rest.split_at(end);
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

fn tag(name: &QualName) -> Tag {
    if name.ns != ns!(html) {
        return match name.local {
            local_name!("svg") => Tag::Unread,
            // The same formula once more, in TeX or as content.
            local_name!("annotation") | local_name!("annotation-xml") => Tag::Hidden,
            _ => Tag::Inline,
        };
    }
    match name.local {
        local_name!("a") => Tag::Link,
        local_name!("p") => Tag::Paragraph,
        local_name!("h1") => Tag::Heading(1),
        local_name!("h2") => Tag::Heading(2),
        local_name!("h3") => Tag::Heading(3),
        local_name!("h4") => Tag::Heading(4),
        local_name!("h5") => Tag::Heading(5),
        local_name!("h6") => Tag::Heading(6),
        local_name!("ul") | local_name!("menu") | local_name!("dir") => Tag::List,
        local_name!("ol") => Tag::NumberedList,
        local_name!("li") => Tag::Item,
        local_name!("dl") => Tag::DefinitionList,
        local_name!("dt") => Tag::Term,
        local_name!("dd") => Tag::Definition,
        local_name!("table") => Tag::Table,
        local_name!("caption") => Tag::TableCaption,
        local_name!("thead") => Tag::TableHead,
        local_name!("tbody") | local_name!("tfoot") => Tag::TableBody,
        local_name!("tr") => Tag::Row,
        local_name!("td") => Tag::Cell,
        local_name!("th") => Tag::HeaderCell,
        local_name!("pre") | local_name!("listing") | local_name!("xmp") | local_name!("plaintext") => Tag::Pre,
        local_name!("blockquote") => Tag::Quote,
        local_name!("figcaption") => Tag::Caption,
        local_name!("br") => Tag::Break,
        local_name!("hr") => Tag::Rule,
        local_name!("img") => Tag::Image,
        local_name!("q") => Tag::Quotation,
        local_name!("nav") => Tag::Nav,
        local_name!("footer") => Tag::Footer,
        local_name!("aside") => Tag::Aside,
        local_name!("main") => Tag::Main,
        local_name!("article") => Tag::Article,
        local_name!("button") => Tag::Button,
        local_name!("select") | local_name!("datalist") => Tag::Control,
        local_name!("script")
        | local_name!("style")
        | local_name!("template")
        | local_name!("noscript")
        | local_name!("noframes")
        | local_name!("noembed")
        | local_name!("dialog") => Tag::Hidden,
        local_name!("iframe")
        | local_name!("object")
        | local_name!("video")
        | local_name!("audio")
        | local_name!("canvas")
        | local_name!("applet") => Tag::Unread,
        local_name!("head") => Tag::Head,
        local_name!("title") => Tag::Title,
        local_name!("html")
        | local_name!("body")
        | local_name!("frameset")
        | local_name!("div")
        | local_name!("section")
        | local_name!("header")
        | local_name!("hgroup")
        | local_name!("address")
        | local_name!("center")
        | local_name!("details")
        | local_name!("summary")
        | local_name!("fieldset")
        | local_name!("legend")
        | local_name!("figure")
        | local_name!("form")
        | local_name!("search")
        | local_name!("textarea")
        | local_name!("option")
        | local_name!("optgroup") => Tag::Block,
        _ => Tag::Inline,
    }
}
