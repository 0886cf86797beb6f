//! The tenants' keys: what records are sealed with, and what is destroyed so that nobody reads them any more, wherever
//! copies of them are.
//!
//! One small file a tenant, `tenant-keys/<16 digits>`, outside of the log and of every snapshot's blocks, with the tenant's
//! own key sealed by the master key. A destroyed key's file is overwritten in place and stays as a sign: a key that is
//! destroyed is told from one that was lost. `tenant-keys/master` is sealed like them and tells the right master key from
//! a wrong one.
//!
//! ```text
//!  0  8  magic "ibidkey\n"
//!  8  1  1: a key, 2: a destroyed one
//!  9  8  tenant; 0 in `master`
//! 17 24  nonce; of a destroyed one: when, in milliseconds since the Unix epoch, and zeros
//! 41 48  the sealed key; zeros
//! 89  4  CRC-32 of all before
//! ```

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ibid_core::TenantKey;
use ibid_runtime::{Disk, Random, write_atomic};
use zeroize::Zeroizing;

use crate::cipher::{Key, MasterKey, NONCE_BYTES, TAG_BYTES};
use crate::{LedgerError, Record};

/// Where they are, in a data folder and in a snapshot's target.
pub(crate) const FOLDER: &str = "tenant-keys";
const MAGIC: &[u8; 8] = b"ibidkey\n";
const FILE_BYTES: usize = 93;
const SEALED_BYTES: usize = Key::BYTES + TAG_BYTES;
const MASTER: &str = "master";
/// How often a file that does not read well is read before it counts as damaged.
const READS: usize = 3;

/// The keys of one data folder.
pub(crate) struct TenantKeys {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    random: Arc<dyn Random>,
    /// `None`: nothing is encrypted.
    master: Option<MasterKey>,
    known: RwLock<HashMap<TenantKey, State>>,
    /// Held while a file is made or destroyed.
    changing: Mutex<()>,
    /// Held while the files are copied elsewhere.
    copying: Mutex<()>,
}

/// A tenant's key.
#[derive(Debug, Clone)]
pub(crate) enum State {
    Here(Arc<Key>),
    /// On purpose.
    Destroyed,
    /// Its file is damaged.
    Damaged,
}

/// What a file of `tenant-keys` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyFile {
    Sealed { tenant: TenantKey, nonce: [u8; NONCE_BYTES], key: [u8; SEALED_BYTES] },
    Destroyed { tenant: TenantKey, destroyed_ms: u64 },
}

