//! E-mail (RFC 5322, MIME): its headers, its new text, what it quotes, the names of its attachments.
//!
//! Encodings and parts are `mail_parser`'s work. Of alternatives the plain text is read, and HTML by `html.rs` where there is no
//! other. Quoted history is told from new text by the marks that mail programs make, and named so in the places: an answer found in
//! it was somebody else's, or earlier.

use ibid_core::Place;
use mail_parser::{Address, HeaderName, Message, MessageParser, MessagePart, MimeHeaders, PartType};

use crate::html;
use crate::length::on_one_line;
use crate::outline::{Block, Body, Node, Outline, Placed, Reason, Shape};
use crate::parse::{Limits, ParseError};

/// Messages within messages are read so deep.
const DEPTH_MAX: u32 = 3;
/// Each part may make the parser look through the whole message for its end: their number and its length together are bounded.
const PART_BYTES_MAX: usize = 4 << 30;
/// The parser takes some hundred bytes for a part, and some fifty for each byte of a header that is all addresses.
const BOUNDARIES_MAX: usize = 500_000;
const HEADER_BYTES_MAX: usize = 4 << 20;
/// It looks through the parameters of a field for each that is in pieces (RFC 2231).
const PIECES_MAX: usize = 50_000;
/// The name of an attachment is shown so far.
const NAME_BYTES_MAX: usize = 200;

/// Reads a message.
pub(crate) fn convert(bytes: &[u8], limits: &Limits<'_>) -> Result<(String, Outline), ParseError> {
    check_parts(bytes)?;
    let malformed = |problem: &str| ParseError::Malformed { format: "message", byte: 0, problem: problem.to_owned() };
    let message = MessageParser::default().parse(bytes).ok_or_else(|| malformed("it has no header"))?;
    let mut writer = Writer { limits, text: String::new(), outline: Outline::default() };
    let written = writer.message(&message);
    drop_flat(message);
    written?;
    Ok((writer.text, writer.outline))
}

/// Refuses a message of more parts than its length leaves time for, and one whose structure takes more memory than its text.
/// Every part that is no plain text has a line of its own that says what it is.
fn check_parts(bytes: &[u8]) -> Result<(), ParseError> {
    const NAME: &[u8] = b"content-type";
    let limit = PART_BYTES_MAX / bytes.len().max(1 << 16);
    let (mut byte, mut parts, mut boundaries, mut pieces, mut in_header) = (0, 0, 0, 0, true);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if line.get(..NAME.len()).is_some_and(|start| start.eq_ignore_ascii_case(NAME)) {
            parts += 1;
        }
        boundaries += usize::from(line.starts_with(b"--"));
        pieces += line.windows(2).filter(|window| window == b"*=").count();
        in_header &= !line.trim_ascii().is_empty();
        byte += line.len();
        for (what, count, limit) in [
            ("parts of a message of this length", parts, limit),
            ("boundaries of a message", boundaries, BOUNDARIES_MAX),
            ("pieces of parameters", pieces, PIECES_MAX),
            ("bytes of a message's header", if in_header { byte } else { 0 }, HEADER_BYTES_MAX),
        ] {
            if count > limit {
                return Err(ParseError::TooLarge { what, limit, byte: byte - line.len() });
            }
        }
    }
    Ok(())
}

/// Drops a message without recursion, however deep messages are nested in it.
fn drop_flat(message: Message<'_>) {
    let mut messages = vec![message];
    while let Some(message) = messages.pop() {
        messages.extend(message.parts.into_iter().filter_map(|part| match part.body {
            PartType::Message(inner) => Some(inner),
            PartType::Text(_)
            | PartType::Html(_)
            | PartType::Binary(_)
            | PartType::InlineBinary(_)
            | PartType::Multipart(_) => None,
        }));
    }
}

struct Writer<'l> {
    limits: &'l Limits<'l>,
    text: String,
    outline: Outline,
}

