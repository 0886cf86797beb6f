//! A segment as a file. All numbers are little-endian.
//!
//! ```text
//!  0 magic "IBIDVSEG"   8 format version u32   12 dimension u32   16 rows u32   20 graph layers u32 (0: no graph)
//! 24 entry node u32    28 CRC-32 of the body   32 bytes of the body u64         40 zeros
//! 60 CRC-32 of bytes 0..60
//! 64 body:  labels u32 x rows, zeros up to a multiple of 64
//!           vectors f32 x rows x dimension, zeros up to a multiple of 64
//!           with a graph: links of the base layer, of each layer above upwards, of the copies
//! ```
//!
//! A list of numbers is a count u32 and as many u32. Links are the list of the nodes that have one (not for the base layer,
//! where all have), the list of their lists' lengths, and the lists' numbers.
//!
//! Labels and vectors are aligned so that a later version may map the file instead of reading it.

use ibid_core::Label;
use ndarray::Array2;

use crate::graph::{FrozenGraph, GraphParts, Links, SparseLinks};
use crate::segment::Segment;

const MAGIC: &[u8; 8] = b"IBIDVSEG";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const ALIGNMENT: usize = 64;

/// What the header checksum covers.
const HEADER_CHECKED_BYTES: usize = 60;

/// The file's bytes. Their checksum is [`checksum`].
pub(crate) fn encode(segment: &Segment) -> Vec<u8> {
    let vectors = segment.vectors();
    let mut file = Vec::with_capacity(HEADER_BYTES + 4 * (segment.len() + vectors.len()) + 2 * ALIGNMENT);
    file.resize(HEADER_BYTES, 0);
    put_u32s(&mut file, segment.labels());
    pad(&mut file);
    file.extend(vectors.iter().flat_map(|x| x.to_le_bytes()));
    pad(&mut file);
    let graph = segment.graph().map(FrozenGraph::parts);
    if let Some(graph) = graph {
        put_links(&mut file, &graph.base);
        for sparse in graph.upper.iter().chain([&graph.copies]) {
            put_counted(&mut file, &sparse.nodes);
            put_links(&mut file, &sparse.links);
        }
    }
    let body = &file[HEADER_BYTES..];
    let layers = graph.map_or(0, |graph| 1 + graph.upper.len());
    let entry = graph.map_or(0, |graph| graph.entry);
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(MAGIC);
    let rows = segment.len() as u32;
    put_u32s(&mut header, &[VERSION, vectors.ncols() as u32, rows, layers as u32, entry, crc32fast::hash(body)]);
    header.extend_from_slice(&(body.len() as u64).to_le_bytes());
    header.resize(HEADER_CHECKED_BYTES, 0);
    let header_checksum = crc32fast::hash(&header);
    put_u32s(&mut header, &[header_checksum]);
    file[..HEADER_BYTES].copy_from_slice(&header);
    file
}

/// The checksum of a whole file that [`decode`] accepts: that of its header, which holds the body's.
pub(crate) fn checksum(file: &[u8]) -> Option<u32> {
    Some(crc32fast::hash(file.get(..HEADER_BYTES)?))
}

/// The segment in a file.
///
/// # Errors
/// What is wrong with the file, in words that follow its name.
pub(crate) fn decode(file: &[u8]) -> Result<Segment, &'static str> {
    const SHORT: &str = "is too short";
    let (header, body) = file.split_at_checked(HEADER_BYTES).ok_or(SHORT)?;
    let (checked, header_checksum) = header.split_at(HEADER_CHECKED_BYTES);
    if header_checksum != crc32fast::hash(checked).to_le_bytes() {
        return Err("fails the checksum of its header");
    }
    let mut header = Reader { rest: checked };
    if header.take(MAGIC.len()) != Some(MAGIC) {
        return Err("is no vector segment");
    }
    let mut number = || header.u32().ok_or(SHORT);
    if number()? != VERSION {
        return Err("has a format of another version");
    }
    let [dimension, rows, layers, entry, body_checksum] = [number()?, number()?, number()?, number()?, number()?];
    let body_bytes = header.take(8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    if body_bytes != Some(body.len() as u64) {
        return Err("has another length than its header says");
    }
    if crc32fast::hash(body) != body_checksum {
        return Err("fails the checksum of its body");
    }
    decode_body(body, dimension, rows, layers, entry)
}

fn decode_body(body: &[u8], dimension: u32, rows: u32, layers: u32, entry: u32) -> Result<Segment, &'static str> {
    const SHORT: &str = "ends before its last section";
    let mut reader = Reader { rest: body };
    let (dimension, rows) = (dimension as usize, rows as usize);
    let labels: Vec<Label> = reader.u32s(rows).ok_or(SHORT)?;
    if !labels.is_sorted_by(|a, b| a < b) {
        return Err("has labels out of order");
    }
    reader.skip_padding(body.len()).ok_or(SHORT)?;
    let components = rows.checked_mul(dimension).ok_or(SHORT)?;
    let vectors: Vec<f32> = reader.u32s(components).ok_or(SHORT)?.into_iter().map(f32::from_bits).collect();
    if !vectors.iter().all(|x| x.is_finite()) {
        return Err("has a vector with a component that is not a number");
    }
    let vectors = Array2::from_shape_vec((rows, dimension), vectors).map_err(|_| SHORT)?;
    reader.skip_padding(body.len()).ok_or(SHORT)?;
    let segment = Segment::new(labels, vectors);
    if layers == 0 {
        return Ok(segment);
    }
    let base = reader.links().ok_or(SHORT)?;
    if base.len() != rows {
        return Err("has a graph of another size than its vectors");
    }
    let mut upper = Vec::new();
    for _ in 1..layers {
        upper.push(reader.sparse_links().ok_or(SHORT)?);
    }
    let copies = reader.sparse_links().ok_or(SHORT)?;
    Ok(segment.with_graph(FrozenGraph::new(GraphParts { entry, base, upper, copies })?))
}

fn put_u32s(file: &mut Vec<u8>, numbers: &[u32]) {
    file.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn put_counted(file: &mut Vec<u8>, numbers: &[u32]) {
    put_u32s(file, &[numbers.len() as u32]);
    put_u32s(file, numbers);
}

fn put_links(file: &mut Vec<u8>, links: &Links) {
    let lengths: Vec<u32> = links.lists().map(|list| list.len() as u32).collect();
    put_counted(file, &lengths);
    for list in links.lists() {
        put_u32s(file, list);
    }
}

fn pad(file: &mut Vec<u8>) {
    file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
}

/// Reads from the front; `None` where the bytes end.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u32s(&mut self, count: usize) -> Option<Vec<u32>> {
        let bytes = self.take(count.checked_mul(4)?)?;
        Some(bytes.as_chunks().0.iter().map(|number| u32::from_le_bytes(*number)).collect())
    }

    fn counted(&mut self) -> Option<Vec<u32>> {
        let count = self.u32()?;
        self.u32s(count as usize)
    }

    fn links(&mut self) -> Option<Links> {
        let lengths = self.counted()?;
        let lists = lengths.iter().map(|length| self.u32s(*length as usize)).collect::<Option<Vec<_>>>()?;
        Some(Links::from_lists(lists))
    }

    fn sparse_links(&mut self) -> Option<SparseLinks> {
        Some(SparseLinks { nodes: self.counted()?, links: self.links()? })
    }

    /// Goes on at the next aligned byte of a body of `body_bytes`.
    fn skip_padding(&mut self, body_bytes: usize) -> Option<()> {
        let read = body_bytes - self.rest.len();
        self.take(read.next_multiple_of(ALIGNMENT) - read).map(|_| ())
    }
}
