//! The disk's twin in memory: it forgets what was not synced, and fails when told to.
//!
//! A file is an inode with two contents: what the program sees, and what the platter holds. A folder likewise has two
//! lists of names. [`MemoryDisk::power_cut`] drops everything but the platter. Open handles from before a cut are dead.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile};

/// A failure to inject. Each is spent once it has struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The n-th sync of a file from now on (0 = the next) fails, and what it should have saved is lost at a power cut.
    SyncFails(u32),
    /// The n-th write from now on stops half way with an error.
    WriteTorn(u32),
    /// The n-th write from now on finds the disk full and writes nothing.
    DiskFull(u32),
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
    inodes: Vec<Inode>,
    faults: Vec<Fault>,
    cuts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

#[derive(Debug, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
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

    /// The power fails: names and bytes that were not synced are gone, and every open handle is dead.
    pub fn power_cut(&self) {
        let mut state = self.lock();
        state.seen = state.durable.clone();
        for inode in &mut state.inodes {
            inode.seen = inode.durable.clone();
        }
        state.faults.clear();
        state.cuts += 1;
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

    fn file(&self, state: &State, inode: usize) -> Box<dyn DiskFile> {
        Box::new(MemoryFile { disk: self.clone(), inode, cuts: state.cuts })
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

    /// Counts down the planned failures of one kind; the one that strikes is removed.
    fn strikes(&mut self, countdown: impl Fn(&mut Fault) -> Option<&mut u32>) -> bool {
        let mut struck = None;
        for (index, fault) in self.faults.iter_mut().enumerate() {
            match countdown(fault) {
                Some(0) => struck = Some(index),
                Some(left) => *left -= 1,
                None => {}
            }
        }
        struck.map(|index| self.faults.remove(index)).is_some()
    }
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        for above in dir.ancestors().filter(|above| !above.as_os_str().is_empty()) {
            if matches!(state.seen.get(above), Some(Node::File(_))) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            state.seen.insert(above.to_owned(), Node::Dir);
            state.durable.insert(above.to_owned(), Node::Dir);
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        state.parent_exists(path)?;
        if state.seen.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.seen.insert(path.to_owned(), Node::File(inode));
        Ok(self.file(&state, inode))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        state.inode(path)?;
        match state.seen.get(path) {
            Some(Node::File(inode)) => Ok(self.file(&state, *inode)),
            Some(Node::Dir) | None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.lock().inode(path)?.seen.clone())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.lock();
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
        let mut state = self.lock();
        state.parent_exists(to)?;
        let node = state.seen.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.seen.insert(to.to_owned(), node);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.inode(path)?;
        state.seen.remove(path);
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.lock().seen.retain(|path, _| !path.starts_with(dir));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let State { seen, durable, .. } = &mut *state;
        // Only the names directly inside become durable; a removed folder takes what was below it along.
        durable.retain(|path, _| path.parent() != Some(dir) || seen.contains_key(path));
        let gone: Vec<PathBuf> = durable
            .keys()
            .filter(|path| {
                path.starts_with(dir) && path.ancestors().any(|a| a.parent() == Some(dir) && !seen.contains_key(a))
            })
            .cloned()
            .collect();
        for path in gone {
            durable.remove(&path);
        }
        let inside = seen.iter().filter(|(path, _)| path.parent() == Some(dir));
        durable.extend(inside.map(|(path, node)| (path.clone(), *node)));
        Ok(())
    }
}

impl MemoryFile {
    /// Runs `work` on the live inode; a handle from before a power cut is dead.
    fn with<T>(&self, work: impl FnOnce(&mut State, usize) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.lock();
        if state.cuts != self.cuts {
            return Err(io::Error::other("the handle is from before the power cut"));
        }
        work(&mut state, self.inode)
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|state, inode| {
            if state.strikes(|fault| if let Fault::DiskFull(left) = fault { Some(left) } else { None }) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let torn = state.strikes(|fault| if let Fault::WriteTorn(left) = fault { Some(left) } else { None });
            let written = if torn { &bytes[..bytes.len() / 2] } else { bytes };
            let start = usize::try_from(offset).map_err(io::Error::other)?;
            let content = &mut state.inodes[inode].seen;
            if content.len() < start + written.len() {
                content.resize(start + written.len(), 0);
            }
            content[start..start + written.len()].copy_from_slice(written);
            if torn { Err(io::Error::other("injected: the write stopped half way")) } else { Ok(()) }
        })
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|state, inode| {
            let start = usize::try_from(offset).map_err(io::Error::other)?;
            let content = &state.inodes[inode].seen;
            let piece = start.checked_add(out.len()).and_then(|end| content.get(start..end));
            out.copy_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|state, inode| Ok(state.inodes[inode].seen.len() as u64))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.with(|state, inode| {
            state.inodes[inode].seen.resize(usize::try_from(len).map_err(io::Error::other)?, 0);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state, inode| {
            if state.strikes(|fault| if let Fault::SyncFails(left) = fault { Some(left) } else { None }) {
                return Err(io::Error::other("injected: the sync failed"));
            }
            let file = &mut state.inodes[inode];
            file.durable.clone_from(&file.seen);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write_atomic;

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
}
