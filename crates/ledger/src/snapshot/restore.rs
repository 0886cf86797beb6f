//! From a snapshot to a data folder.
//!
//! A marker is the first thing in the folder and the last to go. While it is there nothing opens the folder, so that one
//! whose restore was cut off never passes for a whole one with less in it.

use std::io;
use std::path::Path;

use ibid_runtime::{Ctx, Disk};

use super::{Manifest, SnapshotError, SnapshotFile, SnapshotStore, fetch};

/// The marker's name.
pub(super) const MARKER: &str = "restoring";

/// Whether a restore into `folder` was cut off, or goes on.
pub(crate) fn is_unfinished(disk: &dyn Disk, folder: &Path) -> bool {
    disk.exists(&folder.join(MARKER))
}

/// Writes the snapshot into `folder`, which must be empty or missing, as a data folder that can be opened. Every block is
/// compared with its hash.
///
/// # Errors
/// [`SnapshotError`]; what was written until then cannot be opened.
pub fn restore(
    ctx: &Ctx,
    store: &dyn SnapshotStore,
    manifest: &Manifest,
    disk: &dyn Disk,
    folder: &Path,
) -> Result<(), SnapshotError> {
    match disk.list(folder) {
        Ok(names) if names.is_empty() => {}
        Ok(_) => return Err(SnapshotError::NotEmpty),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("list the folder")(error)),
    }
    mark(disk, folder).map_err(failed("mark the folder"))?;
    let log = folder.join("log");
    disk.create_dir_all(&log).map_err(failed("make the log's folder"))?;
    for file in &manifest.files {
        restore_file(ctx, store, file, disk, &folder.join(file.name()))?;
    }
    disk.sync_dir(&log).map_err(failed("sync the log's folder"))?;
    disk.remove(&folder.join(MARKER)).and_then(|()| disk.sync_dir(folder)).map_err(failed("unmark the folder"))
}

fn mark(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    disk.create_dir_all(folder)?;
    let marker = disk.create(&folder.join(MARKER))?;
    marker.write_at(0, b"A restore into this folder was cut off. Remove the folder and restore again.\n")?;
    marker.sync()?;
    disk.sync_dir(folder)
}

fn restore_file(
    ctx: &Ctx,
    store: &dyn SnapshotStore,
    file: &SnapshotFile,
    disk: &dyn Disk,
    path: &Path,
) -> Result<(), SnapshotError> {
    let write = failed("write the log");
    let fresh = disk.create(path).map_err(write)?;
    for (ordinal, block) in file.blocks.iter().enumerate() {
        ctx.check()?;
        let bytes = fetch(store, file, ordinal, *block)?;
        fresh.write_at(file.offset_of(ordinal), &bytes).map_err(failed("write the log"))?;
    }
    fresh.sync().map_err(failed("sync the log"))
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> SnapshotError {
    move |source| SnapshotError::Write { doing, source }
}
