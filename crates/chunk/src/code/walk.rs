//! A syntax tree to pieces under names.
//!
//! A thing on one line says its name itself and stands under the names around it; what takes several lines has a heading.

use std::ops::Range;

use tree_sitter::{Node, Tree};

use super::grammar::{Grammar, Item, Kinds, Name, Role};
use crate::length::trim;
use crate::named::{LEVELS_MAX, Named, first_byte, has_blank_line, name};
use crate::outline::{Block, NODE_DEPTH_MAX, Shape};
use crate::parse::{Limits, ParseError};

/// What nests deeper outside of functions is not told apart: types in types, `#ifdef` in `#ifdef`.
const DEPTH_MAX: usize = 32;
/// Declarators of C nest at most so deep until the name.
const DECLARATORS_MAX: usize = 16;
/// A shorter block is not cut.
const BLOCK_BYTES_MIN: usize = 80;
/// Work is stopped, if at all, between so many nodes.
const STOP_EVERY: usize = 4096;

/// The blocks of a file.
pub(super) fn blocks(
    text: &str,
    tree: &Tree,
    grammar: &Grammar,
    kinds: &Kinds,
    limits: &Limits<'_>,
) -> Result<Vec<Block>, ParseError> {
    let mut walker = Walker {
        text,
        grammar,
        kinds,
        limits,
        named: Named::new(text),
        path: Vec::new(),
        lead: None,
        last: Last { kind: Kind::None, end: first_byte(text) },
        imports: None,
        nodes: 0,
    };
    let first = walker.last.end;
    let starts_late = tree.root_node().child(0).is_none_or(|child| child.start_byte() > first);
    if starts_late && first < text.len() {
        // The parser skipped it.
        walker.code_lead(first);
    }
    walker.members(tree.root_node(), DEPTH_MAX)?;
    walker.end_lead();
    let mut blocks = walker.named.finish();
    if let Some(imports) = walker.imports {
        for block in &mut blocks {
            if let Block::Body(body) = block
                && body.nodes[0].shape == Shape::Code
                && body.bytes.start != imports.start
            {
                body.context = Some(imports.clone());
            }
        }
    }
    Ok(blocks)
}

struct Walker<'t, 'w> {
    text: &'t str,
    grammar: &'w Grammar,
    kinds: &'w Kinds,
    limits: &'w Limits<'w>,
    named: Named<'t>,
    /// The names around the next thing.
    path: Vec<String>,
    /// What stands before the next thing and belongs to it.
    lead: Option<Lead>,
    /// The last thing.
    last: Last,
    /// The first run of imports.
    imports: Option<Range<usize>>,
    /// How many were visited.
    nodes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Lead {
    start: usize,
    /// The end of its last comment.
    end: usize,
    /// Where it is no comment any more: the line of the type whose first member follows, `export`.
    code: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    kind: Kind,
    end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    None,
    Prose,
    Imports,
    Named,
    /// Things without a name, side by side.
    Run,
}

impl Walker<'_, '_> {
    /// Reads what stands side by side in a node.
    fn members(&mut self, parent: Node<'_>, depth: usize) -> Result<(), ParseError> {
        let mut cursor = parent.walk();
        let mut more = cursor.goto_first_child();
        while more {
            let node = cursor.node();
            self.step()?;
            // A name or condition of the node itself has a field, a member has none.
            let is_member = node.is_named() && cursor.field_id().is_none_or(|_| self.role(node) != Role::Other);
            if node.start_byte() == node.end_byte() {
                // The parser put it where the language would have it.
            } else if is_member {
                self.member(node, depth)?;
            } else if self.last.kind == Kind::None {
                self.code_lead(node.start_byte());
            }
            more = cursor.goto_next_sibling();
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), ParseError> {
        self.nodes += 1;
        if self.nodes.is_multiple_of(STOP_EVERY) && (self.limits.stop)() { Err(ParseError::Stopped) } else { Ok(()) }
    }

    fn role(&self, node: Node<'_>) -> Role {
        self.kinds.role(node.kind_id())
    }

    fn member(&mut self, node: Node<'_>, depth: usize) -> Result<(), ParseError> {
        // Some grammars count the line's end, or blanks, to the node.
        let bytes = trim(self.text, node.byte_range());
        if bytes.is_empty() {
            return Ok(());
        }
        match self.role(node) {
            Role::Lead => {
                self.comment(bytes);
                Ok(())
            }
            Role::Import => {
                self.import(bytes);
                Ok(())
            }
            Role::Item(item) => self.item(node, node, self.grammar.items[item].1, depth),
            Role::Wrapper => match self.wrapped(node, depth) {
                Some((inner, item)) => self.item(node, inner, item, depth),
                None => self.statement(node),
            },
            Role::Open if depth > 0 => self.open(node, depth),
            Role::Other if node.is_error() && depth > 0 && node.named_child_count() > 0 => self.open(node, depth),
            Role::Open | Role::Other => self.statement(node),
            Role::Keyword => Ok(()),
        }
    }

    /// The item that a wrapper is around.
    fn wrapped<'n>(&self, wrapper: Node<'n>, depth: usize) -> Option<(Node<'n>, Item)> {
        let mut cursor = wrapper.walk();
        let mut more = depth > 0 && cursor.goto_first_child();
        while more {
            let node = cursor.node();
            match self.role(node) {
                Role::Item(item) => return Some((node, self.grammar.items[item].1)),
                Role::Wrapper => return self.wrapped(node, depth - 1),
                Role::Import | Role::Lead | Role::Open | Role::Keyword | Role::Other => {}
            }
            more = cursor.goto_next_sibling();
        }
        None
    }

