//! Where snapshots are kept.

use std::error::Error;
use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ibid_runtime::Disk;

/// What a snapshot's target could not do.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot target failed to {doing} {name}")]
pub struct StoreError {
    /// What was being done.
    pub doing: &'static str,
    /// With which object.
    pub name: String,
    /// Why it failed.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// A place for objects by name, such as `blocks/0a1b`. Calls block; nobody else writes to it meanwhile.
pub trait SnapshotStore: Send + Sync + Debug {
    /// Keeps `bytes` under `name`: others see the old object or the new one, whole.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;
    /// The object, if there is one.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// The names in `folder`, without it.
    fn list(&self, folder: &str) -> Result<Vec<String>, StoreError>;
    /// Removes an object. Nothing happens if there is none.
    fn delete(&self, name: &str) -> Result<(), StoreError>;
    /// Everything that was put or seen before survives a power cut from here on.
    fn sync(&self) -> Result<(), StoreError>;
}

/// A folder on a disk.
#[derive(Debug)]
pub struct FolderStore {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
}

impl FolderStore {
    /// Objects are files in `folder`, which is made when the first one is put.
    pub fn new(disk: Arc<dyn Disk>, folder: PathBuf) -> FolderStore {
        FolderStore { disk, folder }
    }

    fn try_put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.folder.join(name);
        if let Some(dir) = path.parent() {
            self.disk.create_dir_all(dir)?;
        }
        let fresh = path.with_extension("new");
        if self.disk.exists(&fresh) {
            self.disk.remove(&fresh)?;
        }
        let file = self.disk.create(&fresh)?;
        let written = file.write_at(0, bytes).and_then(|()| file.sync());
        if written.is_err() {
            // It stands in nobody's way, but on a full disk it takes up room.
            let _ = self.disk.remove(&fresh);
        }
        written.and_then(|()| self.disk.rename(&fresh, &path))
    }

    fn try_sync(&self) -> io::Result<()> {
        let folders = found(self.disk.list(&self.folder))?.unwrap_or_default();
        folders.iter().try_for_each(|folder| self.disk.sync_dir(&self.folder.join(folder)))
    }
}

impl SnapshotStore for FolderStore {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.try_put(name, bytes).map_err(failed("write", name))
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        found(self.disk.read(&self.folder.join(name))).map_err(failed("read", name))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let names = found(self.disk.list(&self.folder.join(folder))).map_err(failed("list", folder))?;
        let names =
            names.unwrap_or_default().into_iter().filter(|name| name.extension().is_none_or(|end| end != "new"));
        Ok(names.filter_map(|name| name.into_os_string().into_string().ok()).collect())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        found(self.disk.remove(&self.folder.join(name))).map(drop).map_err(failed("remove", name))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.try_sync().map_err(failed("sync", "its folders"))
    }
}

fn failed(doing: &'static str, name: &str) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError { doing, name: name.to_owned(), source: Box::new(source) }
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
