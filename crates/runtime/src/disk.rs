//! Files, with what each call promises when the power fails.

mod memory;
mod real;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

pub use memory::{Fault, MemoryDisk};
pub use real::RealDisk;

/// A place with folders and files.
///
/// What survives a power cut: the bytes of a file up to its last successful [`DiskFile::sync`], and the names in a folder
/// (created, renamed, removed) up to the last successful [`Disk::sync_dir`] of that folder. Anything later may be
/// there, or not, or in part.
pub trait Disk: Send + Sync + Debug {
    /// Creates `dir` and the folders above it, and syncs the names it created.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Creates a new file. `AlreadyExists` if there is one.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file for reading and writing. `NotFound` if there is none.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// The whole content of a file. `NotFound` if there is none.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The names of the files and folders in `dir`, sorted. `NotFound` if there is none.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Whether there is a file or folder.
    fn exists(&self, path: &Path) -> bool;
    /// Renames a file, replacing what was there in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. `NotFound` if there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder and all in it. Nothing happens if there is none.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file. Offsets are bytes from its start.
pub trait DiskFile: Send + Sync + Debug {
    /// Writes all of `bytes` at `offset`; the file grows as needed. After an error any part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Fills `out` from `offset`. `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts the file, or extends it with zeros, to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Makes the content durable (`fdatasync`). After an error nobody knows what is: reopen and read before writing on.
    fn sync(&self) -> io::Result<()>;
}

/// Writes `bytes` as `path` so that after a power cut there is the old content or the new, whole.
pub fn write_atomic(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    if disk.exists(&fresh) {
        disk.remove(&fresh)?;
    }
    let file = disk.create(&fresh)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(&fresh, path)?;
    match path.parent() {
        Some(dir) => disk.sync_dir(dir),
        None => Ok(()),
    }
}
