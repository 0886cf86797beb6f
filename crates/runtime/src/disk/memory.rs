//! The disk's twin in memory: it forgets what was not synced, and fails when told to.
//!
//! A file is an inode with two contents, what the program sees and what the platter holds, and the writes between the two:
//! those since its last sync. Folders likewise have names that are seen, names on the platter, and changes in between.
//! [`MemoryDisk::power_cut`] drops everything but the platter; [`MemoryDisk::power_cut_with`] lets chance decide, change by
//! change, what had reached it. Open handles from before a cut are dead.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile};
use crate::Random;

/// A failure to inject. Each is spent once it has struck; its number counts down, 0 is the next chance to strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The n-th sync of a file from now on fails, and what it should have saved never reaches the platter, not by a later
    /// sync either, though readers go on seeing it: the system has marked its pages clean (fsyncgate).
    SyncFails(u32),
    /// The n-th write from now on stops half way with an error.
    WriteTorn(u32),
    /// The n-th write from now on finds the disk full and writes nothing.
    DiskFull(u32),
    /// The n-th read of an open file from now on comes back with one bit changed: bit `bit`, modulo its length.
    ReadFlipped {
        /// Reads until it strikes.
        reads: u32,
        /// Which bit.
        bit: u32,
    },
    /// The power fails at the n-th change from now on (a write, a sync, a name). That change is on its way, and from then on
    /// every call fails, until a power cut has decided what is left.
    PowerFails(u32),
}

/// Files in memory. Clones are handles to the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    seen: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    /// Changes of names since the last sync of their folder, in order.
    unsynced: Vec<Naming>,
    inodes: Vec<Inode>,
    faults: Vec<Fault>,
    /// Bytes that all files together may have; `None`: any number.
    capacity: Option<u64>,
    refusals: u64,
    off: bool,
    cuts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

/// A change of a folder's names.
#[derive(Debug)]
enum Naming {
    Made(PathBuf, Node),
    /// One step, also on the platter.
    Moved {
        from: PathBuf,
        to: PathBuf,
        node: Node,
    },
    Removed(PathBuf),
}

#[derive(Debug, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Changes since the last sync, in order.
    unsynced: Vec<Change>,
}

/// A change of a file's content.
#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Len(usize),
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    inode: usize,
    cuts: u32,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// Plans a failure.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// How many failures are planned and have not struck.
    pub fn planned(&self) -> usize {
        self.lock().faults.len()
    }

    /// Takes every planned failure back.
    pub fn forget_faults(&self) {
        self.lock().faults.clear();
    }

    /// The power fails: names and bytes that were not synced are gone, and every open handle is dead.
    pub fn power_cut(&self) {
        let mut state = self.lock();
        state.unsynced.clear();
        state.inodes.iter_mut().for_each(|inode| inode.unsynced.clear());
        state.start_again();
    }

    /// The power fails, and of what was not synced chance decides: in an order of its own each write reached the platter
    /// whole, in part, or not at all, and each name did or did not. Every open handle is dead.
    pub fn power_cut_with(&self, random: &dyn Random) {
        let mut state = self.lock();
        let State { durable, unsynced, inodes, .. } = &mut *state;
        unsynced.drain(..).filter(|_| below(random, 2) == 0).for_each(|naming| naming.apply(durable));
        let known: Vec<PathBuf> = durable.keys().cloned().collect();
        for path in known {
            // A name whose folder did not survive is in no folder.
            let reachable = path.parent().is_none_or(|dir| dir.as_os_str().is_empty() || durable.contains_key(dir));
            if !reachable {
                durable.remove(&path);
            }
        }
        for inode in inodes {
            while !inode.unsynced.is_empty() {
                let next = below(random, inode.unsynced.len());
                let survived = inode.unsynced.swap_remove(next).survived(random);
                survived.into_iter().for_each(|change| change.apply(&mut inode.durable));
            }
        }
        state.start_again();
    }

    /// The process is killed and the machine goes on: every open handle is dead, and what was written is seen, synced or not.
    pub fn kill(&self) {
        let mut state = self.lock();
        state.off = false;
        state.cuts += 1;
    }

    /// From now on every call fails, until a power cut or a kill: what a process does that is about to die no longer counts.
    pub fn switch_off(&self) {
        self.lock().off = true;
    }

    /// Whether every call fails: [`Fault::PowerFails`] has struck, and no power cut has followed.
    pub fn is_off(&self) -> bool {
        self.lock().off
    }

    /// How many bytes all files have.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// From now on all files together have at most `bytes` bytes, unless they have more already; `None`: any number. What
    /// does not fit is written as far as it does, and refused.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// How often something was refused because the disk was full.
    pub fn refusals(&self) -> u64 {
        self.lock().refusals
    }

    /// Changes one byte of a file, as a failing platter would.
    ///
    /// # Errors
    /// No such file, or `offset` outside it.
    pub fn flip(&self, path: &Path, offset: usize) -> io::Result<()> {
        let mut state = self.lock();
        let inode = state.inode(path)?;
        for content in [&mut inode.seen, &mut inode.durable] {
            if let Some(byte) = content.get_mut(offset) {
                *byte ^= 0x20;
            }
        }
        if offset < inode.seen.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, while there is power.
    fn on(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.off { Err(no_power()) } else { Ok(state) }
    }

    fn file(&self, state: &State, inode: usize) -> Box<dyn DiskFile> {
        Box::new(MemoryFile { disk: self.clone(), inode, cuts: state.cuts })
    }
}