impl KeyFile {
    pub(crate) fn encode(&self) -> [u8; FILE_BYTES] {
        let mut bytes = [0; FILE_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        let tenant = match self {
            KeyFile::Sealed { tenant, nonce, key } => {
                bytes[8] = 1;
                bytes[17..41].copy_from_slice(nonce);
                bytes[41..89].copy_from_slice(key);
                tenant
            }
            KeyFile::Destroyed { tenant, destroyed_ms } => {
                bytes[8] = 2;
                bytes[17..25].copy_from_slice(&destroyed_ms.to_le_bytes());
                tenant
            }
        };
        bytes[9..17].copy_from_slice(&tenant.0.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..89]);
        bytes[89..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// `None` if `bytes` are not such a file.
    pub(crate) fn decode(bytes: &[u8]) -> Option<KeyFile> {
        let bytes: &[u8; FILE_BYTES] = bytes.try_into().ok()?;
        let checksum = u32::from_le_bytes(bytes[89..].try_into().ok()?);
        if &bytes[..8] != MAGIC || crc32fast::hash(&bytes[..89]) != checksum {
            return None;
        }
        let number = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let tenant = TenantKey(number(9)?);
        match bytes[8] {
            1 => Some(KeyFile::Sealed {
                tenant,
                nonce: bytes[17..41].try_into().ok()?,
                key: bytes[41..89].try_into().ok()?,
            }),
            2 => Some(KeyFile::Destroyed { tenant, destroyed_ms: number(17)? }),
            _ => None,
        }
    }

    /// A new key, or an old one, sealed by `master`.
    fn seal(tenant: TenantKey, key: &Key, master: &MasterKey, random: &dyn Random) -> KeyFile {
        let mut nonce = [0; NONCE_BYTES];
        random.fill(b"tenant key nonce", &mut nonce);
        let sealed = master.key().seal(&nonce, key.bytes(), &about(tenant));
        KeyFile::Sealed { tenant, nonce, key: sealed.try_into().expect("a key and a tag") }
    }

    /// The key in it; `None` if another master key sealed it, or it is destroyed.
    fn open(&self, master: &MasterKey) -> Option<Key> {
        let KeyFile::Sealed { tenant, nonce, key } = self else { return None };
        let plain = Zeroizing::new(master.key().open(nonce, key, &about(*tenant))?);
        Some(Key::new(plain.as_slice().try_into().ok()?))
    }
}

fn about(tenant: TenantKey) -> Vec<u8> {
    [b"ibid 2026 tenant key v1", &tenant.0.to_le_bytes()[..]].concat()
}

/// A key's name, in a folder and in a snapshot's target.
pub(crate) fn file_name(tenant: TenantKey) -> String {
    format!("{:016x}", tenant.0)
}

/// Whether `name` may be that of a key's file.
pub(crate) fn is_file_name(name: &str) -> bool {
    name == MASTER || tenant_of(Path::new(name)).is_some()
}

fn names(disk: &dyn Disk, dir: &Path) -> Result<Vec<PathBuf>, LedgerError> {
    match disk.list(dir) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(failed("list the tenants' keys")),
    }
}

fn tenant_of(name: &Path) -> Option<TenantKey> {
    let digits = name.to_str().filter(|name| name.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().map(TenantKey).filter(|tenant| file_name(*tenant) == digits)
}

impl TenantKeys {
    /// The keys in `dir`. Without any there and without a `master` key, nothing is encrypted. Writes nothing.
    ///
    /// # Errors
    /// [`LedgerError::MasterKeyMissing`], [`LedgerError::MasterKeyWrong`], or the disk.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        master: Option<MasterKey>,
        random: Arc<dyn Random>,
    ) -> Result<TenantKeys, LedgerError> {
        let names = names(&*disk, &dir)?;
        let there = names.iter().any(|name| name.as_os_str() == MASTER || tenant_of(name).is_some());
        let keys = TenantKeys {
            disk,
            dir,
            random,
            master,
            known: RwLock::default(),
            changing: Mutex::default(),
            copying: Mutex::default(),
        };
        match &keys.master {
            None if there => Err(LedgerError::MasterKeyMissing),
            None => Ok(keys),
            Some(master) => {
                keys.read_all(master, &names)?;
                Ok(keys)
            }
        }
    }

    fn read_all(&self, master: &MasterKey, names: &[PathBuf]) -> Result<(), LedgerError> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Whether some key says that the master key is the right one; the others are damaged then.
        let (mut right, mut wrong) = (false, false);
        for name in names {
            let tenant = tenant_of(name).or((name.as_os_str() == MASTER).then_some(TenantKey(0)));
            let Some(tenant) = tenant else { continue };
            let file = self.read(name)?;
            let state = match file {
                Some(file @ KeyFile::Sealed { .. }) => match file.open(master) {
                    Some(key) => {
                        right = true;
                        State::Here(Arc::new(key))
                    }
                    None => {
                        wrong = true;
                        State::Damaged
                    }
                },
                Some(KeyFile::Destroyed { .. }) => State::Destroyed,
                None => State::Damaged,
            };
            if matches!(state, State::Damaged) {
                tracing::error!(tenant = %file_name(tenant), "a tenant's key cannot be read: nor can what is encrypted with it");
            }
            known.insert(tenant, state);
        }
        known.remove(&TenantKey(0));
        if wrong && !right { Err(LedgerError::MasterKeyWrong) } else { Ok(()) }
    }

