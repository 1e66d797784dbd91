//! The keyring: the only type that seals and opens.
//!
//! It holds the root's subkeys (not the root key itself) and the unwrapped keys of a bounded number
//! of tenants. Beyond the bound the tenant used longest ago is dropped; using it again gives
//! [`Error::TenantNotLoaded`], and the caller loads its key from the store and tries again.
//!
//! All methods take `&self` and may run on many threads at once; readers share a lock that is never
//! held over a system call or a hash of a password. Sealing and opening cost microseconds.
//!
//! A new tenant's key: [`Keyring::create_tenant_key`], then store it if the store has none, then
//! [`Keyring::load_tenant_key`] with what *the store* holds. So two servers that create one tenant
//! at once end up with one key.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair},
};
use pentad_model::{Path, Sealed, Secret, Stage, Tenant, id::Entropy, secret::Fingerprint};
use subtle::ConstantTimeEq;

use crate::{
    Error, RootCheck, RootKey,
    associated::Associated,
    derive::Key,
    document::Document,
    envelope::{self, Binding},
    framed::{FileKey, SALT_LEN, Sort},
    root::check_value,
    tenant::{self, TenantKeys, WrappedTenantKey},
};

/// How many tenants' keys are held unless told otherwise: about 3 KiB each.
pub const DEFAULT_CAPACITY: usize = 4096;

/// Seals, opens and authenticates. Neither `Clone` nor `Debug`.
pub struct Keyring {
    entropy: Arc<dyn Entropy>,
    tenant_wrapping: Key,
    backup: Key,
    audit: hmac::Key,
    token: hmac::Key,
    checkpoint: Ed25519KeyPair,
    check: RootCheck,
    tenants: RwLock<HashMap<Tenant, Arc<TenantKeys>>>,
    capacity: usize,
    uses: AtomicU64,
}

impl Keyring {
    /// A keyring under `root`, with no tenant loaded.
    ///
    /// # Errors
    /// [`Error::Primitive`] only.
    pub fn new(root: RootKey, entropy: Arc<dyn Entropy>) -> Result<Self, Error> {
        Self::with_capacity(root, entropy, DEFAULT_CAPACITY)
    }

    /// As [`Keyring::new`], holding the keys of at most `capacity` tenants (at least one).
    ///
    /// # Errors
    /// [`Error::Primitive`] only.
    pub fn with_capacity(
        root: RootKey,
        entropy: Arc<dyn Entropy>,
        capacity: usize,
    ) -> Result<Self, Error> {
        let root = root.0;
        let checkpoint = root.subkey("pentad/1/root/checkpoint-signing")?;
        Ok(Self {
            entropy,
            tenant_wrapping: root.subkey("pentad/1/root/tenant-wrapping")?,
            backup: root.subkey("pentad/1/root/backup")?,
            audit: root.subkey("pentad/1/root/audit")?.hmac(),
            token: root.subkey("pentad/1/root/token")?.hmac(),
            checkpoint: Ed25519KeyPair::from_seed_unchecked(checkpoint.expose())
                .map_err(|_| Error::Primitive)?,
            check: check_value(&root)?,
            tenants: RwLock::default(),
            capacity: capacity.max(1),
            uses: AtomicU64::new(0),
        })
    }

    /// A new wrapped key for `tenant`. It is *not* loaded: see the module's note.
    ///
    /// # Errors
    /// [`Error::Primitive`] only.
    pub fn create_tenant_key(&self, tenant: &Tenant) -> Result<WrappedTenantKey, Error> {
        tenant::create(&self.tenant_wrapping, tenant, self.entropy.as_ref())
    }

    /// Unwraps a tenant's key and holds it. Loading the same key again does nothing.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the document was altered or belongs to another root key;
    /// [`Error::TenantKeyConflict`] if another key of that tenant is loaded.
    pub fn load_tenant_key(&self, stored: &WrappedTenantKey) -> Result<(), Error> {
        let keys = tenant::unwrap(&self.tenant_wrapping, stored)?;
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = tenants.get(stored.tenant()) {
            return if loaded.id == keys.id {
                Ok(())
            } else {
                Err(Error::TenantKeyConflict(stored.tenant().clone()))
            };
        }
        if tenants.len() >= self.capacity {
            evict_longest_unused(&mut tenants);
        }
        self.mark_used(&keys);
        tenants.insert(stored.tenant().clone(), Arc::new(keys));
        Ok(())
    }

