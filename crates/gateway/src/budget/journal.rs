//! The book on disk: a file of checksummed records that is only appended to, and written anew when it has grown.
//!
//! `"IBIDBUD1"`, then records: `length u32 | crc32 of the body | body (postcard)`, little-endian. The first is the book as it
//! was when the file was written; the others are reservations and what became of them. A reservation is on the disk
//! (`fdatasync`, one for all that wait) before its call may start; its settlement follows without being waited for: if it
//! is lost, the whole reservation counts as spent. So a crash can only make the book count too much.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use futures::channel::oneshot;
use ibid_runtime::{Disk, DiskFile, start_thread, write_atomic};
use serde::{Deserialize, Serialize};

use super::book::{Book, Reservation};
use crate::Microdollars;

const MAGIC: &[u8; 8] = b"IBIDBUD1";
const FILE: &str = "budget.journal";
const HEAD: usize = 8;
/// A book of a million accounts is shorter.
const RECORD_BYTES_MAX: usize = 256 << 20;
/// The file is written anew when it is longer than this and than twice the book.
const COMPACT_BYTES: u64 = 1 << 20;
/// Records that are written and synced together.
const GROUP_MAX: usize = 4096;

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Record {
    Book(Book),
    Reserved(Reservation),
    Settled { id: u64, actual: Microdollars },
}

/// What was found in a journal.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) book: Book,
    /// Bytes that are no record. At the end they are a write that nobody was told of; before it the disk has lost something.
    pub(super) damaged_bytes: usize,
    /// Whether records follow what is damaged.
    pub(super) damaged_middle: bool,
}

/// Reads `bytes`. Never fails: what is no record is stepped over.
pub(super) fn replay(bytes: &[u8]) -> Found {
    let mut found = Found::default();
    let none = super::book::Ceilings::default();
    let mut at = if bytes.starts_with(MAGIC) { MAGIC.len() } else { 0 };
    let mut gap = 0;
    while at < bytes.len() {
        let Some((record, length)) = decode(&bytes[at..]) else {
            gap += 1;
            at += 1;
            continue;
        };
        if gap > 0 {
            found.damaged_middle = true;
            found.damaged_bytes += std::mem::take(&mut gap);
        }
        at += length;
        match record {
            Record::Book(book) => found.book = book,
            Record::Reserved(reservation) => found.book.put(reservation),
            Record::Settled { id, actual } => found.book.settle(&none, id, actual, &mut Vec::new()),
        }
    }
    found.damaged_bytes += gap;
    found
}

fn encode(record: &Record) -> Vec<u8> {
    let body = postcard::to_stdvec(record).expect("a record has no map with unknown length");
    let length = u32::try_from(body.len()).expect("far shorter than 4 GiB");
    [&length.to_le_bytes()[..], &crc32fast::hash(&body).to_le_bytes(), &body].concat()
}

fn decode(bytes: &[u8]) -> Option<(Record, usize)> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let sum = u32::from_le_bytes(bytes.get(4..HEAD)?.try_into().ok()?);
    if length == 0 || length > RECORD_BYTES_MAX {
        return None;
    }
    let body = bytes.get(HEAD..HEAD + length)?;
    (crc32fast::hash(body) == sum).then(|| postcard::from_bytes(body).ok().map(|record| (record, HEAD + length)))?
}

/// A record that waits to be written, and who waits for it to be durable.
struct Waiting {
    bytes: Vec<u8>,
    told: Option<oneshot::Sender<bool>>,
}

/// The journal that is appended to. Dropping it writes what waits.
#[derive(Debug)]
pub(super) struct Journal {
    waiting: Option<Sender<Waiting>>,
    writer: Option<JoinHandle<()>>,
}

