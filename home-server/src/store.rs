//! What of a node outlives its process: one redb database in the data directory.
//!
//! | table | holds |
//! | --- | --- |
//! | `meta` | the layout's version, the node's secret key, its card's sequence, how long it has run, whether it has left |
//! | `contacts` | where to begin after a restart |
//! | `records` | what this node holds for the network, each with when it was kept |
//! | `strays` | which of these wait to be handed on |
//! | `homed` | the newest records of the users who live here, whoever holds them |
//!
//! One transaction a turn, on disk before any message of that turn leaves; a turn with nothing to keep has none. Redb
//! survives a kill at any moment, and locks its file, so that no second process can be the same node.

use async_trait::async_trait;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use routing_core::canonical;
use routing_core::contact::Contact;
use routing_core::driver::{Durable, KeepError, Keeper};
use routing_core::id::Key;
use routing_core::key::SecretKey;
use routing_core::message::Copy;
use routing_core::record::Record;
use routing_core::state::Kept;
use routing_core::time::Ticks;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The file in the data directory that holds everything.
pub const FILE: &str = "node.redb";
/// Its name until it is a database.
const NEW_FILE: &str = "node.redb.new";
/// The layout of the database that this release reads and writes.
const VERSION: u32 = 1;
/// What redb may keep of the file in memory. Records are held in memory anyway, so this serves writing only.
const CACHE_BYTES: usize = 32 << 20;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const CONTACTS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("contacts");
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const STRAYS: TableDefinition<'_, &[u8], ()> = TableDefinition::new("strays");
const HOMED: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("homed");

/// A record as it lies on disk. Age is running time: what the copy had when it was kept, and what this node has run since.
#[derive(Serialize, Deserialize)]
struct KeptCopy {
    /// How long the node had run, in all its lives, when this was kept.
    at: Ticks,
    copy: Copy,
}

/// Why there is no store. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it.
    #[error("{0} is in use by another home-server: stop that one first, or name another directory with --data")]
    InUse(PathBuf),
    /// A later release wrote it, or it is not a node's database at all.
    #[error(
        "{path} has layout {found}, this release knows layout {VERSION} only: run the release that wrote it, or a later one"
    )]
    UnknownVersion {
        /// The database.
        path: PathBuf,
        /// The layout that it says it has.
        found: String,
    },
    /// There is no node in this directory.
    #[error("there is no node in {0}: name the directory that its server ran with")]
    NoNode(PathBuf),
    /// The node has left the network for good.
    #[error("the node in {0} has left the network for good: begin anew with another directory")]
    HasLeft(PathBuf),
    /// The file is not a database, or damaged.
    #[error("{path} cannot be read: {source}; restore it from a back-up, or begin anew with another directory")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What redb says.
        source: redb::Error,
    },
    /// The system refuses.
    #[error("{path} cannot be used: {source}; check the directory's owner, its rights and the free space")]
    Io {
        /// What was to be used.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl StoreError {
    /// What redb says of the database at `path`. That the disk is full or fails says nothing about the file.
    fn of_redb(path: &Path, error: redb::Error) -> Self {
        let path = path.to_owned();
        match error {
            // So a file is refused that is none of redb's.
            redb::Error::Io(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
                StoreError::Damaged { path, source: redb::Error::Io(error) }
            }
            redb::Error::Io(source) => StoreError::Io { path, source },
            source => StoreError::Damaged { path, source },
        }
    }

    /// Whether the same attempt may do later, though nobody has changed a setting or a file of the node: there was no room.
    pub fn may_pass(&self) -> bool {
        let no_room = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
        matches!(self, StoreError::Io { source, .. } if no_room.contains(&source.kind()))
    }
}

/// A node's database, with what it has counted. Shared by the node's keeper and whoever asks how it is.
#[derive(Debug)]
pub struct Store {
    database: Database,
    opened: Instant,
    /// How long the node had run before.
    ran: Ticks,
    commits: AtomicU64,
    commit_micros: AtomicU64,
    last_commit_ms: AtomicU64,
    remembered: AtomicU64,
}