fn no_power() -> io::Error {
    io::Error::other("injected: the power failed")
}

/// A number below `bound`.
fn below(random: &dyn Random, bound: usize) -> usize {
    let mut bytes = [0; 8];
    random.fill(b"power cut", &mut bytes);
    (u64::from_le_bytes(bytes) % bound as u64) as usize
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Len(len) => content.resize(*len, 0),
            Change::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
        }
    }

    /// What of it reached the platter.
    fn survived(self, random: &dyn Random) -> Option<Change> {
        match (below(random, 4), self) {
            (0, _) => None,
            (1, Change::Write { offset, mut bytes }) => {
                bytes.truncate(below(random, bytes.len() + 1));
                Some(Change::Write { offset, bytes })
            }
            (2, Change::Write { offset, bytes }) => {
                let torn = below(random, bytes.len() + 1);
                Some(Change::Write { offset: offset + torn, bytes: bytes[torn..].to_vec() })
            }
            (_, whole) => Some(whole),
        }
    }
}

impl Naming {
    fn apply(self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Naming::Made(path, node) => {
                names.insert(path, node);
            }
            Naming::Moved { from, to, node } => {
                names.remove(&from);
                names.insert(to, node);
            }
            Naming::Removed(gone) => names.retain(|path, _| !path.starts_with(&gone)),
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Naming::Made(path, _) | Naming::Removed(path) => path.parent() == Some(dir),
            Naming::Moved { from, to, .. } => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }
}