    /// Whether the tenant's key is loaded. It may be dropped right after: rather act on
    /// [`Error::TenantNotLoaded`].
    pub fn has_tenant(&self, tenant: &Tenant) -> bool {
        self.tenants
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(tenant)
    }

    /// Seals a value for its place.
    ///
    /// # Errors
    /// [`Error::TenantNotLoaded`], [`Error::TooLarge`].
    pub fn seal(&self, binding: &Binding<'_>, value: &Secret) -> Result<Sealed, Error> {
        let keys = self.keys(binding.tenant)?;
        envelope::seal(&keys, binding, value, self.entropy.as_ref())
    }

    /// Opens a value at its place.
    ///
    /// # Errors
    /// [`Error::TenantNotLoaded`]; [`Error::Damaged`] for everything else.
    pub fn open(&self, binding: &Binding<'_>, sealed: &Sealed) -> Result<Secret, Error> {
        let keys = self.keys(binding.tenant)?;
        envelope::open(&keys, binding, sealed)
    }

    /// The tenant's keyed digest of a value: equal values, equal fingerprints. Equality is an
    /// oracle: limit who may ask and how often.
    ///
    /// # Errors
    /// [`Error::TenantNotLoaded`].
    pub fn fingerprint(&self, tenant: &Tenant, value: &Secret) -> Result<Fingerprint, Error> {
        mac(&self.keys(tenant)?.fingerprint, value.expose())
    }

    /// Authenticates a version's stage, so that writing to the store is not enough to promote one.
    ///
    /// # Errors
    /// [`Error::TenantNotLoaded`].
    pub fn stage_mac(
        &self,
        tenant: &Tenant,
        path: &Path,
        version: u32,
        stage: Stage,
    ) -> Result<Fingerprint, Error> {
        let label = Associated::with("pentad/stage")
            .and(tenant.as_str().as_bytes())
            .and(path.as_str().as_bytes())
            .and(&version.to_be_bytes())
            .and(stage.as_str().as_bytes());
        mac(&self.keys(tenant)?.stage, label.as_ref())
    }

    /// Checks what [`Keyring::stage_mac`] made, in constant time.
    ///
    /// # Errors
    /// [`Error::TenantNotLoaded`]; [`Error::StageForged`] if it was made for another stage, version,
    /// path or tenant, or not by us.
    pub fn check_stage(
        &self,
        tenant: &Tenant,
        path: &Path,
        version: u32,
        stage: Stage,
        found: &Fingerprint,
    ) -> Result<(), Error> {
        let expected = self.stage_mac(tenant, path, version, stage)?;
        if bool::from(expected.0.ct_eq(&found.0)) {
            Ok(())
        } else {
            Err(Error::StageForged)
        }
    }

    /// Seals a document that is stored in the clear.
    ///
    /// # Errors
    /// [`Error::TenantNotLoaded`].
    pub fn seal_document(&self, document: &Document<'_>) -> Result<Fingerprint, Error> {
        let key = &self.keys(document.tenant)?.document;
        mac(key, document.associated().as_ref())
    }

    /// Checks what [`Keyring::seal_document`] made, in constant time.
    ///
    /// # Errors
    /// [`Error::TenantNotLoaded`]; [`Error::DocumentForged`] if it was made for anything else, or not
    /// by us.
    pub fn check_document(
        &self,
        document: &Document<'_>,
        found: &Fingerprint,
    ) -> Result<(), Error> {
        let expected = self.seal_document(document)?;
        if bool::from(expected.0.ct_eq(&found.0)) {
            Ok(())
        } else {
            Err(Error::DocumentForged)
        }
    }

    /// The digest of a value for audit records, to prove later which value was meant. System-wide,
    /// and under a key of its own: it can't be compared with fingerprints.
    ///
    /// # Errors
    /// [`Error::Primitive`] only.
    pub fn audit_mac(&self, value: &Secret) -> Result<Fingerprint, Error> {
        mac(&self.audit, value.expose())
    }

    /// The digest of an access token or session secret, under a key of its own: what the store
    /// holds of a token is then worth nothing without the root key.
    ///
    /// # Errors
    /// [`Error::Primitive`] only.
    pub fn token_mac(&self, token: &Secret) -> Result<Fingerprint, Error> {
        mac(&self.token, token.expose())
    }