impl Writer<'_> {
    fn message(&mut self, message: &Message<'_>) -> Result<(), ParseError> {
        self.outline.title = message.subject().map(on_one_line).filter(|subject| !subject.is_empty());
        self.block(Shape::Paragraph, &[head(message)], None)?;
        for part in message.text_body.iter().filter_map(|&part| message.part(part)) {
            match &part.body {
                PartType::Text(text) => self.plain(text)?,
                PartType::Html(page) => self.html(page)?,
                PartType::Binary(_) | PartType::InlineBinary(_) | PartType::Message(_) | PartType::Multipart(_) => {}
            }
        }
        let mut names = Vec::new();
        for part in attachments(message) {
            names.push(name_of(part));
            match &part.body {
                PartType::Message(inner) => self.nested(inner)?,
                PartType::Text(_)
                | PartType::Html(_)
                | PartType::Binary(_)
                | PartType::InlineBinary(_)
                | PartType::Multipart(_) => self.outline.leave_out(Reason::Unread, part.len()),
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        self.block(Shape::Paragraph, &[format!("Attachments: {}", names.join(", "))], None)
    }

    /// Writes a plain text: its new paragraphs, and what it quotes.
    fn plain(&mut self, text: &str) -> Result<(), ParseError> {
        for segment in segments(text) {
            match segment {
                Segment::New(paragraph) => self.block(Shape::Paragraph, &[paragraph], Some("body"))?,
                Segment::Quoted(paragraphs) => self.block(Shape::Quote, &paragraphs, Some("quoted"))?,
            }
        }
        Ok(())
    }

    /// Writes a page. What it quotes are its quotations, and everything from the head of an older message on.
    fn html(&mut self, page: &str) -> Result<(), ParseError> {
        let (text, outline) = html::read(page, self.limits)?;
        self.separate();
        let shift = self.text.len();
        let mut history = false;
        for mut block in outline.blocks {
            let words = &text[block.bytes().clone()];
            let lines: Vec<&str> = words.lines().collect();
            history |= starts_history(&lines);
            let is_quote = match &mut block {
                Block::Heading(heading) => {
                    heading.bytes = heading.bytes.start + shift..heading.bytes.end + shift;
                    false
                }
                Block::Body(body) => {
                    body.bytes = body.bytes.start + shift..body.bytes.end + shift;
                    body.nodes.iter_mut().for_each(|node| node.start += shift);
                    body.context = body.context.take().map(|context| context.start + shift..context.end + shift);
                    body.nodes[0].shape == Shape::Quote || is_attribution(words)
                }
            };
            let name = if is_quote || history { "quoted" } else { "body" };
            self.outline
                .places
                .push(Placed { bytes: block.bytes().clone(), place: Place::Part { name: name.to_owned() } });
            self.outline.blocks.push(block);
        }
        self.text.push_str(&text);
        for left_out in outline.left_out {
            self.outline.leave_out(left_out.reason, left_out.bytes as usize);
        }
        self.check()
    }

    /// Writes a message within the message, as one quotation.
    fn nested(&mut self, message: &Message<'_>) -> Result<(), ParseError> {
        let mut paragraphs = Vec::new();
        let mut inner = vec![(message, 1)];
        while let Some((message, depth)) = inner.pop() {
            if depth > DEPTH_MAX {
                self.outline.leave_out(Reason::Unread, message.raw_message.len());
                continue;
            }
            paragraphs.push(head(message));
            for part in message.text_body.iter().filter_map(|&part| message.part(part)) {
                match &part.body {
                    PartType::Text(text) => paragraphs.extend(segments(text).into_iter().flat_map(Segment::paragraphs)),
                    PartType::Html(page) => {
                        let (text, outline) = html::read(page, self.limits)?;
                        let blocks = outline.blocks.iter().map(|block| text[block.bytes().clone()].to_owned());
                        paragraphs.extend(blocks.filter(|block| !block.is_empty()));
                    }
                    PartType::Binary(_) | PartType::InlineBinary(_) | PartType::Message(_) | PartType::Multipart(_) => {
                    }
                }
            }
            for part in attachments(message) {
                match &part.body {
                    PartType::Message(message) => inner.push((message, depth + 1)),
                    PartType::Text(_)
                    | PartType::Html(_)
                    | PartType::Binary(_)
                    | PartType::InlineBinary(_)
                    | PartType::Multipart(_) => self.outline.leave_out(Reason::Unread, part.len()),
                }
            }
        }
        self.block(Shape::Quote, &paragraphs, Some("quoted"))
    }

    /// Writes paragraphs as one block.
    fn block(&mut self, shape: Shape, paragraphs: &[String], part: Option<&str>) -> Result<(), ParseError> {
        let mut nodes = Vec::new();
        for paragraph in paragraphs.iter().filter(|paragraph| !paragraph.trim().is_empty()) {
            self.separate();
            let start = self.text.len();
            if nodes.is_empty() {
                nodes.push(Node { start, depth: 0, shape });
            }
            if shape != Shape::Paragraph {
                nodes.push(Node { start, depth: 1, shape: Shape::Paragraph });
            }
            self.text.push_str(paragraph.trim());
            self.check()?;
        }
        if let Some(first) = nodes.first() {
            let bytes = first.start..self.text.len();
            if let Some(name) = part {
                let place = Place::Part { name: name.to_owned() };
                self.outline.places.push(Placed { bytes: bytes.clone(), place });
            }
            self.outline.blocks.push(Block::Body(Body { bytes, nodes, context: None }));
        }
        Ok(())
    }

    fn separate(&mut self) {
        if !self.text.is_empty() {
            self.text.push_str("\n\n");
        }
    }

    fn check(&self) -> Result<(), ParseError> {
        let limit = self.limits.text_bytes_max;
        if self.text.len() > limit {
            return Err(ParseError::TooLarge { what: "bytes of text", limit, byte: limit });
        }
        if (self.limits.stop)() { Err(ParseError::Stopped) } else { Ok(()) }
    }
}

/// The parts of a message that are not its text.
fn attachments<'m, 'x>(message: &'m Message<'x>) -> impl Iterator<Item = &'m MessagePart<'x>> {
    message.attachments.iter().filter_map(|&part| message.part(part))
}

/// The lines at the head of a message that people read.
fn head(message: &Message<'_>) -> String {
    let lines = [
        ("From", message.from().map(addresses)),
        ("To", message.to().map(addresses)),
        ("Cc", message.cc().map(addresses)),
        ("Date", message.header_raw(HeaderName::Date).map(on_one_line)),
        ("Subject", message.subject().map(on_one_line)),
    ];
    let lines =
        lines.into_iter().filter_map(|(name, value)| Some(format!("{name}: {}", value.filter(|v| !v.is_empty())?)));
    lines.collect::<Vec<_>>().join("\n")
}

fn addresses(address: &Address<'_>) -> String {
    let one = |address: &mail_parser::Addr<'_>| match (address.name(), address.address()) {
        (Some(name), Some(address)) => format!("{} <{}>", on_one_line(name), on_one_line(address)),
        (name, address) => name.or(address).map(on_one_line).unwrap_or_default(),
    };
    address.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn name_of(part: &MessagePart<'_>) -> String {
    let kind = || part.content_type().map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("*")));
    let subject = || match &part.body {
        PartType::Message(message) => message.subject().map(str::to_owned),
        PartType::Text(_)
        | PartType::Html(_)
        | PartType::Binary(_)
        | PartType::InlineBinary(_)
        | PartType::Multipart(_) => None,
    };
    let name = part.attachment_name().map(str::to_owned).or_else(subject).or_else(kind).unwrap_or_default();
    let name = on_one_line(&name);
    let name = &name[..name.floor_char_boundary(NAME_BYTES_MAX)];
    if name.is_empty() { "without a name".to_owned() } else { name.to_owned() }
}