/// What a data directory holds.
#[derive(Debug)]
pub struct Opened {
    /// The store, to go on with.
    pub store: Arc<Store>,
    /// The node's key: made when the directory was new, the same ever after.
    pub secret: Arc<SecretKey>,
    /// What the node begins with.
    pub kept: Kept,
    /// How many entries were left out since they could not be read.
    pub unreadable: usize,
}

impl Store {
    /// Opens the database in `dir`; makes both if they are not there, readable by their owner only. After a kill this
    /// reads the whole file once, which takes a second for some hundred megabytes.
    pub fn open(dir: &Path) -> Result<Opened, StoreError> {
        let path = dir.join(FILE);
        let database = create(dir, &path)?;
        let refused = |source| StoreError::of_redb(&path, source);
        match read_version(&database).map_err(refused)? {
            None => begin(&database).map_err(refused)?,
            Some(version) if version == VERSION.to_be_bytes() => {}
            Some(version) => {
                let version = version.try_into().map(u32::from_be_bytes);
                let found = version.map_or("unknown".to_owned(), |version| version.to_string());
                return Err(StoreError::UnknownVersion { path, found });
            }
        }
        let (meta, kept, unreadable) = load(&database).map_err(refused)?;
        if meta.has_left {
            return Err(StoreError::HasLeft(dir.to_owned()));
        }
        let Ok(seed) = <[u8; 32]>::try_from(meta.secret) else {
            return Err(refused(redb::Error::Corrupted("the node's key is not 32 bytes long".to_owned())));
        };
        let store = Store {
            database,
            opened: Instant::now(),
            ran: meta.ran,
            commits: AtomicU64::new(0),
            commit_micros: AtomicU64::new(0),
            last_commit_ms: AtomicU64::new(0),
            remembered: AtomicU64::new(kept.contacts.len() as u64),
        };
        Ok(Opened { store: Arc::new(store), secret: Arc::new(SecretKey::from_seed(seed)), kept, unreadable })
    }

    /// The same for a node that must be there already: makes nothing.
    pub fn open_existing(dir: &Path) -> Result<Opened, StoreError> {
        if !dir.join(FILE).exists() {
            return Err(StoreError::NoNode(dir.to_owned()));
        }
        Self::open(dir)
    }

    /// Notes the sequence of the card that the node begins with, before it shows it to anybody.
    pub fn begin(&self, sequence: u64) -> Result<(), redb::Error> {
        self.write(|transaction| set(transaction, "sequence", &sequence.to_be_bytes()))
    }

    /// Makes a batch durable: all of it or nothing. Waits for the disk.
    pub fn commit(&self, batch: &[Durable]) -> Result<(), redb::Error> {
        let at = self.running();
        self.write(|transaction| {
            for durable in batch {
                put(transaction, at, durable)?;
            }
            Ok(())
        })?;
        for durable in batch {
            if let Durable::Remember(contacts) = durable {
                self.remembered.store(contacts.len() as u64, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Notes that the node has left for good: others hold now what it held, and its key is never to be used again.
    pub fn leave(&self) -> Result<(), redb::Error> {
        self.write(|transaction| {
            transaction.delete_table(RECORDS)?;
            transaction.delete_table(STRAYS)?;
            transaction.delete_table(HOMED)?;
            transaction.delete_table(CONTACTS)?;
            set(transaction, "left", &[1])
        })
    }

    /// How many contacts there are to begin with after a restart.
    pub fn remembered(&self) -> u64 {
        self.remembered.load(Ordering::Relaxed)
    }

    /// How many transactions there were since the start, how many microseconds they took in all, and when the last one
    /// ended, in milliseconds since 1970.
    pub fn commits(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.commits), read(&self.commit_micros), read(&self.last_commit_ms))
    }

    /// How long the node has run, in all its lives.
    fn running(&self) -> Ticks {
        self.ran + Ticks(self.opened.elapsed().as_millis() as u64)
    }

    fn write(&self, change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) -> Result<(), redb::Error> {
        let began = Instant::now();
        let transaction = self.database.begin_write()?;
        change(&transaction)?;
        set(&transaction, "ran", &self.running().0.to_be_bytes())?;
        transaction.commit()?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.commit_micros.fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
        self.last_commit_ms.store(unix_ms(), Ordering::Relaxed);
        Ok(())
    }
}

/// The [`Keeper`] of the node whose store it is.
#[derive(Debug)]
pub struct StoreKeeper(pub Arc<Store>);

#[async_trait]
impl Keeper for StoreKeeper {
    /// The disk is waited for on a thread that may wait. The node does nothing meanwhile, as it must; links, timers and
    /// everything else of the process go on.
    async fn commit(&mut self, batch: &[Durable]) -> Result<(), KeepError> {
        let (store, batch) = (self.0.clone(), batch.to_vec());
        tokio::task::spawn_blocking(move || store.commit(&batch)).await??;
        Ok(())
    }
}

/// Milliseconds since 1970, by the system's clock.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn create(dir: &Path, path: &Path) -> Result<Database, StoreError> {
    let refused = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Io { path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(refused(dir))?;
    let open = |path: &Path| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(refused(path))
    };
    let database = |path: &Path, file| {
        let opened = FileBackend::new(file)
            .and_then(|backend| Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend));
        opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(dir.to_owned()),
            other => StoreError::of_redb(path, other.into()),
        })
    };
    if !path.exists() {
        // Made under another name: a process that is killed meanwhile leaves no file that is none of redb's under this one.
        let new = dir.join(NEW_FILE);
        let file = open(&new)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(dir.to_owned())),
            Err(TryLockError::Error(source)) => return Err(refused(&new)(source)),
        }
        // Whoever had the lock before may have finished.
        if !path.exists() {
            file.set_len(0).map_err(refused(&new))?;
            let made = database(&new, file)?;
            std::fs::rename(&new, path).map_err(refused(path))?;
            // Else a power cut could take the file's name with all that is in it.
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(refused(dir))?;
            return Ok(made);
        }
    }
    database(path, open(path)?)
}