    /// Signs an audit checkpoint: Ed25519 (RFC 8032). The key signs nothing else.
    pub fn sign_checkpoint(&self, checkpoint: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.checkpoint.sign(checkpoint).as_ref());
        signature
    }

    /// The key with which anybody verifies checkpoints: 32 bytes (RFC 8032).
    pub fn checkpoint_public_key(&self) -> [u8; 32] {
        let mut public = [0; 32];
        public.copy_from_slice(self.checkpoint.public_key().as_ref());
        public
    }

    /// The value by which this keyring's root key is recognised later.
    pub fn root_check(&self) -> RootCheck {
        self.check
    }

    /// The key of the backup with this header and salt: see [`framed`](crate::framed).
    ///
    /// # Errors
    /// [`Error::Primitive`] only.
    pub fn backup_key(&self, salt: &[u8; SALT_LEN], header: &[u8]) -> Result<FileKey, Error> {
        FileKey::derive(&self.backup, Sort::Backup, salt, header)
    }

    fn keys(&self, tenant: &Tenant) -> Result<Arc<TenantKeys>, Error> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let keys = tenants
            .get(tenant)
            .ok_or_else(|| Error::TenantNotLoaded(tenant.clone()))?;
        self.mark_used(keys);
        Ok(Arc::clone(keys))
    }

    fn mark_used(&self, keys: &TenantKeys) {
        let now = self.uses.fetch_add(1, Ordering::Relaxed);
        keys.last_use.store(now, Ordering::Relaxed);
    }
}

/// Walks all entries: rare, and far cheaper than a list kept in order on every read.
fn evict_longest_unused(tenants: &mut HashMap<Tenant, Arc<TenantKeys>>) {
    let longest_unused = tenants
        .iter()
        .min_by_key(|(_, keys)| keys.last_use.load(Ordering::Relaxed))
        .map(|(tenant, _)| tenant.clone());
    if let Some(tenant) = longest_unused {
        tenants.remove(&tenant);
    }
}

