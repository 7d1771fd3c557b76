//! A user's keys in a file: TOML, readable by its owner only, replaced as a whole.

use routing_core::account::{Account, AccountError};
use routing_core::domain::Domain;
use routing_core::id::Guid;
use routing_core::record::Record;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const HEADER: &str = "\
# The keys of one account. Whoever has them is this user: tell nobody, and keep a copy in a safe place.
# Lost for good is lost for good: no server can make them again.

";

/// Why a key file cannot be used. The file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The system refuses.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no key file.
    #[error("{file} is no key file: {problem}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Another command has it. Two at once could each write a record that continues from the same one.
    #[error("{0} is in use by another command: wait until that has ended, and run this again")]
    InUse(PathBuf),
    /// The account cannot write now.
    #[error("{0}")]
    Account(#[from] AccountError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// How it is written. Bytes are hexadecimal.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    guid: String,
    signing: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery: Option<String>,
    nonce: String,
    /// The newest record that this file's keys have written: the next one continues from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
}

/// The keys of one account, and the newest record written with them.
pub struct KeyFile {
    path: PathBuf,
    /// Held as long as this is: the key file itself is another file after each change.
    _lock: File,
    keys: Keys,
    account: Account,
    newest: Option<Arc<Record>>,
}

/// Without the keys.
impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("path", &self.path).field("guid", &self.guid()).finish_non_exhaustive()
    }
}

impl KeyFile {
    /// The keys in `path`; new ones if there is no such file. Says whether they are new. Nobody else gets them until this is
    /// dropped.
    pub fn open_or_create(path: &Path, with_recovery: bool) -> Result<(Self, bool), KeyFileError> {
        let refused = |source| KeyFileError::Io { file: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open(beside(path, ".lock"));
        let lock = lock.map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(KeyFileError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(refused(source)),
        }
        match std::fs::read_to_string(path) {
            Ok(text) => Ok((Self::parse(path, &text, lock)?, false)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok((Self::create(path, with_recovery, lock)?, true))
            }
            Err(source) => Err(refused(source)),
        }
    }

    fn create(path: &Path, with_recovery: bool, lock: File) -> Result<Self, KeyFileError> {
        let (mut signing, mut recovery, mut nonce) = ([0; 32], [0; 32], [0; 16]);
        for bytes in [&mut signing[..], &mut recovery, &mut nonce] {
            getrandom::fill(bytes)?;
        }
        let recovery = with_recovery.then_some(recovery);
        let account = Account::new(signing, recovery, nonce);
        let keys = Keys {
            guid: account.guid().to_string(),
            signing: to_hex(&signing),
            recovery: recovery.map(|seed| to_hex(&seed)),
            nonce: to_hex(&nonce),
            record: None,
        };
        let file = Self { path: path.to_owned(), _lock: lock, keys, account, newest: None };
        file.save()?;
        Ok(file)
    }

    fn parse(path: &Path, text: &str, lock: File) -> Result<Self, KeyFileError> {
        let unreadable =
            |problem: &str| KeyFileError::Unreadable { file: path.to_owned(), problem: problem.to_owned() };
        let keys: Keys = toml::from_str(text).map_err(|error| unreadable(error.message()))?;
        let signing = from_hex(&keys.signing).ok_or_else(|| unreadable("signing is not 64 hexadecimal digits"))?;
        let nonce = from_hex(&keys.nonce).ok_or_else(|| unreadable("nonce is not 32 hexadecimal digits"))?;
        let recovery = keys.recovery.as_deref().map(from_hex);
        if recovery == Some(None) {
            return Err(unreadable("recovery is not 64 hexadecimal digits"));
        }
        let mut account = Account::new(signing, recovery.flatten(), nonce);
        if account.guid().to_string() != keys.guid {
            return Err(unreadable("guid is not that of these keys"));
        }
        let record =
            keys.record.as_deref().map(|text| bytes_of(text).and_then(|bytes| Record::from_bytes(&bytes).ok()));
        let newest = match record {
            Some(Some(record)) => Some(Arc::new(record)),
            Some(None) => return Err(unreadable("record is none")),
            None => None,
        };
        if let Some(record) = &newest {
            account.adopt(record)?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock, keys, account, newest })
    }

    /// Whose keys they are.
    pub fn guid(&self) -> Guid {
        self.account.guid()
    }

    /// The newest record written with them.
    pub fn newest(&self) -> Option<&Arc<Record>> {
        self.newest.as_ref()
    }

