//! An index in a folder of its own.
//!
//! Segments are written under names never used before; then the manifest is replaced in one step; then what it does not
//! name is removed. After a crash anywhere there is the old index or the new one, whole, and perhaps some files too many.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use ibid_runtime::{Disk, write_atomic};

use crate::index::lock;
use crate::manifest::{Entry, Manifest, SegmentFile};
use crate::segment::{Run, Segment, Stage};
use crate::{Config, VectorError, VectorIndex, format, manifest};

/// The manifest's name.
const MANIFEST: &str = "manifest";

/// Which sealed segments have a file in which folder.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    folder: PathBuf,
    files: Vec<(Weak<Segment>, SegmentFile)>,
}

impl Saved {
    /// Keeps what is still needed and still there.
    fn forget_what_is_gone(&mut self, disk: &dyn Disk, folder: &Path) {
        if self.folder != folder {
            *self = Saved { folder: folder.to_owned(), files: Vec::new() };
        }
        self.files.retain(|(segment, file)| segment.strong_count() > 0 && disk.exists(&folder.join(file.name())));
    }

    fn file_of(&self, segment: &Arc<Segment>) -> Option<SegmentFile> {
        let known = self.files.iter().find(|(known, _)| known.as_ptr() == Arc::as_ptr(segment));
        known.map(|(_, file)| *file)
    }
}

impl VectorIndex {
    /// Writes what is stored now to `folder`, which belongs to this index alone. `checkpoint` is the owner's: everything up
    /// to it was applied before this call. Sealed segments that are there already are not written again.
    ///
    /// # Errors
    /// [`VectorError::Disk`]; the folder then holds what it held before, or the new state. Trying again is safe.
    pub fn save(&self, disk: &dyn Disk, folder: &Path, checkpoint: u64) -> Result<(), VectorError> {
        let mut saved = lock(&self.saved);
        let snapshot = self.snapshot();
        disk.create_dir_all(folder).map_err(disk_error("create", "the folder"))?;
        saved.forget_what_is_gone(disk, folder);
        let dimension = self.config().dimension;
        let mut manifest = Manifest { dimension: dimension as u32, checkpoint, sealed: Vec::new(), fresh: None };
        let numbers = list(disk, folder)?.into_iter().filter_map(|name| SegmentFile::number_in(&name));
        let mut number = numbers.max().unwrap_or(0);

        let (sealed, fresh): (Vec<&Run>, Vec<&Run>) =
            snapshot.runs().iter().partition(|run| run.stage == Stage::Sealed);
        for run in sealed {
            let file = match saved.file_of(&run.segment) {
                Some(file) => file,
                None => {
                    number += 1;
                    let file = write_segment(disk, folder, number, &run.segment)?;
                    saved.files.push((Arc::downgrade(&run.segment), file));
                    file
                }
            };
            manifest.sealed.push(Entry::new(file, &run.live));
        }
        let fresh = Run::new(Segment::merge(fresh, dimension), Stage::Fresh);
        if fresh.live_len() > 0 {
            let file = write_segment(disk, folder, number + 1, &fresh.segment)?;
            manifest.fresh = Some(Entry::new(file, &fresh.live));
        }
        let bytes = manifest::encode(&manifest);
        write_atomic(disk, &folder.join(MANIFEST), &bytes).map_err(disk_error("write", MANIFEST))?;
        sweep(disk, folder, Some(&manifest));
        Ok(())
    }

