//! Reading a chain: its end, what is looked for, all of it as lines.

use std::io::Write;

use ibid_core::TenantKey;
use serde::Serialize;

use super::erase::Statement;
use super::frame::{Hash, Kind, Piece, pieces};
use super::{Audit, AuditError, Entry, Search, disk, lock};

/// An entry that can be read, with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its number, from 1.
    pub sequence: u64,
    /// What was recorded.
    pub entry: Entry,
}

/// What an exported line says of its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stated {
    /// A call.
    Entry,
    /// Entries whose content was erased.
    Erasure,
    /// Where the chain begins since older entries were dropped.
    Retention,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    sequence: u64,
    kind: Stated,
    commitment: String,
    link: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    /// `null` where the content is erased or cannot be read.
    entry: Option<&'a Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<&'a Statement>,
}

impl Audit {
    /// The latest entries that can be read, `entries_max` at most, the latest first.
    ///
    /// # Errors
    /// [`AuditError`]: a file cannot be read.
    pub fn tail(&self, tenant: TenantKey, entries_max: usize) -> Result<Vec<Recorded>, AuditError> {
        self.search(tenant, &Search::latest(entries_max))
    }

    /// The entries that `search` describes, the latest first. Reads files from the end until it has enough.
    ///
    /// # Errors
    /// [`AuditError`]: a file cannot be read.
    pub fn search(&self, tenant: TenantKey, search: &Search) -> Result<Vec<Recorded>, AuditError> {
        let chain = self.chain(tenant)?;
        let mut found = vec![];
        let mut next = u64::MAX;
        loop {
            // Held for one file at a time: those who append wait no longer.
            let chain = lock(&chain);
            let Some(first) = chain.segments.iter().rev().find(|first| **first < next).copied() else { break };
            next = first;
            let segment = chain.read(first)?;
            let mut of_file = vec![];
            for piece in pieces(&segment.bytes, segment.header.mark) {
                let Piece::Frame { header, body, .. } = piece else { continue };
                if header.kind == Kind::Entry
                    && let Some((_, content)) = chain.content(&header, body)
                    && let Some(entry) = Entry::decode(&content)
                    && search.matches(&entry)
                {
                    of_file.push(Recorded { sequence: header.sequence, entry });
                }
            }
            found.extend(of_file.into_iter().rev());
            if found.len() >= search.entries_max {
                break;
            }
        }
        found.truncate(search.entries_max);
        Ok(found)
    }

    /// The whole chain as JSON, a line a frame, with what proves it: salts, commitments, links. Returns how many lines.
    ///
    /// # Errors
    /// [`AuditError`]: a file cannot be read, or `out` cannot be written.
    pub fn export(&self, tenant: TenantKey, out: &mut dyn Write) -> Result<u64, AuditError> {
        let chain = self.chain(tenant)?;
        let chain = lock(&chain);
        let mut lines = 0;
        for first in &chain.segments {
            let segment = chain.read(*first)?;
            for piece in pieces(&segment.bytes, segment.header.mark) {
                let Piece::Frame { header, body, .. } = piece else { continue };
                let (salt, content) = chain.content(&header, body).unzip();
                let content = content.unwrap_or_default();
                let (kind, entry, statement) = match header.kind {
                    Kind::Entry => (Stated::Entry, Entry::decode(&content), None),
                    Kind::Erasure => (Stated::Erasure, None, Statement::decode(&content)),
                    Kind::Retention => (Stated::Retention, None, Statement::decode(&content)),
                };
                let line = Line {
                    sequence: header.sequence,
                    kind,
                    commitment: hex(&header.commitment),
                    link: hex(&header.link),
                    salt: salt.as_ref().map(hex),
                    entry: entry.as_ref(),
                    statement: statement.as_ref(),
                };
                let text = serde_json::to_string(&line).expect("numbers and texts are JSON");
                writeln!(out, "{text}").map_err(disk("write the export"))?;
                lines += 1;
            }
        }
        Ok(lines)
    }
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