impl Journal {
    /// What the journal in `folder` holds; an empty book if there is none.
    pub(super) fn read(disk: &dyn Disk, folder: &Path) -> io::Result<Found> {
        match disk.read(&folder.join(FILE)) {
            Ok(bytes) => Ok(replay(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes `book` as a new journal in `folder`, and starts the thread that appends to it.
    pub(super) fn start(disk: Arc<dyn Disk>, folder: &Path, book: Arc<Mutex<Book>>) -> io::Result<Journal> {
        disk.create_dir_all(folder)?;
        let mut file = File { disk, path: folder.join(FILE), book, open: None };
        file.renew()?;
        let (waiting, queue) = channel();
        let writer = start_thread("budget-journal", move || file.append_all(&queue))?;
        Ok(Journal { waiting: Some(waiting), writer: Some(writer) })
    }

    /// Appends a reservation. Answers `true` once it is durable, `false` if it may not be.
    pub(super) fn reserved(&self, reservation: Reservation) -> oneshot::Receiver<bool> {
        let (told, heard) = oneshot::channel();
        self.send(Waiting { bytes: encode(&Record::Reserved(reservation)), told: Some(told) });
        heard
    }

    /// Appends a settlement; nobody waits for it.
    pub(super) fn settled(&self, id: u64, actual: Microdollars) {
        self.send(Waiting { bytes: encode(&Record::Settled { id, actual }), told: None });
    }

    fn send(&self, waiting: Waiting) {
        if let Some(queue) = &self.waiting {
            // If the writer is gone, so is who would tell: whoever waits learns that.
            let _ = queue.send(waiting);
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.waiting = None;
        if let Some(writer) = self.writer.take() {
            // It has no panics of its own to pass on.
            let _ = writer.join();
        }
    }
}

/// The writer's side.
struct File {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    book: Arc<Mutex<Book>>,
    /// `None` after an error: nobody knows what is in the file, so it is written anew before it is used again.
    open: Option<Open>,
}

struct Open {
    file: Box<dyn DiskFile>,
    end: u64,
    book_bytes: u64,
}

impl File {
    fn append_all(mut self, queue: &Receiver<Waiting>) {
        while let Ok(first) = queue.recv() {
            let group: Vec<Waiting> = std::iter::once(first).chain(queue.try_iter().take(GROUP_MAX - 1)).collect();
            let durable = self.append(&group).inspect_err(|error| {
                tracing::error!(%error, "the journal of budgets cannot be written; calls that cost money are refused");
            });
            let durable = durable.is_ok();
            if !durable {
                self.open = None;
            }
            for told in group.into_iter().filter_map(|one| one.told) {
                // Whoever no longer waits need not be told.
                let _ = told.send(durable);
            }
        }
    }

    fn append(&mut self, group: &[Waiting]) -> io::Result<()> {
        // A record that the new file's book knows already changes nothing when it is read again.
        let grown = |open: &Open| open.end > COMPACT_BYTES.max(2 * open.book_bytes);
        if self.open.as_ref().is_none_or(grown) {
            self.renew()?;
        }
        let open = self.open.as_mut().expect("it was just renewed");
        let bytes = group.iter().map(|one| one.bytes.as_slice()).collect::<Vec<_>>().concat();
        open.file.write_at(open.end, &bytes)?;
        open.file.sync()?;
        open.end += bytes.len() as u64;
        Ok(())
    }

    fn renew(&mut self) -> io::Result<()> {
        let book = {
            let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            book.compact();
            book.clone()
        };
        let bytes = [&MAGIC[..], &encode(&Record::Book(book))].concat();
        write_atomic(&*self.disk, &self.path, &bytes)?;
        let file = self.disk.open(&self.path)?;
        let end = bytes.len() as u64;
        self.open = Some(Open { file, end, book_bytes: end });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ibid_core::TenantKey;
    use proptest::prelude::*;

    use super::super::book::{Account, Window};
    use super::*;

    fn reservation(id: u64) -> Reservation {
        let amount = Microdollars(10);
        Reservation { id, at_ms: 5, tenant: TenantKey(1), key: None, feature: String::new(), amount }
    }

    fn records() -> Vec<Vec<u8>> {
        let settled = Record::Settled { id: 0, actual: Microdollars(3) };
        let book = encode(&Record::Book(Book::default()));
        let reserved = (0..3).map(|id| encode(&Record::Reserved(reservation(id))));
        std::iter::once(book).chain(reserved).chain([encode(&settled)]).collect()
    }

    fn total(found: &Found) -> (u64, u64) {
        let (spent, reserved) = found.book.spent(&Account::Everybody, Window::Day, 5);
        (spent.0, reserved.0)
    }

    #[test]
    fn a_journal_is_read_as_it_was_written_and_twice_is_once() {
        let whole = [&MAGIC[..], &records().concat()].concat();
        assert_eq!(total(&replay(&whole)), (3, 20));
        let twice = [&whole[..], &records()[1..].concat()].concat();
        assert_eq!(total(&replay(&twice)), (3, 20));
        // The whole record of the second reservation is lost: what comes after it is read all the same.
        let mut damaged = whole.clone();
        let second = MAGIC.len() + records()[0].len() + records()[1].len();
        damaged[second + HEAD] ^= 1;
        let found = replay(&damaged);
        assert_eq!((total(&found), found.damaged_middle), ((3, 10), true));
    }

    #[test]
    fn a_journal_that_has_grown_is_written_anew_and_says_the_same() {
        let (disk, folder) = (ibid_runtime::MemoryDisk::new(), PathBuf::from("budget"));
        let ceilings = super::super::book::Ceilings::default();
        let book = Arc::<Mutex<Book>>::default();
        let journal = Journal::start(Arc::new(disk.clone()), &folder, Arc::clone(&book)).unwrap();
        let mut written = 0;
        for _ in 0..60_000 {
            let mut book = book.lock().unwrap();
            let one = book.reserve(&ceilings, reservation(0), &mut Vec::new()).unwrap();
            book.settle(&ceilings, one.id, Microdollars(3), &mut Vec::new());
            let settled = Record::Settled { id: one.id, actual: Microdollars(3) };
            written += encode(&Record::Reserved(one.clone())).len() + encode(&settled).len();
            // Nobody waits.
            drop(journal.reserved(one.clone()));
            journal.settled(one.id, Microdollars(3));
        }
        drop(journal);
        assert!(written as u64 > COMPACT_BYTES + (1 << 19), "{written} bytes");
        let bytes = disk.read(&folder.join(FILE)).unwrap();
        // It is looked at between two groups, so it may be longer by one.
        assert!((bytes.len() as u64) < COMPACT_BYTES + (1 << 19), "{} bytes", bytes.len());
        assert_eq!(total(&replay(&bytes)), (180_000, 0));
    }

    proptest! {
        #[test]
        fn a_torn_end_loses_no_whole_record_and_no_bytes_panic(cut in 0_usize..400, noise in prop::collection::vec(any::<u8>(), 0..64)) {
            let records = records();
            let whole = [&MAGIC[..], &records.concat()].concat();
            let cut = cut.min(whole.len());
            let found = replay(&whole[..cut]);
            let mut end = MAGIC.len();
            let complete = records.iter().filter(|record| { end += record.len(); end <= cut }).count();
            let expected = [(0, 0), (0, 0), (0, 10), (0, 20), (0, 30), (3, 20)][complete];
            prop_assert_eq!(total(&found), expected);
            prop_assert!(!found.damaged_middle);
            replay(&noise);
        }
    }
}