    /// Reads what stands side by side in a node, as if it stood at the node's own place.
    fn open(&mut self, node: Node<'_>, depth: usize) -> Result<(), ParseError> {
        let start = node.start_byte();
        self.end_prose(start, false);
        // Java's mark between an enumeration's values and its methods belongs to the values.
        if !self.text[start..].starts_with(';') {
            self.code_lead(start);
        }
        self.members(node, depth - 1)?;
        self.last.end = self.last.end.max(trim(self.text, node.byte_range()).end);
        Ok(())
    }

    /// What begins here belongs to the next thing.
    fn code_lead(&mut self, start: usize) {
        let lead = self.lead.get_or_insert(Lead { start, end: start, code: None });
        lead.code.get_or_insert(start);
    }

    fn comment(&mut self, bytes: Range<usize>) {
        let follows = self.lead.is_none() && self.last.kind != Kind::None;
        if follows && !self.text[self.last.end.min(bytes.start)..bytes.start].contains('\n') {
            // It is about what stands on its line.
            self.last.end = bytes.end;
            return;
        }
        match self.lead {
            Some(lead) if self.is_prose(lead) && has_blank_line(self.text, lead.end..bytes.start) => {
                self.prose(lead.start..lead.end);
                self.lead = None;
            }
            Some(_) | None => {}
        }
        let lead = self.lead.get_or_insert(Lead { start: bytes.start, end: bytes.end, code: None });
        lead.end = bytes.end;
    }

    /// Whether these comments stand where a file's licence and description do.
    fn is_prose(&self, lead: Lead) -> bool {
        lead.code.is_none() && matches!(self.last.kind, Kind::None | Kind::Prose)
    }

    fn prose(&mut self, bytes: Range<usize>) {
        self.named.begin(&self.path, bytes.start, Shape::Paragraph);
        self.last = Last { kind: Kind::Prose, end: bytes.end };
    }

    /// Ends the comments above a thing, if they are about the file. Those right above an item with a name are about it.
    fn end_prose(&mut self, next: usize, is_item: bool) {
        if let Some(lead) = self.lead
            && self.is_prose(lead)
            && (!is_item || has_blank_line(self.text, lead.end..next))
        {
            self.prose(lead.start..lead.end);
            self.lead = None;
        }
    }

    /// Where a thing starts with what belongs to it, and where its code does.
    fn take_lead(&mut self, start: usize) -> (usize, usize) {
        let lead = self.lead.take();
        lead.map_or((start, start), |lead| (lead.start, lead.code.unwrap_or(start)))
    }

