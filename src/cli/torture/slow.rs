//! A disk whose syncs take their time: what a server does on a slower one than this machine's.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ibid_runtime::{Clock, Disk, DiskFile, SystemClock};

/// A disk on which syncing a file takes `sync_min` at least.
#[derive(Debug)]
pub(super) struct SlowDisk {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) sync_min: Duration,
}

#[derive(Debug)]
struct SlowFile {
    file: Box<dyn DiskFile>,
    sync_min: Duration,
}

impl SlowDisk {
    fn slow(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(SlowFile { file, sync_min: self.sync_min })
    }
}

impl Disk for SlowDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(path).map(|file| self.slow(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(path).map(|file| self.slow(file))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }

    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
}

impl DiskFile for SlowFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn sync(&self) -> io::Result<()> {
        let clock = SystemClock::new();
        let start = clock.monotonic();
        self.file.sync()?;
        std::thread::sleep(self.sync_min.saturating_sub(clock.monotonic() - start));
        Ok(())
    }
}