    fn read(&self, name: &Path) -> Result<Option<KeyFile>, LedgerError> {
        for _ in 0..READS {
            let bytes = self.disk.read(&self.dir.join(name)).map_err(failed("read a tenant's key"))?;
            if let Some(file) = KeyFile::decode(&bytes) {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// Whether what is written is encrypted.
    pub(crate) fn is_on(&self) -> bool {
        self.master.is_some()
    }

    /// The key that `record` is to be sealed with, made if there is none yet; `None` if it is written as it is.
    ///
    /// # Errors
    /// [`LedgerError::Full`], or the key's file cannot be written; [`LedgerError::KeyLost`].
    pub(crate) fn for_sealing(&self, record: &Record) -> Result<Option<(TenantKey, Arc<Key>)>, LedgerError> {
        let Some(master) = &self.master else { return Ok(None) };
        let Some(tenant) = record.holds_bytes_of_tenant() else { return Ok(None) };
        let key = match self.state(tenant) {
            Some(State::Here(key)) => key,
            // It came too late: nobody will ever read it.
            Some(State::Destroyed) => Arc::new(self.fresh()),
            Some(State::Damaged) => return Err(LedgerError::KeyLost { tenant: file_name(tenant) }),
            None => self.make(tenant, master)?,
        };
        Ok(Some((tenant, key)))
    }

    /// What is known of a tenant's key.
    pub(crate) fn state(&self, tenant: TenantKey) -> Option<State> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&tenant).cloned()
    }

    /// Whether it had one, and nobody has it any more.
    pub(crate) fn is_destroyed(&self, tenant: TenantKey) -> bool {
        matches!(self.state(tenant), Some(State::Destroyed))
    }

    fn make(&self, tenant: TenantKey, master: &MasterKey) -> Result<Arc<Key>, LedgerError> {
        let _one = self.turn();
        if let Some(State::Here(key)) = self.state(tenant) {
            return Ok(key);
        }
        if !self.disk.exists(&self.dir.join(MASTER)) {
            self.create(MASTER, &KeyFile::seal(TenantKey(0), &self.fresh(), master, &*self.random))?;
        }
        let key = Arc::new(self.fresh());
        self.create(&file_name(tenant), &KeyFile::seal(tenant, &key, master, &*self.random))?;
        self.know(tenant, State::Here(Arc::clone(&key)));
        Ok(key)
    }

    fn create(&self, name: &str, file: &KeyFile) -> Result<(), LedgerError> {
        let made = self.disk.create_dir_all(&self.dir);
        let written = made.and_then(|()| write_atomic(&*self.disk, &self.dir.join(name), &file.encode()));
        written.map_err(|error| {
            let full = error.kind() == io::ErrorKind::StorageFull;
            if full { LedgerError::Full } else { failed("write a tenant's key")(error) }
        })
    }

    /// Destroys a tenant's key, if it has one: durable once this returns. What was encrypted with it is lost for everybody.
    ///
    /// # Errors
    /// The disk; it can be repeated.
    pub(crate) fn destroy(&self, tenant: TenantKey, now_ms: u64) -> Result<(), LedgerError> {
        let _one = self.turn();
        if matches!(self.state(tenant), None | Some(State::Destroyed)) {
            return Ok(());
        }
        // Whatever becomes of the file, nothing is read by it from here on.
        self.know(tenant, State::Destroyed);
        let sign = KeyFile::Destroyed { tenant, destroyed_ms: now_ms }.encode();
        // In place: a new file would leave the old one's bytes on the disk.
        let file = self.disk.open(&self.dir.join(file_name(tenant)));
        let written = file.and_then(|file| file.write_at(0, &sign).and_then(|()| file.sync()));
        written.map_err(|error| {
            self.know(tenant, State::Damaged);
            failed("destroy a tenant's key")(error)
        })
    }

    /// The tenants whose keys are here, or damaged; and those whose keys are destroyed.
    pub(crate) fn tenants(&self) -> (Vec<TenantKey>, Vec<TenantKey>) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let destroyed = |state: &State| matches!(state, State::Destroyed);
        let (gone, here): (Vec<_>, Vec<_>) = known.iter().partition(|(_, state)| destroyed(state));
        let sorted = |mut tenants: Vec<TenantKey>| {
            tenants.sort_unstable();
            tenants
        };
        (
            sorted(here.into_iter().map(|(key, _)| *key).collect()),
            sorted(gone.into_iter().map(|(key, _)| *key).collect()),
        )
    }

    /// Every file as it is now, by name: what a snapshot needs so that it can be read.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn files(&self) -> Result<Vec<(String, KeyFile)>, LedgerError> {
        if !self.is_on() {
            return Ok(Vec::new());
        }
        let names = names(&*self.disk, &self.dir)?;
        let mut files = Vec::new();
        for name in names {
            let text = name.to_str().filter(|text| *text == MASTER || tenant_of(&name).is_some());
            let Some(text) = text.map(str::to_owned) else { continue };
            // One that is damaged here may be whole in the target.
            if let Some(file) = self.read(&name)? {
                files.push((text, file));
            }
        }
        Ok(files)
    }

    /// Who copies them elsewhere: one at a time.
    pub(crate) fn copying(&self) -> MutexGuard<'_, ()> {
        self.copying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self) -> Key {
        let mut bytes = Zeroizing::new([0; Key::BYTES]);
        self.random.fill(b"tenant key", &mut *bytes);
        Key::new(*bytes)
    }

    /// A nonce for one record of a tenant.
    pub(crate) fn nonce(&self) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        self.random.fill(b"record nonce", &mut nonce);
        nonce
    }

    fn know(&self, tenant: TenantKey, state: State) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(tenant, state);
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for TenantKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantKeys").field("is_on", &self.is_on()).finish_non_exhaustive()
    }
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> LedgerError {
    LedgerError::read(doing)
}

#[cfg(test)]
mod tests;
