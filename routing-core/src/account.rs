//! What a client holds to write its own records: its keys, and where its identity stands.
//!
//! An account never leaves its owner's machine. It knows nothing of the network: what it writes is handed to a node to
//! register, and what was found there is taken up again with [`Account::adopt`].

use crate::domain::Domain;
use crate::id::Guid;
use crate::key::{PublicKey, SecretKey};
use crate::record::{
    Body, CHANGES_MAX, CLAIM_TEXT_MAX, Claim, ClaimKind, ClaimValue, Genesis, KeyChange, Placement, Record,
    RecordError, Residence, Signer, cmp_chain, newest,
};

/// The keys of one identity, and the state that its next record continues.
///
/// Two clones that both write are a fork: their records contradict each other, and the network tells everybody.
#[derive(Clone, Debug)]
pub struct Account {
    signing: SecretKey,
    recovery: Option<SecretKey>,
    genesis: Genesis,
    guid: Guid,
    /// The key changes that our records carry; the last of them put our signing key in force.
    changes: Vec<KeyChange>,
    /// The newest chain known up to its last recovery: what a recovery of ours follows.
    recovered: Vec<KeyChange>,
    version: u64,
}

/// Why an account could not do as asked. The account is unchanged, unless the variant says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The record belongs to another identity.
    #[error("the record belongs to another identity")]
    NotOurs,
    /// The record is not valid.
    #[error("the record is not valid: {0}")]
    Invalid(#[from] RecordError),
    /// A later key change put another signing key in force. Where it went on from is remembered: recover, then write.
    #[error("another signing key is in force: recover the account with its recovery key")]
    SigningKeyReplaced,
    /// Neither of our keys is in force in that record. A recovery from where the account stands still wins if it makes
    /// more recoveries than the record has.
    #[error("neither key of this account is in force in the record")]
    Lost,
    /// There is no recovery key, or it is no longer in force.
    #[error("the account holds no recovery key that is in force")]
    NoRecoveryKey,
    /// The record has no room for another key change. A recovery drops the rotations since the one before it.
    #[error("an identity has at most {CHANGES_MAX} key changes")]
    TooManyChanges,
    /// The text to claim is too long.
    #[error("a claimed text has at most {CLAIM_TEXT_MAX} bytes")]
    TextTooLong,
}

impl Account {
    /// A new identity. The seeds are secret and must come from a cryptographic generator, except in simulations; a
    /// client gives a recovery seed unless its user insists.
    pub fn new(signing_seed: [u8; 32], recovery_seed: Option<[u8; 32]>, nonce: [u8; 16]) -> Self {
        let signing = SecretKey::from_seed(signing_seed);
        let recovery = recovery_seed.map(SecretKey::from_seed);
        let genesis = Genesis { signing: signing.public(), recovery: recovery.as_ref().map(SecretKey::public), nonce };
        let guid = genesis.guid();
        Self { signing, recovery, genesis, guid, changes: Vec::new(), recovered: Vec::new(), version: 0 }
    }

    /// An account for an identity that began with other keys, from a recovery key that is in force: what is left to
    /// somebody who kept only that and finds his record in the network. [`Account::recover`] comes next.
    ///
    /// The signing seed may be any: it signs nothing that wins before the recovery replaces it.
    pub fn restore(record: &Record, signing_seed: [u8; 32], recovery_seed: [u8; 32]) -> Result<Self, AccountError> {
        let mut account = Self {
            signing: SecretKey::from_seed(signing_seed),
            recovery: Some(SecretKey::from_seed(recovery_seed)),
            genesis: record.genesis().clone(),
            guid: record.guid(),
            changes: Vec::new(),
            recovered: Vec::new(),
            version: 0,
        };
        match account.adopt(record) {
            Ok(()) | Err(AccountError::SigningKeyReplaced) => Ok(account),
            Err(error) => Err(error),
        }
    }

    /// The identity.
    pub fn guid(&self) -> Guid {
        self.guid
    }

    /// The public half of the signing key that the next record is signed with.
    pub fn signing_key(&self) -> PublicKey {
        self.signing.public()
    }

    /// The version of the last record written or adopted; 0 before the first.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Writes that the user lives at `home` from now on.
    pub fn place(&mut self, home: Domain, issued_ms: u64) -> Record {
        self.placement(Residence::Home(home), issued_ms)
    }

    /// Writes the tombstone. A later [`Account::place`] reopens the account.
    pub fn close(&mut self, issued_ms: u64) -> Record {
        self.placement(Residence::Closed, issued_ms)
    }

    /// Claims a username for this identity.
    pub fn claim_name(&mut self, text: &str, issued_ms: u64) -> Result<Record, AccountError> {
        self.claim(ClaimKind::Name, text, ClaimValue::User(self.guid), issued_ms)
    }

