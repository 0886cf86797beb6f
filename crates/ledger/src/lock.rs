//! One process a folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::LedgerError;

/// Keeps other processes out of a folder for as long as it lives. The operating system frees it when the process ends,
/// however it ends.
#[derive(Debug)]
pub struct FolderLock(
    #[allow(dead_code, reason = "held, never read: the lock lives as long as the file is open")] File,
);

/// Locks the folder at `path`, which exists on the real disk, through the file `lock` in it.
///
/// # Errors
/// [`LedgerError::Locked`] if another process has it; [`LedgerError::Read`] if the file cannot be made.
pub fn lock_folder(path: &Path) -> Result<FolderLock, LedgerError> {
    let doing = "open the folder's lock file";
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).open(path.join("lock"));
    let file = file.map_err(LedgerError::read(doing))?;
    match file.try_lock() {
        Ok(()) => Ok(FolderLock(file)),
        Err(TryLockError::WouldBlock) => Err(LedgerError::Locked),
        Err(TryLockError::Error(source)) => Err(LedgerError::read(doing)(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock_folder(folder.path()).unwrap();
        assert!(matches!(lock_folder(folder.path()), Err(LedgerError::Locked)));
        drop(held);
        lock_folder(folder.path()).unwrap();
    }
}