/// A piece of a plain text.
#[derive(Debug, PartialEq, Eq)]
enum Segment {
    /// A paragraph of the new text; the signature is one.
    New(String),
    /// Paragraphs that it quotes, without their marks.
    Quoted(Vec<String>),
}

impl Segment {
    fn paragraphs(self) -> Vec<String> {
        match self {
            Segment::New(paragraph) => vec![paragraph],
            Segment::Quoted(paragraphs) => paragraphs,
        }
    }
}

/// Tells the new text of a message from what it quotes.
fn segments(text: &str) -> Vec<Segment> {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let mut segments = Vec::new();
    let mut paragraph: Vec<&str> = Vec::new();
    let (mut quoted, mut history, mut signature) = (false, false, false);
    let marked_end = lines.iter().rposition(|line| line.starts_with('>')).map_or(0, |last| last + 1);
    for (n, line) in lines.iter().enumerate() {
        let rest = &lines[n..];
        let was_quoted = quoted;
        // All below an attribution is what was written, if no line is marked as that.
        history = history || starts_history(rest) || n >= marked_end && attribution(rest).is_some();
        let is_blank = line.trim().is_empty();
        quoted = history || line.starts_with('>') || is_blank && quoted || is_lead_in(rest, quoted);
        if quoted != was_quoted || !quoted && is_signature(line) {
            flush(&mut segments, &mut paragraph, was_quoted);
            signature = !quoted && is_signature(line);
        }
        let line = if quoted { line.trim_start_matches(['>', ' ']).trim_start() } else { line };
        if line.trim().is_empty() {
            if !signature {
                flush(&mut segments, &mut paragraph, quoted);
            }
        } else {
            paragraph.push(line);
        }
    }
    flush(&mut segments, &mut paragraph, quoted);
    segments
}