    fn import(&mut self, bytes: Range<usize>) {
        self.end_prose(bytes.start, false);
        let (start, _) = self.take_lead(bytes.start);
        if self.last.kind == Kind::Imports && self.named.is_under(&self.path) {
            self.named.node(start, 1, Shape::Statement);
            if let Some(imports) = &mut self.imports
                && imports.end == self.last.end
            {
                imports.end = bytes.end;
            }
        } else {
            self.named.begin(&self.path, start, Shape::Code);
            self.named.node(start, 1, Shape::Statement);
            self.imports.get_or_insert(start..bytes.end);
        }
        self.last = Last { kind: Kind::Imports, end: bytes.end };
    }

    /// Reads something without a name.
    fn statement(&mut self, node: Node<'_>) -> Result<(), ParseError> {
        let bytes = trim(self.text, node.byte_range());
        self.end_prose(bytes.start, false);
        if matches!(self.last.kind, Kind::None | Kind::Prose) && self.is_docstring(node) {
            self.prose(bytes);
            return Ok(());
        }
        let (start, _) = self.take_lead(bytes.start);
        self.unnamed(start, bytes.end);
        self.statements(node, 2)
    }

    fn is_docstring(&self, node: Node<'_>) -> bool {
        self.grammar.prose.is_some_and(|(kind, child)| {
            node.kind() == kind && node.named_child(0).is_some_and(|first| first.kind() == child)
        })
    }

    /// A piece without a name, or a part of one: neighbours without an empty line between are one piece.
    fn unnamed(&mut self, start: usize, end: usize) {
        let continues = self.last.kind == Kind::Run
            && self.named.is_under(&self.path)
            && !has_blank_line(self.text, self.last.end.min(start)..start);
        if !continues {
            self.named.begin(&self.path, start, Shape::Code);
        }
        self.named.node(start, 1, Shape::Statement);
        self.last = Last { kind: Kind::Run, end };
    }

    /// Comments below which nothing follows.
    fn end_lead(&mut self) {
        if let Some(lead) = self.lead.take() {
            self.unnamed(lead.start, lead.end);
        }
    }

    /// Reads an item; `outer` is what it stands in together with its `export`.
    fn item(&mut self, outer: Node<'_>, node: Node<'_>, item: Item, depth: usize) -> Result<(), ParseError> {
        let names = self.names(node, item.name);
        let bytes = trim(self.text, outer.byte_range());
        let members = item.members.filter(|_| depth > 0).and_then(|field| node.child_by_field_name(field));
        self.end_prose(bytes.start, !names.is_empty());
        // Its own lines: not that of the type around it.
        let comments = self.lead.filter(|lead| lead.end > lead.start);
        let start = comments.map_or(bytes.start, |lead| lead.start);
        let has_lines = self.text[start..bytes.end].contains('\n');
        match members {
            Some(members) if has_lines => {
                let outside = self.path.len();
                self.path.extend(names);
                self.path.truncate(LEVELS_MAX.max(outside));
                self.container(outer, members, depth)?;
                self.path.truncate(outside);
                Ok(())
            }
            Some(_) | None if has_lines && !names.is_empty() && self.path.len() + names.len() <= LEVELS_MAX => {
                let (start, code) = self.take_lead(bytes.start);
                let outside = self.path.len();
                self.path.extend(names);
                self.named.begin(&self.path, start, Shape::Code);
                self.path.truncate(outside);
                self.last = Last { kind: Kind::Named, end: bytes.end };
                if start == code {
                    return self.statements(outer, 1);
                }
                // Its comments, and itself.
                self.named.node(start, 1, Shape::Statement);
                self.named.node(code, 1, Shape::Statement);
                self.statements(outer, 2)
            }
            Some(_) | None => {
                // A method outside of its type stands under the type's name all the same.
                let outside = self.path.len();
                self.path.extend(names.into_iter().rev().skip(1).rev());
                self.path.truncate(LEVELS_MAX.max(outside));
                self.statement(outer)?;
                self.path.truncate(outside);
                Ok(())
            }
        }
    }

    /// Reads a type or module and its members. Its own line goes with the first member, unless it has comments.
    fn container(&mut self, outer: Node<'_>, members: Node<'_>, depth: usize) -> Result<(), ParseError> {
        let header = outer.start_byte()..members.start_byte();
        let has_comments = self.lead.is_some_and(|lead| lead.end > lead.start);
        if has_comments || self.text[header.clone()].trim_end().contains('\n') {
            let (start, _) = self.take_lead(header.start);
            self.unnamed(start, header.end);
        } else {
            self.code_lead(header.start);
        }
        self.members(members, depth - 1)?;
        self.end_lead();
        self.last.end = self.last.end.max(outer.end_byte());
        Ok(())
    }