    /// Claims an id from an older system for the home-server `home`.
    pub fn claim_legacy(&mut self, text: &str, home: Domain, issued_ms: u64) -> Result<Record, AccountError> {
        self.claim(ClaimKind::Legacy, text, ClaimValue::Home(home), issued_ms)
    }

    /// Replaces the signing key, signed by the one before it. The next record carries the change.
    ///
    /// It protects nothing against somebody who has the old key: that takes [`Account::recover`].
    pub fn rotate(&mut self, new_signing_seed: [u8; 32]) -> Result<(), AccountError> {
        if self.changes.len() >= CHANGES_MAX {
            return Err(AccountError::TooManyChanges);
        }
        let signing = SecretKey::from_seed(new_signing_seed);
        let recovery = self.changes.last().map_or(self.genesis.recovery, |change| change.recovery);
        let follows = newest(&self.guid, &self.changes);
        let change = KeyChange::signed(&self.guid, follows, Signer::Signing, &self.signing, signing.public(), recovery);
        self.changes.push(change);
        self.signing = signing;
        self.renew_versions();
        Ok(())
    }

    /// Replaces the signing key, and the recovery key too if a new one is given, signed by the recovery key. Whatever
    /// was signed with fewer recoveries loses against it. The next record carries the change.
    ///
    /// It follows the newest recovery known and so cuts off the rotations after it: they have lost their meaning, and
    /// a thief who filled all [`CHANGES_MAX`] places with his own must not be able to prevent a recovery.
    pub fn recover(
        &mut self,
        new_signing_seed: [u8; 32],
        new_recovery_seed: Option<[u8; 32]>,
    ) -> Result<(), AccountError> {
        let in_force = self.recovered.last().map_or(self.genesis.recovery, |change| change.recovery);
        let old = self.recovery.clone().filter(|key| Some(key.public()) == in_force);
        let old = old.ok_or(AccountError::NoRecoveryKey)?;
        if self.recovered.len() >= CHANGES_MAX {
            return Err(AccountError::TooManyChanges);
        }
        let signing = SecretKey::from_seed(new_signing_seed);
        let recovery = new_recovery_seed.map_or_else(|| old.clone(), SecretKey::from_seed);
        let follows = newest(&self.guid, &self.recovered);
        let (new_signing, new_recovery) = (signing.public(), Some(recovery.public()));
        let change = KeyChange::signed(&self.guid, follows, Signer::Recovery, &old, new_signing, new_recovery);
        self.recovered.push(change);
        self.changes = self.recovered.clone();
        self.signing = signing;
        self.recovery = Some(recovery);
        self.renew_versions();
        Ok(())
    }

    /// Continues from a record of this identity that was found in the network, the newest one best. A lesser one than
    /// the account knows changes nothing.
    pub fn adopt(&mut self, record: &Record) -> Result<(), AccountError> {
        if record.guid() != self.guid {
            return Err(AccountError::NotOurs);
        }
        record.verify()?;
        if cmp_chain(record.changes(), &self.changes).is_lt() {
            return Ok(());
        }
        if record.signing_key() == self.signing.public() {
            self.recovered = up_to_last_recovery(record.changes());
            self.changes = record.changes().to_vec();
            self.version = self.version.max(record.version());
            return Ok(());
        }
        if record.recovery_key().is_some() && record.recovery_key() == self.recovery.as_ref().map(SecretKey::public) {
            self.recovered = up_to_last_recovery(record.changes());
            return Err(AccountError::SigningKeyReplaced);
        }
        Err(AccountError::Lost)
    }

    fn placement(&mut self, at: Residence, issued_ms: u64) -> Record {
        let version = self.next_version();
        self.sign(Body::Placement(Placement { version, at, issued_ms }))
    }

    fn claim(
        &mut self,
        kind: ClaimKind,
        text: &str,
        value: ClaimValue,
        issued_ms: u64,
    ) -> Result<Record, AccountError> {
        if text.len() > CLAIM_TEXT_MAX {
            return Err(AccountError::TextTooLong);
        }
        let version = self.next_version();
        Ok(self.sign(Body::Claim(Claim { kind, text: text.into(), version, value, issued_ms })))
    }

    fn sign(&self, body: Body) -> Record {
        Record::signed(self.genesis.clone(), self.changes.clone(), body, &self.signing)
    }

    fn next_version(&mut self) -> u64 {
        self.version = self.version.saturating_add(1);
        self.version
    }

    /// Versions only compete under equal key changes. A thief may have published one near the end of the numbers;
    /// with the keys changed they can begin anew.
    fn renew_versions(&mut self) {
        if self.version > u64::MAX / 2 {
            self.version = 0;
        }
    }
}