    /// The index that was last saved to `folder`, with its checkpoint; an empty one and `None` if there is none. Files that
    /// do not belong to it are removed. All of `config` but the dimension may differ from when it was saved.
    ///
    /// # Errors
    /// [`VectorError::Corrupt`] for files that are damaged or missing, [`VectorError::StoredDimensions`] for vectors of
    /// another model, [`VectorError::Disk`], [`VectorError::Config`]. The folder is left as it is then.
    pub fn open(disk: &dyn Disk, folder: &Path, config: Config) -> Result<(VectorIndex, Option<u64>), VectorError> {
        config.check()?;
        let bytes = match disk.read(&folder.join(MANIFEST)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                sweep(disk, folder, None);
                return Ok((VectorIndex::new(config)?, None));
            }
            Err(error) => return Err(disk_error("read", MANIFEST)(error)),
        };
        let manifest = manifest::decode(&bytes).map_err(corrupt(MANIFEST))?;
        if manifest.dimension as usize != config.dimension {
            let stored = manifest.dimension as usize;
            return Err(VectorError::StoredDimensions { stored, expected: config.dimension });
        }
        let mut runs: Vec<Run> = Vec::new();
        let mut files = Vec::new();
        let sealed = manifest.sealed.iter().map(|entry| (entry, Stage::Sealed));
        for (entry, stage) in sealed.chain(manifest.fresh.iter().map(|entry| (entry, Stage::Fresh))) {
            let run = read_run(disk, folder, entry, stage, config.dimension)?;
            if runs.iter().any(|other| !other.live.is_disjoint(&run.live)) {
                return Err(corrupt(MANIFEST)("has a label in two segments"));
            }
            if stage == Stage::Sealed {
                files.push((Arc::downgrade(&run.segment), entry.file));
            }
            runs.push(run);
        }
        sweep(disk, folder, Some(&manifest));
        let saved = Saved { folder: folder.to_owned(), files };
        Ok((VectorIndex::from_runs(config, runs, saved), Some(manifest.checkpoint)))
    }
}

fn write_segment(disk: &dyn Disk, folder: &Path, number: u64, segment: &Segment) -> Result<SegmentFile, VectorError> {
    let bytes = format::encode(segment);
    let checksum = format::checksum(&bytes).expect("a segment's file starts with a header");
    let file = SegmentFile { number, checksum };
    write_atomic(disk, &folder.join(file.name()), &bytes).map_err(disk_error("write", file.name()))?;
    Ok(file)
}

fn read_run(disk: &dyn Disk, folder: &Path, entry: &Entry, stage: Stage, dimension: usize) -> Result<Run, VectorError> {
    let name = entry.file.name();
    let bytes = match disk.read(&folder.join(&name)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(corrupt(&name)("is missing")),
        Err(error) => return Err(disk_error("read", name)(error)),
    };
    if format::checksum(&bytes) != Some(entry.file.checksum) {
        return Err(corrupt(&name)("is not the file that the manifest names"));
    }
    let segment = format::decode(&bytes).map_err(corrupt(&name))?;
    if segment.vectors().ncols() != dimension {
        return Err(corrupt(&name)("has vectors of another dimension than the manifest says"));
    }
    let all = Run::new(segment, stage);
    let live = entry.live().ok_or_else(|| corrupt(MANIFEST)("has a list of labels that cannot be read"))?;
    if live.is_empty() || !live.is_subset(&all.live) {
        return Err(corrupt(MANIFEST)("has labels that its segment does not have"));
    }
    Ok(Run { live: Arc::new(live), ..all })
}

/// Removes what `manifest` does not name. What cannot be removed stays for the next time: it costs space, nothing else.
fn sweep(disk: &dyn Disk, folder: &Path, manifest: Option<&Manifest>) {
    let Ok(names) = list(disk, folder) else { return };
    let mut keep: Vec<String> = Vec::new();
    if let Some(manifest) = manifest {
        keep.push(MANIFEST.to_owned());
        keep.extend(manifest.sealed.iter().chain(&manifest.fresh).map(|entry| entry.file.name()));
    }
    for name in names.iter().filter(|name| !keep.contains(name)) {
        if let Err(error) = disk.remove(&folder.join(name)) {
            tracing::warn!(%error, "a file of the vector index that is not needed cannot be removed");
        }
    }
}

fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<String>, VectorError> {
    let names = match disk.list(folder) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(disk_error("list", "the folder")(error)),
    };
    Ok(names.iter().filter_map(|name| name.to_str().map(str::to_owned)).collect())
}

fn disk_error(doing: &'static str, file: impl Into<String>) -> impl FnOnce(std::io::Error) -> VectorError {
    move |source| VectorError::Disk { doing, file: file.into(), source }
}

fn corrupt(file: &str) -> impl FnOnce(&'static str) -> VectorError {
    move |what| VectorError::Corrupt { file: file.to_owned(), what }
}

#[cfg(test)]
mod tests;