impl State {
    fn inode(&mut self, path: &Path) -> io::Result<&mut Inode> {
        match self.seen.get(path) {
            Some(Node::File(inode)) => Ok(&mut self.inodes[*inode]),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn parent_exists(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            None => Ok(()),
            Some(parent) if parent.as_os_str().is_empty() || self.seen.get(parent) == Some(&Node::Dir) => Ok(()),
            Some(_) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// What is seen from here on is what the platter holds.
    fn start_again(&mut self) {
        self.seen = self.durable.clone();
        for inode in &mut self.inodes {
            inode.seen.clone_from(&inode.durable);
        }
        self.faults.clear();
        self.off = false;
        self.cuts += 1;
    }

    /// A change was made; the power may fail at it.
    fn changed(&mut self) -> io::Result<()> {
        if self.strikes(|fault| if let Fault::PowerFails(left) = fault { Some(left) } else { None }).is_some() {
            self.off = true;
            return Err(no_power());
        }
        Ok(())
    }

    fn sync_dir(&mut self, dir: &Path) {
        let (now, later) = std::mem::take(&mut self.unsynced).into_iter().partition(|naming| naming.is_in(dir));
        self.unsynced = later;
        let now: Vec<Naming> = now;
        now.into_iter().for_each(|naming| naming.apply(&mut self.durable));
    }

    fn used(&self) -> u64 {
        let bytes = |node: &Node| if let Node::File(inode) = node { self.inodes[*inode].seen.len() as u64 } else { 0 };
        self.seen.values().map(bytes).sum()
    }

    /// How many of the bytes from `offset` on that would make a file of `len` bytes longer there is room for.
    fn room(&mut self, len: usize, offset: usize, bytes: usize) -> usize {
        let Some(capacity) = self.capacity else { return bytes };
        let left = usize::try_from(capacity.saturating_sub(self.used())).unwrap_or(usize::MAX);
        let end = len.max(offset).saturating_add(left);
        bytes.min(end.saturating_sub(offset))
    }

    fn full(&mut self) -> io::Error {
        self.refusals += 1;
        io::ErrorKind::StorageFull.into()
    }

    /// Counts down the planned failures of one kind; the one that strikes is removed.
    fn strikes(&mut self, countdown: impl Fn(&mut Fault) -> Option<&mut u32>) -> Option<Fault> {
        let mut struck = None;
        for (index, fault) in self.faults.iter_mut().enumerate() {
            match countdown(fault) {
                Some(0) => struck = Some(index),
                Some(left) => *left -= 1,
                None => {}
            }
        }
        struck.map(|index| self.faults.remove(index))
    }
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.on()?;
        let mut above: Vec<&Path> = dir.ancestors().filter(|above| !above.as_os_str().is_empty()).collect();
        above.reverse();
        for path in above {
            match state.seen.get(path) {
                Some(Node::Dir) => continue,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {}
            }
            state.seen.insert(path.to_owned(), Node::Dir);
            state.unsynced.push(Naming::Made(path.to_owned(), Node::Dir));
            state.changed()?;
            state.sync_dir(path.parent().unwrap_or(Path::new("")));
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.on()?;
        state.parent_exists(path)?;
        if state.seen.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let used = state.used();
        if state.capacity.is_some_and(|capacity| used >= capacity) {
            return Err(state.full());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.seen.insert(path.to_owned(), Node::File(inode));
        state.unsynced.push(Naming::Made(path.to_owned(), Node::File(inode)));
        state.changed()?;
        Ok(self.file(&state, inode))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.on()?;
        state.inode(path)?;
        match state.seen.get(path) {
            Some(Node::File(inode)) => Ok(self.file(&state, *inode)),
            Some(Node::Dir) | None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.on()?.inode(path)?.seen.clone())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.on()?;
        if state.seen.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.seen.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name().map(PathBuf::from)).collect())
    }

    fn exists(&self, path: &Path) -> bool {
        self.lock().seen.contains_key(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.on()?;
        state.parent_exists(to)?;
        let node = state.seen.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.seen.insert(to.to_owned(), node);
        state.unsynced.push(Naming::Moved { from: from.to_owned(), to: to.to_owned(), node });
        state.changed()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.on()?;
        state.inode(path)?;
        state.seen.remove(path);
        state.unsynced.push(Naming::Removed(path.to_owned()));
        state.changed()
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.on()?;
        // From the inside out, name by name: a power cut may leave some of them.
        let gone: Vec<PathBuf> = state.seen.keys().rev().filter(|path| path.starts_with(dir)).cloned().collect();
        for path in gone {
            state.seen.remove(&path);
            state.unsynced.push(Naming::Removed(path));
            state.changed()?;
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.on()?;
        state.changed()?;
        state.sync_dir(dir);
        Ok(())
    }
}

impl MemoryFile {
    /// Runs `work` on the live inode; a handle from before a power cut is dead.
    fn with<T>(&self, work: impl FnOnce(&mut State, usize) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.on()?;
        if state.cuts != self.cuts {
            return Err(io::Error::other("the handle is from before the power cut"));
        }
        work(&mut state, self.inode)
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|state, inode| {
            if state.strikes(|fault| if let Fault::DiskFull(left) = fault { Some(left) } else { None }).is_some() {
                return Err(state.full());
            }
            let torn = state.strikes(|fault| if let Fault::WriteTorn(left) = fault { Some(left) } else { None });
            let wanted = if torn.is_some() { &bytes[..bytes.len() / 2] } else { bytes };
            let offset = usize::try_from(offset).map_err(io::Error::other)?;
            let len = state.inodes[inode].seen.len();
            let written = &wanted[..state.room(len, offset, wanted.len())];
            let change = Change::Write { offset, bytes: written.to_vec() };
            let file = &mut state.inodes[inode];
            change.apply(&mut file.seen);
            file.unsynced.push(change);
            state.changed()?;
            if written.len() < wanted.len() {
                return Err(state.full());
            }
            if torn.is_some() { Err(io::Error::other("injected: the write stopped half way")) } else { Ok(()) }
        })
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|state, inode| {
            let start = usize::try_from(offset).map_err(io::Error::other)?;
            let content = &state.inodes[inode].seen;
            let piece = start.checked_add(out.len()).and_then(|end| content.get(start..end));
            out.copy_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
            let flipped =
                state.strikes(|fault| if let Fault::ReadFlipped { reads, .. } = fault { Some(reads) } else { None });
            if let Some(Fault::ReadFlipped { bit, .. }) = flipped
                && !out.is_empty()
            {
                let bit = bit as usize % (out.len() * 8);
                out[bit / 8] ^= 1 << (bit % 8);
            }
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|state, inode| Ok(state.inodes[inode].seen.len() as u64))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.with(|state, inode| {
            let change = Change::Len(usize::try_from(len).map_err(io::Error::other)?);
            let file = &mut state.inodes[inode];
            change.apply(&mut file.seen);
            file.unsynced.push(change);
            state.changed()
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state, inode| {
            let failed = state.strikes(|fault| if let Fault::SyncFails(left) = fault { Some(left) } else { None });
            if failed.is_some() {
                state.inodes[inode].unsynced.clear();
                return Err(io::Error::other("injected: the sync failed"));
            }
            state.changed()?;
            let file = &mut state.inodes[inode];
            file.unsynced.drain(..).for_each(|change| change.apply(&mut file.durable));
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SeededRandom, write_atomic};

    #[test]
    fn a_power_cut_takes_what_was_not_synced() {
        let disk = MemoryDisk::new();
        let (dir, path) = (Path::new("d"), Path::new("d/log"));
        disk.create_dir_all(dir).unwrap();
        let file = disk.create(path).unwrap();
        file.write_at(0, b"kept").unwrap();
        file.sync().unwrap();
        disk.power_cut();
        assert!(!disk.exists(path), "the name was never synced");
        assert!(file.sync().is_err(), "the handle is dead");

        let file = disk.create(path).unwrap();
        file.write_at(0, b"kept").unwrap();
        file.sync().unwrap();
        disk.sync_dir(dir).unwrap();
        file.write_at(4, b" lost").unwrap();
        disk.power_cut();
        assert_eq!(disk.read(path).unwrap(), b"kept");
    }

    #[test]
    fn faults_strike_once_when_due() {
        let disk = MemoryDisk::new();
        let file = disk.create(Path::new("f")).unwrap();
        disk.inject(Fault::WriteTorn(1));
        disk.inject(Fault::SyncFails(0));
        file.write_at(0, b"1234").unwrap();
        assert!(file.write_at(4, b"5678").is_err());
        assert!(file.sync().is_err());
        assert_eq!(disk.read(Path::new("f")).unwrap(), b"123456");
        file.write_at(0, b"9").unwrap();
        file.sync().unwrap();
    }

    #[test]
    fn an_atomic_write_is_whole_or_not_there() {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("d")).unwrap();
        write_atomic(&disk, Path::new("d/m"), b"one").unwrap();
        disk.inject(Fault::SyncFails(0));
        assert!(write_atomic(&disk, Path::new("d/m"), b"two").is_err());
        disk.power_cut();
        assert_eq!(disk.read(Path::new("d/m")).unwrap(), b"one");
    }

    #[test]
    fn what_a_failed_sync_should_have_saved_is_seen_and_never_saved() {
        let disk = MemoryDisk::new();
        let (dir, path) = (Path::new("d"), Path::new("d/log"));
        disk.create_dir_all(dir).unwrap();
        let file = disk.create(path).unwrap();
        disk.sync_dir(dir).unwrap();
        disk.inject(Fault::SyncFails(0));
        file.write_at(0, b"lost").unwrap();
        assert!(file.sync().is_err());
        file.write_at(4, b"kept").unwrap();
        file.sync().unwrap();
        disk.kill();
        assert!(file.sync().is_err(), "the handle is dead");
        assert_eq!(disk.read(path).unwrap(), b"lostkept");
        disk.power_cut();
        assert_eq!(disk.read(path).unwrap(), b"\0\0\0\0kept");
    }

    #[test]
    fn chance_leaves_any_part_of_what_was_not_synced_and_all_of_what_was() {
        let mut left = std::collections::BTreeSet::new();
        for seed in 0..500 {
            let disk = MemoryDisk::new();
            let (dir, path) = (Path::new("d"), Path::new("d/log"));
            disk.create_dir_all(dir).unwrap();
            let file = disk.create(path).unwrap();
            file.write_at(0, b"synced").unwrap();
            file.sync().unwrap();
            disk.sync_dir(dir).unwrap();
            file.write_at(6, b"12").unwrap();
            file.write_at(8, b"34").unwrap();
            disk.create(Path::new("d/name")).unwrap();
            disk.power_cut_with(&SeededRandom::new(seed));
            let content = disk.read(path).unwrap();
            assert!(content.starts_with(b"synced"));
            left.insert((content[6..].to_vec(), disk.exists(Path::new("d/name"))));
        }
        for content in [&b""[..], b"1", b"12", b"123", b"1234", b"\0\x0034", b"\x00234"] {
            for named in [false, true] {
                let expected = (content.to_vec(), named);
                assert!(left.contains(&expected), "{expected:?} in {left:?}");
            }
        }
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_a_flipped_read_shows_another_bit_once() {
        let disk = MemoryDisk::new();
        let file = disk.create(Path::new("f")).unwrap();
        file.write_at(0, b"1234").unwrap();
        disk.set_capacity(Some(6));
        let full = file.write_at(4, b"5678").unwrap_err();
        assert_eq!((full.kind(), disk.used(), disk.refusals()), (io::ErrorKind::StorageFull, 6, 1));
        file.write_at(0, b"abcd").unwrap();
        assert!(disk.create(Path::new("g")).is_err());
        disk.set_capacity(None);
        file.write_at(6, b"78").unwrap();

        disk.inject(Fault::ReadFlipped { reads: 1, bit: 8 });
        let read = || {
            let mut bytes = [0; 2];
            file.read_at(0, &mut bytes).unwrap();
            bytes
        };
        assert_eq!([read(), read(), read()], [*b"ab", *b"ac", *b"ab"]);
    }

    #[test]
    fn the_change_at_which_the_power_fails_is_on_its_way_and_nothing_follows_it() {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("d")).unwrap();
        let file = disk.create(Path::new("d/f")).unwrap();
        disk.sync_dir(Path::new("d")).unwrap();
        disk.inject(Fault::PowerFails(1));
        file.write_at(0, b"one").unwrap();
        assert!(file.sync().is_err() && disk.is_off());
        assert!(file.write_at(3, b"two").is_err() && disk.read(Path::new("d/f")).is_err());
        disk.power_cut();
        assert_eq!((disk.is_off(), disk.read(Path::new("d/f")).unwrap()), (false, Vec::new()));
    }
}
