//! From a snapshot to a data folder.
//!
//! A marker is the first thing in the folder and the last to go. While it is there nothing opens the folder, so that one
//! whose restore was cut off never passes for a whole one with less in it.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use ibid_runtime::{Ctx, Disk};

use super::{DESTROYED, Manifest, SnapshotError, SnapshotFile, SnapshotStore, fetch, key_name};
use crate::keys::{self, KeyFile};

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
    restore_keys(ctx, store, disk, &folder.join(keys::FOLDER))?;
    disk.remove(&folder.join(MARKER)).and_then(|()| disk.sync_dir(folder)).map_err(failed("unmark the folder"))
}

fn mark(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    disk.create_dir_all(folder)?;
    let marker = disk.create(&folder.join(MARKER))?;
    marker.write_at(0, b"A restore into this folder was cut off. Remove the folder and restore again.\n")?;
    marker.sync()?;
    disk.sync_dir(folder)
}

/// The tenants' keys as they are now, not as they were: what was destroyed since stays so.
fn restore_keys(ctx: &Ctx, store: &dyn SnapshotStore, disk: &dyn Disk, dir: &Path) -> Result<(), SnapshotError> {
    let names: HashSet<String> = store.list(keys::FOLDER)?.into_iter().collect();
    if names.is_empty() {
        return Ok(());
    }
    disk.create_dir_all(dir).map_err(failed("make the folder of the tenants' keys"))?;
    for name in &names {
        ctx.check()?;
        let own = name.strip_suffix(DESTROYED).unwrap_or(name);
        let superseded = own == name && names.contains(&format!("{name}{DESTROYED}"));
        if superseded || !keys::is_file_name(own) {
            continue;
        }
        let bytes = store.get(&key_name(name))?.filter(|bytes| KeyFile::decode(bytes).is_some());
        let bytes = bytes.ok_or_else(|| SnapshotError::KeyDamaged { name: name.clone() })?;
        let file = disk.create(&dir.join(own)).map_err(failed("write a tenant's key"))?;
        file.write_at(0, &bytes).and_then(|()| file.sync()).map_err(failed("write a tenant's key"))?;
    }
    disk.sync_dir(dir).map_err(failed("sync the folder of the tenants' keys"))
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
