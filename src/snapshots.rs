//! Where snapshots are kept: a folder, or a bucket of S3 (`snapshots/s3.rs`, with the feature `object-store`).

#[cfg(feature = "object-store")]
mod s3;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use ibid_engine::snapshots::{FolderStore, SnapshotStore};
use ibid_runtime::Disk;

/// A place for snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A folder of this machine.
    Folder(PathBuf),
    /// Objects whose names start with a prefix, which may be empty.
    S3 {
        /// The bucket.
        bucket: String,
        /// Without `/` at either end.
        prefix: String,
    },
}

/// Why there can be no snapshots at a target. Who runs the program reads it: it may name paths.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is neither a folder nor a URL that is known.
    #[error("expected a folder, file:///folder or s3://bucket/prefix")]
    Unknown,
    /// The program was built without it.
    #[error("this program was built without S3: build it with the feature object-store, or name a folder")]
    NoS3,
    /// The AWS_ variables do not give what is needed.
    #[error("open s3://{bucket}: look at the AWS_ variables")]
    S3 {
        /// The bucket.
        bucket: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Target {
    /// From a path or URL; `expand` makes a path of what stands for one.
    ///
    /// # Errors
    /// [`TargetError::Unknown`]
    pub(crate) fn parse(text: &str, expand: impl FnOnce(&str) -> PathBuf) -> Result<Target, TargetError> {
        match text.split_once("://") {
            None if text.is_empty() => Err(TargetError::Unknown),
            None => Ok(Target::Folder(expand(text))),
            Some(("file", path)) if path.starts_with('/') => Ok(Target::Folder(PathBuf::from(path))),
            Some(("s3", rest)) => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err(TargetError::Unknown);
                }
                Ok(Target::S3 { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() })
            }
            Some(_) => Err(TargetError::Unknown),
        }
    }

    /// Ready to be read and written; nothing is asked of it yet.
    ///
    /// # Errors
    /// [`TargetError`]
    pub(crate) fn open(&self, disk: &Arc<dyn Disk>) -> Result<Arc<dyn SnapshotStore>, TargetError> {
        match self {
            Target::Folder(folder) => Ok(Arc::new(FolderStore::new(Arc::clone(disk), folder.clone()))),
            #[cfg(feature = "object-store")]
            Target::S3 { bucket, prefix } => Ok(Arc::new(s3::S3Store::open(bucket, prefix)?)),
            #[cfg(not(feature = "object-store"))]
            Target::S3 { .. } => Err(TargetError::NoS3),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Folder(folder) => folder.display().fmt(f),
            Target::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_folder_or_a_bucket() {
        let parse = |text| Target::parse(text, |path| PathBuf::from(path)).ok();
        let s3 = |bucket: &str, prefix: &str| Target::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() };
        assert_eq!(parse("backup/ibid"), Some(Target::Folder(PathBuf::from("backup/ibid"))));
        assert_eq!(parse("file:///backup"), Some(Target::Folder(PathBuf::from("/backup"))));
        assert_eq!(parse("s3://bucket"), Some(s3("bucket", "")));
        assert_eq!(parse("s3://bucket/a/b/"), Some(s3("bucket", "a/b")));
        for odd in ["", "s3://", "s3:///a", "file://a", "gs://bucket", "http://a"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