fn up_to_last_recovery(changes: &[KeyChange]) -> Vec<KeyChange> {
    let length = changes.iter().rposition(|change| change.by == Signer::Recovery).map_or(0, |index| index + 1);
    changes[..length].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        text.parse().unwrap()
    }

    fn account() -> Account {
        Account::new([1; 32], Some([2; 32]), [3; 16])
    }

    #[test]
    fn what_an_account_writes_is_valid_and_each_record_outranks_the_one_before() {
        let mut account = account();
        let mut records = vec![account.place(domain("a.example"), 1), account.place(domain("b.example"), 2)];
        account.rotate([4; 32]).unwrap();
        records.push(account.place(domain("c.example"), 3));
        account.recover([5; 32], Some([6; 32])).unwrap();
        records.push(account.close(4));
        account.rotate([7; 32]).unwrap();
        records.push(account.place(domain("d.example"), 5));
        account.recover([8; 32], None).unwrap();
        records.push(account.place(domain("e.example"), 6));
        for (record, version) in records.iter().zip(1..) {
            assert_eq!(record.verify(), Ok(()));
            assert_eq!((record.guid(), record.version()), (account.guid(), version));
        }
        assert!(records.windows(2).all(|pair| pair[1].outranks(&pair[0])));
        assert_eq!(records.iter().map(|record| record.changes().len()).collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2]);
        assert_eq!(records[5].signing_key(), account.signing_key());
    }

    #[test]
    fn another_device_continues_from_the_newest_record() {
        let (mut here, mut there) = (account(), account());
        for name in ["a.example", "b.example"] {
            there.adopt(&here.place(domain(name), 0)).unwrap();
        }
        assert_eq!(there.place(domain("c.example"), 0).version(), 3);
        here.rotate([4; 32]).unwrap();
        let rotated = here.place(domain("d.example"), 0);
        assert_eq!(there.adopt(&rotated), Err(AccountError::SigningKeyReplaced));
        there.recover([5; 32], None).unwrap();
        assert!(there.place(domain("e.example"), 0).outranks(&rotated));
        assert_eq!(there.adopt(&rotated), Ok(()), "a lesser record changes nothing");
        let other = Account::new([1; 32], None, [0; 16]).place(domain("a.example"), 0);
        assert_eq!(here.adopt(&other), Err(AccountError::NotOurs));
    }

    #[test]
    fn the_recovery_key_alone_restores_an_account() {
        let mut owner = account();
        owner.recover([4; 32], Some([5; 32])).unwrap();
        owner.rotate([6; 32]).unwrap();
        let lost = owner.place(domain("a.example"), 0);
        let mut restored = Account::restore(&lost, [7; 32], [5; 32]).unwrap();
        restored.recover([8; 32], None).unwrap();
        let record = restored.place(domain("b.example"), 0);
        assert_eq!(record.verify(), Ok(()));
        assert!(record.outranks(&lost));
        assert_eq!(Account::restore(&lost, [7; 32], [2; 32]).unwrap_err(), AccountError::Lost);
    }

    #[test]
    fn a_thief_who_fills_the_chain_and_spends_the_versions_does_not_prevent_a_recovery() {
        let mut owner = account();
        let mut thief = owner.clone();
        for seed in 0..CHANGES_MAX as u8 {
            thief.rotate([100 + seed; 32]).unwrap();
        }
        assert_eq!(thief.rotate([0; 32]), Err(AccountError::TooManyChanges));
        thief.version = u64::MAX - 1;
        let stolen = thief.place(domain("thief.example"), 0);
        assert_eq!(owner.adopt(&stolen), Err(AccountError::SigningKeyReplaced));
        owner.recover([4; 32], Some([5; 32])).unwrap();
        let record = owner.place(domain("a.example"), 0);
        assert_eq!(record.verify(), Ok(()));
        assert!(record.outranks(&stolen));

        // The same with the owner's own key: versions begin anew when the keys change.
        let mut thief = owner.clone();
        thief.version = u64::MAX - 1;
        owner.adopt(&thief.place(domain("thief.example"), 0)).unwrap();
        owner.rotate([6; 32]).unwrap();
        assert_eq!(owner.place(domain("a.example"), 0).version(), 1);
    }

    #[test]
    fn without_a_recovery_key_there_is_no_recovery() {
        let mut account = Account::new([1; 32], None, [0; 16]);
        assert_eq!(account.recover([2; 32], Some([3; 32])), Err(AccountError::NoRecoveryKey));
        assert_eq!(account.place(domain("a.example"), 0).verify(), Ok(()));
    }

    #[test]
    fn claims_are_valid_and_bounded() {
        let mut account = account();
        let name = account.claim_name("ann", 0).unwrap();
        let legacy = account.claim_legacy("@ann:old.example", domain("a.example"), 0).unwrap();
        assert_eq!((name.verify(), legacy.verify()), (Ok(()), Ok(())));
        assert_eq!(account.claim_name(&"x".repeat(256), 0), Err(AccountError::TextTooLong));
    }
}