/// By `sign_to_buffer`, which works in one context and cleanses that. `hmac::sign` moves the context,
/// and the copies that it leaves on the stack hold the message's last block: for most values, all of
/// the value.
fn mac(key: &hmac::Key, message: &[u8]) -> Result<Fingerprint, Error> {
    let mut digest = [0; 32];
    hmac::sign_to_buffer(key, message, &mut digest)?;
    Ok(Fingerprint(digest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use pentad_model::Kind;

    use super::*;
    use crate::{
        residue,
        testing::{SeededEntropy, keyring, tenant},
    };

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    #[test]
    fn a_mac_leaves_nothing_of_the_value_on_the_stack() {
        let left = residue::left_behind(
            || {
                let (keyring, acme) = (keyring(1, &["acme"]), tenant("acme"));
                // Shorter than a block of SHA-256, a block, and longer by a tail.
                let values = residue::canaries([16, 24, 48, 63, 64, 65, 100, 1000]);
                for value in &values {
                    keyring.fingerprint(&acme, value).unwrap();
                    keyring.audit_mac(value).unwrap();
                    keyring.token_mac(value).unwrap();
                }
                values
            },
            |values| residue::bytes(values),
        );
        assert_eq!(left, 0);
    }

    #[test]
    fn a_keyring_is_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Keyring>();
    }

    #[test]
    fn the_same_root_opens_after_a_restart_and_another_root_does_not() {
        let root = |seed| RootKey::generate(&SeededEntropy::new(seed));
        let entropy = || Arc::new(SeededEntropy::new(99));
        let before = Keyring::new(root(1), entropy()).unwrap();
        let acme = tenant("acme");
        let stored = before.create_tenant_key(&acme).unwrap();
        before.load_tenant_key(&stored).unwrap();
        let place = Binding {
            tenant: &acme,
            path: &path("db"),
            version: 1,
            kind: Kind::Secret,
        };
        let sealed = before.seal(&place, &Secret::new("value")).unwrap();

        let after = Keyring::new(root(1), entropy()).unwrap();
        after.load_tenant_key(&stored).unwrap();
        assert_eq!(after.open(&place, &sealed).unwrap(), Secret::new("value"));
        assert_eq!(
            after.checkpoint_public_key(),
            before.checkpoint_public_key()
        );
        assert_eq!(after.root_check(), before.root_check());

        let stranger = Keyring::new(root(2), entropy()).unwrap();
        assert_eq!(stranger.load_tenant_key(&stored), Err(Error::Damaged));
        assert_ne!(stranger.root_check(), before.root_check());
    }

    #[test]
    fn a_tenant_whose_key_is_not_loaded_is_named() {
        let keyring = keyring(1, &[]);
        let error = keyring.fingerprint(&tenant("acme"), &Secret::new("x"));
        assert_eq!(error, Err(Error::TenantNotLoaded(tenant("acme"))));
    }

    #[test]
    fn a_second_key_of_a_loaded_tenant_is_a_conflict_and_the_same_one_is_not() {
        let keyring = keyring(1, &[]);
        let (one, two) = (
            keyring.create_tenant_key(&tenant("acme")).unwrap(),
            keyring.create_tenant_key(&tenant("acme")).unwrap(),
        );
        assert_eq!(keyring.load_tenant_key(&one), Ok(()));
        assert_eq!(keyring.load_tenant_key(&one), Ok(()));
        let conflict = Err(Error::TenantKeyConflict(tenant("acme")));
        assert_eq!(keyring.load_tenant_key(&two), conflict);
    }

    #[test]
    fn beyond_capacity_the_tenant_used_longest_ago_is_dropped() {
        let entropy = Arc::new(SeededEntropy::new(1));
        let root = RootKey::generate(entropy.as_ref());
        let keyring = Keyring::with_capacity(root, entropy, 2).unwrap();
        let load = |name| {
            let stored = keyring.create_tenant_key(&tenant(name)).unwrap();
            keyring.load_tenant_key(&stored).unwrap();
        };
        load("a");
        load("b");
        keyring
            .fingerprint(&tenant("a"), &Secret::new("x"))
            .unwrap();
        load("c");
        let held = ["a", "b", "c"].map(|name| keyring.has_tenant(&tenant(name)));
        assert_eq!(held, [true, false, true]);
    }

    #[test]
    fn digests_of_one_value_differ_by_tenant_and_purpose() {
        let keyring = keyring(1, &["a", "b"]);
        let value = Secret::new("value");
        let digests = [
            keyring.fingerprint(&tenant("a"), &value).unwrap(),
            keyring.fingerprint(&tenant("b"), &value).unwrap(),
            keyring.audit_mac(&value).unwrap(),
            keyring.token_mac(&value).unwrap(),
        ];
        assert_eq!(digests.iter().collect::<BTreeSet<_>>().len(), digests.len());
        assert_eq!(
            keyring.fingerprint(&tenant("a"), &value).unwrap(),
            digests[0]
        );
    }

    #[test]
    fn a_stage_holds_for_its_own_version_alone() {
        let keyring = keyring(1, &["a", "b"]);
        let (a, b) = (tenant("a"), tenant("b"));
        let made = keyring
            .stage_mac(&a, &path("db"), 3, Stage::Previous)
            .unwrap();
        let check = |tenant, at: &str, version, stage| {
            keyring.check_stage(tenant, &path(at), version, stage, &made)
        };
        assert_eq!(check(&a, "db", 3, Stage::Previous), Ok(()));
        for stage in Stage::ALL.iter().filter(|stage| **stage != Stage::Previous) {
            assert_eq!(check(&a, "db", 3, *stage), Err(Error::StageForged));
        }
        assert_eq!(check(&a, "db", 4, Stage::Previous), Err(Error::StageForged));
        assert_eq!(
            check(&a, "db/x", 3, Stage::Previous),
            Err(Error::StageForged)
        );
        assert_eq!(check(&b, "db", 3, Stage::Previous), Err(Error::StageForged));
    }

    #[test]
    fn anybody_verifies_a_checkpoint() {
        let keyring = keyring(1, &[]);
        let signature = keyring.sign_checkpoint(b"tree 42");
        let public = UnparsedPublicKey::new(&ED25519, keyring.checkpoint_public_key());
        assert!(public.verify(b"tree 42", &signature).is_ok());
        assert!(public.verify(b"tree 43", &signature).is_err());
    }
}