fn flush(segments: &mut Vec<Segment>, paragraph: &mut Vec<&str>, quoted: bool) {
    if paragraph.is_empty() {
        return;
    }
    let text = std::mem::take(paragraph).join("\n");
    match segments.last_mut() {
        Some(Segment::Quoted(paragraphs)) if quoted => paragraphs.push(text),
        Some(_) | None if quoted => segments.push(Segment::Quoted(vec![text])),
        Some(_) | None => segments.push(Segment::New(text)),
    }
}

/// The line between a text and its signature (RFC 3676): two hyphens and a blank, which some programs trim.
fn is_signature(line: &str) -> bool {
    line == "--"
}

/// Whether all from here on is an older message: its head begins, or the line that programs put above it.
fn starts_history(lines: &[&str]) -> bool {
    const ORIGINALS: [&str; 6] = [
        "original message",
        "original appointment",
        "forwarded message",
        "ursprüngliche nachricht",
        "message d'origine",
        "mensaje original",
    ];
    let Some(first) = lines.first().map(|line| line.trim()) else { return false };
    if first.starts_with("--") && first.ends_with("--") {
        let words = first.trim_matches('-').trim().to_lowercase();
        return ORIGINALS.contains(&words.as_str());
    }
    if first.eq_ignore_ascii_case("Begin forwarded message:") {
        return true;
    }
    let begins = |line: &str, names: &[&str]| names.iter().any(|name| line.trim_start_matches('*').starts_with(name));
    // Outlook draws a line above it.
    let is_rule = first.len() >= 8 && first.bytes().all(|byte| byte == b'_');
    let lines = if is_rule { &lines[1..] } else { lines };
    let Some(first) = lines.first() else { return false };
    let next = lines.iter().skip(1).take(4);
    begins(first, &["From:", "Von:", "De :", "De:"])
        && next.clone().any(|line| begins(line, &["Sent:", "Date:", "Gesendet:", "Datum:", "Envoyé", "Enviado"]))
        && next
            .clone()
            .any(|line| begins(line, &["To:", "Subject:", "An:", "Betreff:", "À", "Objet", "Para:", "Asunto:"]))
}

/// Whether a line says who wrote what follows: `On ... wrote:`.
fn is_attribution(line: &str) -> bool {
    const ENDS: [&str; 5] = ["wrote:", "schrieb:", "a écrit :", "a écrit\u{a0}:", "escribió:"];
    let line = line.trim();
    line.len() <= 300
        && ENDS.iter().any(|end| line.ends_with(end))
        && ["On ", "Am ", "Le ", "El "].iter().any(|start| line.starts_with(start))
        && line.bytes().any(|byte| byte.is_ascii_digit())
}