    /// Adds a node of this depth for each statement in the blocks of a node, and deeper ones for those nested in it. A
    /// statement starts with the comments right above it.
    fn statements(&mut self, node: Node<'_>, depth: usize) -> Result<(), ParseError> {
        let mut cursor = node.walk();
        // For each node that is open: whether it is a block, and the depth of statements in it.
        let mut open = Vec::new();
        let mut within = (false, depth);
        let mut comment: Option<usize> = None;
        loop {
            self.step()?;
            let node = cursor.node();
            let (in_block, mut depth) = within;
            let role = self.role(node);
            if in_block && node.is_named() && role != Role::Keyword && node.start_byte() < node.end_byte() {
                let is_continued = comment
                    .is_some_and(|end| !has_blank_line(self.text, end.min(node.start_byte())..node.start_byte()));
                if !is_continued {
                    self.named.node(node.start_byte(), depth, Shape::Statement);
                }
                comment = (role == Role::Lead).then(|| node.end_byte());
                depth += 1;
            }
            if depth <= usize::from(NODE_DEPTH_MAX) && cursor.goto_first_child() {
                open.push(within);
                let is_long = node.end_byte() - node.start_byte() > BLOCK_BYTES_MIN;
                within = (is_long && self.kinds.is_block(node.kind_id()), depth);
                continue;
            }
            while !cursor.goto_next_sibling() {
                comment = None;
                match open.pop() {
                    Some(outer) if cursor.goto_parent() => within = outer,
                    Some(_) | None => return Ok(()),
                }
            }
        }
    }

    /// The names of an item, outermost first; none if it has none.
    fn names(&self, node: Node<'_>, place: Name) -> Vec<String> {
        let text = |node: Node<'_>| &self.text[node.byte_range()];
        let field = |name: &str| node.child_by_field_name(name);
        let found = match place {
            Name::Field(name) => field(name).map(|node| segments(text(node))),
            Name::Child(kind) => {
                let mut cursor = node.walk();
                node.children(&mut cursor).find(|child| child.kind() == kind).map(|child| segments(text(child)))
            }
            Name::Declarator => declared(node).map(|node| segments(text(node))),
            Name::Impl => field("type").and_then(|of| {
                let of = of.child_by_field_name("type").unwrap_or(of);
                let names = match field("trait") {
                    Some(of_trait) => format!("{} for {}", text(of_trait), text(of)),
                    None => text(of).to_owned(),
                };
                name(&names).map(|name| vec![name])
            }),
            Name::Receiver => field("receiver").zip(field("name")).and_then(|(receiver, method)| {
                let of = text(receiver).trim_matches(['(', ')']).split('[').next()?.split_whitespace().last()?;
                Some(vec![name(of.trim_start_matches('*'))?, name(text(method))?])
            }),
        };
        found.unwrap_or_default()
    }
}

/// The names of a path such as `a::b`; none for what is no name, such as a pattern.
fn segments(path: &str) -> Vec<String> {
    let is_operator = |rest: &str| {
        rest.strip_prefix("operator")
            .is_some_and(|sign| !sign.starts_with(|char: char| char.is_alphanumeric() || char == '_'))
    };
    let mut names = Vec::new();
    let mut rest = Some(path);
    while let Some(path) = rest {
        if is_operator(path) {
            names.extend(name(path));
            break;
        }
        let (first, after) = path.split_once("::").map_or((path, None), |(first, after)| (first, Some(after)));
        if first.contains(['{', '[', '(', '"', '\n']) {
            return Vec::new();
        }
        names.extend(first.split('<').next().and_then(name));
        rest = after;
    }
    names
}

/// The name within C's declarators.
fn declared(node: Node<'_>) -> Option<Node<'_>> {
    let mut node = node.child_by_field_name("declarator")?;
    for _ in 0..DECLARATORS_MAX {
        let inner = node.child_by_field_name("declarator").or_else(|| {
            let is_around = node.kind().ends_with("declarator");
            node.named_child(0).filter(|_| is_around)
        });
        match inner {
            Some(inner) => node = inner,
            None => break,
        }
    }
    Some(node)
}
