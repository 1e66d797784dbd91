//! What is asked for again and again, kept in memory: what a token stands for, and sealed current
//! values.
//!
//! What always holds:
//!
//! * Nothing in here is older than the last change that was answered: each entry carries the
//!   [stamps](pentad_store::Stamps) of all that it was made of, and is made anew when one has moved. So
//!   a revoked token, a narrowed role, a new version are seen by the next request. Where other nodes
//!   change the store too, that holds of this node's changes; theirs are seen within a second, and
//!   while nothing is heard of them nothing kept is used.
//! * Values are kept as they lie in the store, sealed. Who reads is decided anew each time.
//! * What somebody else writes into the store's files is not seen while it is kept here, and is refused
//!   as ever when it is looked at: it raises nobody, sooner or later.
//! * It is bounded, in entries and in bytes, whatever the estate's size.
//!
//! Over a store that can't tell what changed ([`Reader::stamps`] is `None`) nothing is kept.

use std::{future::Future, sync::Arc};

use pentad_keys::digest;
use pentad_model::{
    Context, Credential, Kind, Path, Principal, Sealed, Secret, Stage, Tenant, Timestamp, Version,
    secret::Fingerprint,
};
use pentad_runtime::Priority;
use pentad_store::{Collection, Reader, Stamp, Stamps};
use quick_cache::{Weighter, sync::Cache};

use crate::{Fault, current::current, operations::Rights};

/// Bytes of sealed values and their metadata.
const VALUES: u64 = 32 << 20;
/// An entry without its texts and sealed bytes, and what the heap adds to each of its pieces.
const ENTRY: u64 = 448;
/// Tokens.
const TOKENS: usize = 8192;

/// What a token stands for, at the time of its stamps.
#[derive(Clone)]
pub(crate) struct Authority {
    /// Who bears it.
    pub(crate) principal: Principal,
    /// What its roles allow.
    pub(crate) rights: Rights,
    /// How urgent its requests are.
    pub(crate) priority: Priority,
    /// When it ends.
    pub(crate) until: Option<Timestamp>,
}

/// What a read needs of a living credential and of one of its versions, which is sealed.
#[derive(Debug)]
pub struct Current {
    /// The credential's kind.
    pub kind: Kind,
    /// Whether the target may hold another value just now.
    pub in_doubt: bool,
    /// When the value stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// The version's number.
    pub number: u32,
    /// Where in its life it is.
    pub stage: Stage,
    /// That it is there by our doing.
    pub stage_mac: Fingerprint,
    /// The value; `None` once destroyed.
    pub sealed: Option<Sealed>,
    /// The account at the target that it belongs to.
    pub account: Option<Box<str>>,
    /// When the version was made.
    pub created_at: Timestamp,
}

impl Current {
    /// Of a credential and its version.
    pub(crate) fn of(credential: &Credential, version: Version) -> Self {
        Self {
            kind: credential.kind,
            in_doubt: credential.in_doubt,
            expires_at: credential.expires_at,
            number: version.number,
            stage: version.stage,
            stage_mac: version.stage_mac,
            sealed: version.sealed,
            account: version.account.map(Into::into),
            created_at: version.created_at,
        }
    }
}

/// What is at a path.
pub(crate) enum Lookup {
    /// No living credential.
    Nothing,
    /// A credential that has no current version.
    NoValue,
    /// This.
    Found(Arc<Current>),
}

/// See the module.
pub(crate) struct Hot {
    reader: Arc<dyn Reader>,
    tokens: Cache<TokenKey, (Arc<Authority>, Arc<[Stamp]>)>,
    values: Cache<(Tenant, Path), (Arc<Current>, Stamp), BySize>,
}

/// A tenant, and the SHA-256 of a token that was shown for it.
type TokenKey = (Tenant, [u8; 32]);

/// Stamps taken on the way, each before what it is of was read.
#[derive(Default)]
pub(crate) struct Seen(Vec<Stamp>);

impl Seen {
    /// To be called before the document is read.
    pub(crate) fn document(
        &mut self,
        reader: &dyn Reader,
        collection: Collection,
        tenant: &Tenant,
        name: &str,
    ) {
        let stamps = reader.stamps();
        self.0
            .extend(stamps.map(|stamps| stamps.of_document(collection, tenant, name)));
    }
}

#[derive(Clone)]
struct BySize;

impl Weighter<(Tenant, Path), (Arc<Current>, Stamp)> for BySize {
    fn weight(&self, (tenant, path): &(Tenant, Path), (held, _): &(Arc<Current>, Stamp)) -> u64 {
        let sealed = held.sealed.as_ref().map_or(0, |it| it.as_bytes().len());
        let account = held.account.as_ref().map_or(0, |it| it.len());
        let texts = tenant.as_str().len() + path.as_str().len() + account;
        ENTRY + (texts + sealed) as u64
    }
}

impl Hot {
    pub(crate) fn new(reader: Arc<dyn Reader>) -> Self {
        let entries = (VALUES / (2 * ENTRY)) as usize;
        Self {
            reader,
            tokens: Cache::new(TOKENS),
            values: Cache::with_weighter(entries, VALUES, BySize),
        }
    }

    /// What this token stands for, from memory or as `find` finds it out; `None` if it is no good.
    pub(crate) async fn authority<F>(
        &self,
        stranger: &Context,
        token: &Secret,
        now: Timestamp,
        find: impl FnOnce(Seen) -> F,
    ) -> Result<Option<Arc<Authority>>, Fault>
    where
        F: Future<Output = Result<Option<(Authority, Seen)>, Fault>>,
    {
        let key = (stranger.tenant.clone(), digest::sha256(token));
        let stamps = self.reader.stamps();
        if let Some(stamps) = stamps
            && let Some((authority, seen)) = self.tokens.get(&key)
            && hold(stamps, &seen)
            && authority.until.is_none_or(|until| now < until)
        {
            return Ok(Some(authority));
        }
        let Some((authority, seen)) = find(Seen::default()).await? else {
            return Ok(None);
        };
        let authority = Arc::new(authority);
        if stamps.is_some() {
            self.tokens
                .insert(key, (Arc::clone(&authority), seen.0.into()));
        }
        Ok(Some(authority))
    }

    /// A living credential and its current version.
    pub(crate) async fn current(&self, tenant: &Tenant, path: &Path) -> Result<Lookup, Fault> {
        let reader = &*self.reader;
        let key = (tenant.clone(), path.clone());
        let stamps = reader.stamps();
        if let Some(stamps) = stamps
            && let Some((held, stamp)) = self.values.get(&key)
            && stamps.holds(stamp)
        {
            return Ok(Lookup::Found(held));
        }
        let stamp = stamps.map(|stamps| stamps.of_credential(tenant, path));
        let (credential, version) = match current(reader, tenant, path).await? {
            None => return Ok(Lookup::Nothing),
            Some((_, None)) => return Ok(Lookup::NoValue),
            Some((credential, Some(version))) => (credential, version),
        };
        let held = Arc::new(Current::of(&credential, version));
        if let Some(stamp) = stamp {
            self.values.insert(key, (Arc::clone(&held), stamp));
        }
        Ok(Lookup::Found(held))
    }
}

fn hold(stamps: &Stamps, seen: &[Stamp]) -> bool {
    seen.iter().all(|stamp| stamps.holds(*stamp))
}
