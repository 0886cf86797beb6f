//! Snapshots in a bucket of S3, or of anything that speaks its protocol.
//!
//! Credentials, region and endpoint come from the usual variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
//! AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT and the others that object_store reads. An endpoint in plain text is taken
//! on this machine alone, unless AWS_ALLOW_HTTP says otherwise.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use futures::TryFutureExt;
use ibid_engine::snapshots::{SnapshotStore, StoreError};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{ClientOptions, Error, ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::runtime::{Builder, Runtime};

use super::TargetError;

/// A block is 256 KiB.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RETRIES_MAX: usize = 4;
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// Objects in a bucket.
pub(super) struct S3Store {
    bucket: AmazonS3,
    prefix: String,
    /// The trait's calls block, the client's do not. Always there until it is dropped.
    runtime: Option<Runtime>,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Drop for S3Store {
    fn drop(&mut self) {
        // Waiting for it is not allowed where this may be dropped: in another runtime.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl S3Store {
    pub(super) fn open(bucket: &str, prefix: &str) -> Result<S3Store, TargetError> {
        // Somebody else may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |source| TargetError::S3 { bucket: bucket.to_owned(), source };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| failed(Box::new(error)))?;
        let builder = AmazonS3Builder::from_env();
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        let mut options = ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT);
        let asked = builder.get_config_value(&AmazonS3ConfigKey::Client(object_store::ClientConfigKey::AllowHttp));
        if endpoint.is_some_and(|endpoint| is_loopback(&endpoint)) || asked.is_some_and(|allow| allow == "true") {
            options = options.with_allow_http(true);
        }
        let retry = RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT, ..Default::default() };
        let builder = builder.with_bucket_name(bucket).with_client_options(options).with_retry(retry);
        let bucket = builder.build().map_err(|error| failed(Box::new(error)))?;
        Ok(S3Store { bucket, prefix: prefix.to_owned(), runtime: Some(runtime) })
    }

    fn path(&self, name: &str) -> Path {
        Path::from_iter([self.prefix.as_str(), name].into_iter().flat_map(|part| part.split('/')))
    }

    fn wait<T>(
        &self,
        doing: &'static str,
        name: &str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<Option<T>, StoreError> {
        let runtime = self.runtime.as_ref().expect("there until it is dropped");
        match runtime.block_on(call) {
            Ok(done) => Ok(Some(done)),
            Err(Error::NotFound { .. }) => Ok(None),
            // The client's errors repeat their causes.
            Err(error) => Err(StoreError { doing, name: name.to_owned(), source: error.to_string().into() }),
        }
    }
}

/// Whether a URL leads to this machine.
fn is_loopback(endpoint: &str) -> bool {
    let Some(rest) = endpoint.strip_prefix("http://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

impl SnapshotStore for S3Store {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name);
        let put = self.bucket.put(&path, bytes.to_vec().into());
        let missing = || StoreError { doing: "write", name: name.to_owned(), source: "there is no such bucket".into() };
        self.wait("write", name, put)?.map(drop).ok_or_else(missing)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(name);
        let get = self.bucket.get(&path).and_then(|found| found.bytes());
        Ok(self.wait("read", name, get)?.map(Vec::from))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let path = self.path(folder);
        let found = self.wait("list", folder, self.bucket.list_with_delimiter(Some(&path)))?;
        let objects = found.map(|found| found.objects).unwrap_or_default();
        Ok(objects.iter().filter_map(|object| object.location.filename().map(str::to_owned)).collect())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        self.wait("remove", name, self.bucket.delete(&path)).map(drop)
    }

    fn sync(&self) -> Result<(), StoreError> {
        // What was put is durable.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_on_this_machine() {
        for here in ["http://127.0.0.1:8333", "http://localhost/", "http://[::1]:9000"] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in
            ["https://127.0.0.1", "http://127.0.0.1.example.com", "http://localhost.example.com", "http://10.0.0.1"]
        {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }
}