/// The attribution that begins here, on one line or wrapped onto a second, and how many lines it has.
fn attribution(lines: &[&str]) -> Option<usize> {
    let first = lines.first()?;
    if is_attribution(first) {
        return Some(1);
    }
    let second = lines.get(1).filter(|second| !second.is_empty())?;
    is_attribution(&format!("{first} {second}")).then_some(2)
}

/// Whether a line is the attribution of quoted lines that follow, or the second line of it.
fn is_lead_in(lines: &[&str], after_quoted: bool) -> bool {
    let is_second =
        after_quoted && lines[0].ends_with(':') && next_line(&lines[1..]).is_some_and(|line| line.starts_with('>'));
    is_second
        || attribution(lines).and_then(|count| next_line(&lines[count..])).is_some_and(|line| line.starts_with('>'))
}

/// The first line that is not blank, of the next few.
fn next_line<'t>(lines: &[&'t str]) -> Option<&'t str> {
    lines.iter().take(3).find(|line| !line.trim().is_empty()).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_quoted_is_told_from_what_is_new() {
        let new = |text: &str| Segment::New(text.to_owned());
        let quoted = |texts: &[&str]| Segment::Quoted(texts.iter().map(|&text| text.to_owned()).collect());
        for (text, expected) in [
            ("a\nb\n\nc", vec![new("a\nb"), new("c")]),
            ("a\n> b\n>\n>> c\nd", vec![new("a"), quoted(&["b", "c"]), new("d")]),
            ("a\n\n-- \nAda\n\nFerry", vec![new("a"), new("--\nAda\nFerry")]),
            ("a\n\nOn 1 May Bob wrote:\n> b", vec![new("a"), quoted(&["On 1 May Bob wrote:\nb"])]),
            (
                "a\n\nOn 1 May Bob\n<b@c.d> wrote:\n\n> b",
                vec![new("a"), quoted(&["On 1 May Bob\n<b@c.d> wrote:", "b"])],
            ),
            (
                "a\n-----Original Message-----\nFrom: b\n\nc",
                vec![new("a"), quoted(&["-----Original Message-----\nFrom: b", "c"])],
            ),
            ("a\n\nFrom: b\nSent: c\nTo: d\n\ne", vec![new("a"), quoted(&["From: b\nSent: c\nTo: d", "e"])]),
            ("From: here it goes on.\nTo: there.", vec![new("From: here it goes on.\nTo: there.")]),
        ] {
            assert_eq!(segments(text), expected, "{text}");
        }
    }

    #[test]
    fn hostile_messages_are_refused_or_read() {
        let nested = "Content-Type: message/rfc822\n\n".repeat(20_000);
        let parts = format!(
            "Content-Type: multipart/mixed; boundary=a\n\n{}",
            "--a\nContent-Type: multipart/mixed; boundary=b\n\n".repeat(20_000)
        );
        let attributions = "On 1 wrote:\n".repeat(100_000) + "> a";
        for message in
            [nested, parts, format!("Subject: a\n\n{attributions}"), "\n".repeat(1 << 20), "a".repeat(1 << 20)]
        {
            if let Ok((text, outline)) = convert(message.as_bytes(), &Limits::NONE) {
                assert_eq!(outline.fits(&text), Ok(()));
            }
        }
    }

    proptest! {
        #[test]
        fn any_message_is_read(cut in 0usize..2000, insert in "\\PC{0,20}|\n--m\n|\n--m--\n|\n\n> a\n|Content-Type: message/rfc822\n\n") {
            let message = include_str!("../../../tests/data/formats/reply.eml");
            let at = message.floor_char_boundary(cut);
            let message = format!("{}{insert}{}", &message[..at], &message[at..]);
            if let Ok((text, outline)) = convert(message.as_bytes(), &Limits::NONE) {
                prop_assert_eq!(outline.fits(&text), Ok(()));
            }
        }
    }
}