    /// Continues from a record found in the network, if it is newer than what was written here.
    pub fn adopt(&mut self, record: &Arc<Record>) -> Result<(), KeyFileError> {
        self.account.adopt(record)?;
        if self.newest.as_ref().is_none_or(|newest| record.outranks(newest)) {
            self.newest = Some(record.clone());
        }
        Ok(())
    }

    /// The record that says: this user lives at `home`. A new one if the newest says otherwise; it is in the file before
    /// this returns, so that no two records ever continue from the same one.
    pub fn place(&mut self, home: &Domain, now_ms: u64) -> Result<Arc<Record>, KeyFileError> {
        if let Some(newest) = self.newest.as_ref().filter(|newest| newest.home() == Some(home)) {
            return Ok(newest.clone());
        }
        let record = Arc::new(self.account.place(home.clone(), now_ms));
        self.keys.record = Some(to_hex(&record.to_bytes()));
        self.save()?;
        self.newest = Some(record.clone());
        Ok(record)
    }

    /// Writes a new file and puts it in the place of the old one.
    fn save(&self) -> Result<(), KeyFileError> {
        let text = HEADER.to_owned() + &toml::to_string(&self.keys).expect("a table of texts can be written");
        let new = beside(&self.path, ".new");
        let written = || {
            // What a command that was killed has left there, or somebody else: who may read the new one is said as it is made.
            match std::fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)?;
            let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(dir)?.sync_all()
        };
        written().map_err(|source| KeyFileError::Io { file: self.path.clone(), source })
    }
}

/// The file beside `path` whose name ends so, too.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

fn from_hex<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    bytes_of(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn domain(text: &str) -> Domain {
        text.parse().unwrap()
    }

    #[test]
    fn an_account_goes_on_where_its_file_left_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ann.key");
        let (mut keys, is_new) = KeyFile::open_or_create(&path, true).unwrap();
        assert!(is_new);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let first = keys.place(&domain("a.example"), 1).unwrap();
        assert!(first.recovery_key().is_some());
        drop(keys);

        let (mut keys, is_new) = KeyFile::open_or_create(&path, true).unwrap();
        assert!(!is_new);
        assert_eq!(keys.guid(), first.guid());
        assert_eq!(keys.place(&domain("a.example"), 2).unwrap(), first, "nothing new is said");
        let second = keys.place(&domain("b.example"), 2).unwrap();
        assert!(second.outranks(&first) && second.verify().is_ok());
    }

    #[test]
    fn no_key_is_printed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = KeyFile::open_or_create(&dir.path().join("ann.key"), true).unwrap();
        let printed = format!("{file:?}");
        assert!(printed.contains("ann.key"), "{printed}");
        for secret in [&file.keys.signing, file.keys.recovery.as_ref().unwrap(), &file.keys.nonce] {
            assert!(!printed.contains(secret.as_str()), "{printed}");
        }
    }

    /// Else each could write a record that continues from the same one, or make keys of which the other's are lost.
    #[test]
    fn one_command_at_a_time_has_a_key_file_also_while_it_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ann.key");
        let (mut first, _) = KeyFile::open_or_create(&path, true).unwrap();
        first.place(&domain("a.example"), 1).unwrap();
        let error = KeyFile::open_or_create(&path, true).err().unwrap();
        assert!(matches!(error, KeyFileError::InUse(_)) && error.to_string().contains("in use"), "{error}");
        drop(first);
        let (mut second, is_new) = KeyFile::open_or_create(&path, true).unwrap();
        assert!(!is_new && second.place(&domain("b.example"), 2).unwrap().version() > 1);
    }

    #[test]
    fn what_lies_where_a_key_file_is_written_first_decides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (dir.path().join("ann.key"), dir.path().join("elsewhere"));
        std::fs::write(&elsewhere, "mine").unwrap();
        std::os::unix::fs::symlink(&elsewhere, dir.path().join("ann.key.new")).unwrap();
        KeyFile::open_or_create(&path, true).unwrap();
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "mine");
        std::fs::write(dir.path().join("ann.key.new"), "").unwrap();
        let (mut keys, _) = KeyFile::open_or_create(&path, true).unwrap();
        keys.place(&domain("a.example"), 1).unwrap();
        assert_eq!(path.symlink_metadata().unwrap().permissions().mode(), 0o100_600);
    }

    #[test]
    fn what_is_no_key_file_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ann.key");
        KeyFile::open_or_create(&path, false).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        for text in ["hello", "", &good.replace("signing = \"", "signing = \"0"), &good.replace("nonce", "nonse")] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(KeyFile::open_or_create(&path, true), Err(KeyFileError::Unreadable { .. })), "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
