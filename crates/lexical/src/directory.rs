//! An index's files, written without waiting for the disk.
//!
//! tantivy's own folder syncs a dozen times a commit. An index of words is a view: what a power cut takes from it is in the
//! ledger. So nothing is synced here, and all that must hold is that what a power cut leaves is never taken for more than it
//! is:
//! - A file of a segment, or of its deletes, that is torn or not there is found when the index is opened: each has a checksum
//!   in its footer, and `index.rs` compares all of them.
//! - A torn `meta.json`, which tantivy gives no checksum, is found by the one that is put in front of it here.
//! - An older `meta.json` names files that have gone, which is found, or it is an older commit as a whole. An older file of
//!   deletes, from a commit that was cut off and whose name was taken again, is whole as well. Then other chunks live than were
//!   committed last: whoever opens the index compares them with the ledger.
//! - tantivy's list of its files is not stored: it is what the folder holds. So what a commit that was cut off has left is
//!   removed by the next one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use tantivy::Directory;
use tantivy::directory::error::{DeleteError, LockError, OpenDirectoryError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, DirectoryLock, FileHandle, Lock, MmapDirectory, TerminatingWrite, WatchCallback, WatchHandle,
    WritePtr,
};

/// tantivy's list of the files that are its own to remove.
static MANAGED: LazyLock<&Path> = LazyLock::new(|| Path::new(".managed.json"));
const CHECKSUM_BYTES: usize = 4;

/// A folder that holds one index and nothing else.
#[derive(Debug, Clone)]
pub(crate) struct IndexFolder {
    folder: PathBuf,
    /// Reads and locks.
    mapped: MmapDirectory,
}

impl IndexFolder {
    /// The folder must be there.
    pub(crate) fn open(folder: &Path) -> Result<IndexFolder, OpenDirectoryError> {
        Ok(IndexFolder { folder: folder.to_owned(), mapped: MmapDirectory::open(folder)? })
    }

    /// The files that are tantivy's, as it lists them.
    fn managed(&self) -> io::Result<Vec<u8>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            // What begins with a dot is a lock.
            names.extend(entry?.file_name().into_string().ok().filter(|name| !name.starts_with('.')));
        }
        Ok(serde_json::to_vec(&names)?)
    }
}

impl Directory for IndexFolder {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.mapped.get_file_handle(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.mapped.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.mapped.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let refused = |error: io::Error| OpenWriteError::wrap_io_error(error, path.to_owned());
        let file = self.folder.join(path);
        // A commit that was cut off may have left a file of this name. It is not written over: it may be mapped.
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(refused(error)),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).open(file).map_err(refused)?;
        Ok(BufWriter::new(Box::new(Unsynced(file))))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let refused = |error: io::Error| OpenReadError::wrap_io_error(error, path.to_owned());
        if path == *MANAGED {
            return self.managed().map_err(refused);
        }
        let mut bytes = self.mapped.atomic_read(path)?;
        let damaged = || refused(io::Error::new(ErrorKind::InvalidData, "it fails its checksum"));
        let (checksum, content) = bytes.split_first_chunk::<CHECKSUM_BYTES>().ok_or_else(damaged)?;
        if u32::from_le_bytes(*checksum) != crc32fast::hash(content) {
            return Err(damaged());
        }
        Ok(bytes.split_off(CHECKSUM_BYTES))
    }

    fn atomic_write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        if path == *MANAGED {
            return Ok(());
        }
        let fresh = self.folder.join(path).with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(&crc32fast::hash(content).to_le_bytes())?;
        file.write_all(content)?;
        fs::rename(&fresh, self.folder.join(path))?;
        // tantivy keeps the name of every file that it ever mapped, until it is asked which ones it has mapped.
        self.mapped.get_cache_info();
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        self.mapped.acquire_lock(lock)
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.mapped.watch(callback)
    }
}

struct Unsynced(File);

impl Write for Unsynced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TerminatingWrite for Unsynced {
    fn terminate_ref(&mut self, _: AntiCallToken) -> io::Result<()> {
        Ok(())
    }
}