fn read_version(database: &Database) -> Result<Option<Vec<u8>>, redb::Error> {
    match database.begin_read()?.open_table(META) {
        Ok(meta) => Ok(meta.get("version")?.map(|version| version.value().to_vec())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes what a new database begins with: a key that nobody has.
fn begin(database: &Database) -> Result<(), redb::Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| redb::Error::Io(error.into()))?;
    let transaction = database.begin_write()?;
    set(&transaction, "version", &VERSION.to_be_bytes())?;
    set(&transaction, "secret", &seed)?;
    transaction.commit()?;
    Ok(())
}

struct Meta {
    secret: Vec<u8>,
    ran: Ticks,
    has_left: bool,
}

fn load(database: &Database) -> Result<(Meta, Kept, usize), redb::Error> {
    // One that was killed before its first turn lacks tables. Made here, so that reading needs no cases.
    let transaction = database.begin_write()?;
    let (mut kept, mut unreadable) = (Kept::default(), 0);
    let meta = {
        let table = transaction.open_table(META)?;
        let bytes = |name| Ok::<_, redb::Error>(table.get(name)?.map_or(Vec::new(), |value| value.value().to_vec()));
        let number = |name| Ok::<_, redb::Error>(bytes(name)?.try_into().map_or(0, u64::from_be_bytes));
        // Others take up only newer cards than they know. A directory from a back-up may have an older number than this
        // node has shown since, but not one beyond the time of day.
        kept.sequence = number("sequence")?.max(unix_ms() / 1_000);
        Meta { secret: bytes("secret")?, ran: Ticks(number("ran")?), has_left: table.get("left")?.is_some() }
    };
    for entry in transaction.open_table(CONTACTS)?.iter()? {
        match canonical::from_bytes::<Contact>(entry?.1.value()) {
            Ok(contact) => kept.contacts.push(Arc::new(contact)),
            Err(_) => unreadable += 1,
        }
    }
    for entry in transaction.open_table(RECORDS)?.iter()? {
        match canonical::from_bytes::<KeptCopy>(entry?.1.value()) {
            Ok(KeptCopy { at, mut copy }) => {
                copy.age = copy.age + Ticks(meta.ran.0.saturating_sub(at.0));
                kept.copies.push(copy);
            }
            Err(_) => unreadable += 1,
        }
    }
    for entry in transaction.open_table(STRAYS)?.iter()? {
        match canonical::from_bytes::<Key>(entry?.0.value()) {
            Ok(key) => kept.strays.push(key),
            Err(_) => unreadable += 1,
        }
    }
    for entry in transaction.open_table(HOMED)?.iter()? {
        match canonical::from_bytes::<Record>(entry?.1.value()) {
            Ok(record) => kept.homed.push(Arc::new(record)),
            Err(_) => unreadable += 1,
        }
    }
    transaction.commit()?;
    Ok((meta, kept, unreadable))
}

fn set(transaction: &WriteTransaction, name: &str, value: &[u8]) -> Result<(), redb::Error> {
    transaction.open_table(META)?.insert(name, value)?;
    Ok(())
}

fn put(transaction: &WriteTransaction, at: Ticks, durable: &Durable) -> Result<(), redb::Error> {
    match durable {
        Durable::Keep(copy) => {
            let value = canonical::to_bytes(&KeptCopy { at, copy: (**copy).clone() });
            transaction.open_table(RECORDS)?.insert(&*canonical::to_bytes(&copy.record.key()), &*value)?;
        }
        Durable::Forget(key) => {
            let key = canonical::to_bytes(key);
            transaction.open_table(RECORDS)?.remove(&*key)?;
            transaction.open_table(STRAYS)?.remove(&*key)?;
        }
        Durable::Stray(key, true) => {
            transaction.open_table(STRAYS)?.insert(&*canonical::to_bytes(key), ())?;
        }
        Durable::Stray(key, false) => {
            transaction.open_table(STRAYS)?.remove(&*canonical::to_bytes(key))?;
        }
        Durable::Home(record) => {
            let key = canonical::to_bytes(&record.guid());
            transaction.open_table(HOMED)?.insert(&*key, &*canonical::to_bytes(&**record))?;
        }
        Durable::MovedOut(guid) => {
            transaction.open_table(HOMED)?.remove(&*canonical::to_bytes(guid))?;
        }
        Durable::Remember(contacts) => {
            let mut table = transaction.open_table(CONTACTS)?;
            table.retain(|_, _| false)?;
            for (index, contact) in (0..).zip(contacts) {
                table.insert(index, &*canonical::to_bytes(&**contact))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing_core::account::Account;
    use routing_core::contact::{Standing, Versions};
    use std::os::unix::fs::PermissionsExt;

    fn copy(seed: u8, age: Ticks) -> Arc<Copy> {
        let record = Account::new([seed; 32], None, [0; 16]).place("chat.example".parse().unwrap(), 1);
        Arc::new(Copy { record: Arc::new(record), rival: None, age })
    }

    fn contact(seed: u8) -> Arc<Contact> {
        let secret = SecretKey::from_seed([seed; 32]);
        let address = format!("n{seed}.example").parse().unwrap();
        Arc::new(Contact::sign(&secret, address, 1, Standing::Here, Versions::CURRENT))
    }

    #[test]
    fn what_was_committed_is_there_again_and_only_the_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("data");
        let (one, two, gone) = (copy(1, Ticks(5)), copy(2, Ticks(0)), copy(3, Ticks(0)));
        let first = Store::open(&dir).unwrap();
        assert_eq!(first.kept, Kept { sequence: first.kept.sequence, ..Kept::default() });
        let secret = first.secret.public();
        first.store.begin(u64::MAX - 9).unwrap();
        let key = |copy: &Copy| copy.record.key();
        let batch = [
            Durable::Keep(one.clone()),
            Durable::Keep(gone.clone()),
            Durable::Stray(key(&gone), true),
            Durable::Remember(vec![contact(1), contact(2)]),
            Durable::Keep(two.clone()),
            Durable::Home(one.record.clone()),
            Durable::Home(gone.record.clone()),
        ];
        first.store.commit(&batch).unwrap();
        let stray = Durable::Stray(key(&two), true);
        let moved_out = Durable::MovedOut(gone.record.guid());
        let remember = Durable::Remember(vec![contact(3)]);
        first.store.commit(&[Durable::Forget(key(&gone)), stray, moved_out, remember]).unwrap();
        assert_eq!((first.store.commits().0, first.store.remembered()), (3, 1));
        drop(first);

        let again = Store::open(&dir).unwrap();
        assert_eq!((again.secret.public(), again.unreadable), (secret, 0));
        assert_eq!(again.kept.sequence, u64::MAX - 9);
        assert_eq!((again.kept.contacts, again.kept.strays), (vec![contact(3)], vec![key(&two)]));
        assert_eq!((again.kept.homed, again.store.remembered()), (vec![one.record.clone()], 1));
        let mut records: Vec<_> = again.kept.copies.iter().map(|copy| copy.record.clone()).collect();
        let mut kept = vec![one.record.clone(), two.record.clone()];
        records.sort_by_key(|record| record.key());
        kept.sort_by_key(|record| record.key());
        assert_eq!(records, kept);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join(FILE))), (0o700, 0o600));
    }

    #[test]
    fn age_is_running_time_over_all_lives() {
        let dir = tempfile::tempdir().unwrap();
        let opened = Store::open(dir.path()).unwrap();
        let store = opened.store;
        let set_ran = |ran: u64| {
            store.write(|_| Ok(())).and_then(|()| {
                let transaction = store.database.begin_write()?;
                set(&transaction, "ran", &ran.to_be_bytes())?;
                Ok(transaction.commit()?)
            })
        };
        store.commit(&[Durable::Keep(copy(1, Ticks::minutes(1)))]).unwrap();
        set_ran(3_600_000).unwrap();
        drop(store);
        let age = Store::open(dir.path()).unwrap().kept.copies[0].age;
        assert!(age >= Ticks::minutes(60) && age <= Ticks::minutes(61), "{age}");
    }

    #[test]
    fn a_directory_has_one_process_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Store::open(dir.path()).unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::InUse(_)) && error.to_string().contains("in use"), "{error}");
    }

    #[test]
    fn what_this_release_does_not_know_or_may_not_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap().store;
        store.write(|transaction| set(transaction, "version", &2u32.to_be_bytes())).unwrap();
        drop(store);
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(&error, StoreError::UnknownVersion { found, .. } if found == "2"), "{error}");

        let dir = tempfile::tempdir().unwrap();
        Store::open(dir.path()).unwrap().store.leave().unwrap();
        assert!(matches!(Store::open(dir.path()).unwrap_err(), StoreError::HasLeft(_)));

        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), b"something else that is long enough to look like a file").unwrap();
        assert!(matches!(Store::open(dir.path()).unwrap_err(), StoreError::Damaged { .. }));

        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Store::open_existing(dir.path()).unwrap_err(), StoreError::NoNode(_)));
        assert!(!dir.path().join(FILE).exists(), "nothing was made");
    }

    #[test]
    fn a_disk_without_room_is_not_taken_for_a_damaged_file_and_may_have_room_later() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join(FILE)).unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
        let io = |kind: ErrorKind| StoreError::of_redb(dir.path(), redb::Error::Io(kind.into()));
        assert!(io(ErrorKind::StorageFull).may_pass() && !io(ErrorKind::PermissionDenied).may_pass());
        assert!(
            !io(ErrorKind::InvalidData).may_pass() && matches!(io(ErrorKind::InvalidData), StoreError::Damaged { .. })
        );
    }

    #[test]
    fn a_database_that_a_killed_process_had_not_finished_making_is_begun_anew_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let [new, file] = [NEW_FILE, FILE].map(|name| dir.path().join(name));
        File::create(&new).unwrap().set_len(1 << 20).unwrap();
        let making = File::open(&new).unwrap();
        making.lock().unwrap();
        assert!(matches!(Store::open(dir.path()).unwrap_err(), StoreError::InUse(_)));
        drop(making);
        let first = Store::open(dir.path()).unwrap();
        assert!(file.exists() && !new.exists());
        first.store.commit(&[Durable::Keep(copy(1, Ticks(0)))]).unwrap();
        drop(first);
        assert_eq!(Store::open(dir.path()).unwrap().kept.copies.len(), 1);
        std::fs::write(&file, [0; 8_192]).unwrap();
        assert!(matches!(Store::open(dir.path()).unwrap_err(), StoreError::Damaged { .. }));
        assert_eq!(file.metadata().unwrap().len(), 8_192, "it may be all that is left of a key");
    }
}
