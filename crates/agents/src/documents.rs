//! Documents that decisions rest on: users, roles, tokens, targets, policies.
//!
//! They lie in the store in the clear. Each carries a seal, a MAC by the encryption agent, that the
//! monitoring agent has made when it writes one; here it is looked at before one is believed. So
//! whoever can write to the store's files, but has no key, can't make a token, raise a role or lead
//! a target elsewhere. What always holds:
//!
//! * A document whose seal is missing or is another one's is refused, with its name and what to do,
//!   and that is on record before the refusal is answered. Others are not affected.
//! * What is believed without asking again is byte for byte what was checked before.
//!
//! What does not: a row that was put back as it once was, seal and all, is believed, and one that was
//! taken away does not exist.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use pentad_model::{Clock, Context, Id, Record, Tenant, id::Entropy, record::Outcome};
use pentad_runtime::Priority;
use pentad_store::{Collection, Document, Page, Reader};
use serde::de::DeserializeOwned;

use crate::{
    Fault, contract,
    contract::encryption::{CheckDocuments, SealDocuments},
    encryption::Encryption,
    monitoring::Monitoring,
};

/// Documents that are remembered as good; beyond that all are forgotten, and checked once more.
const REMEMBERED: usize = 4096;

/// Whether documents of this sort carry a seal. Exhaustive, so that a new sort is decided about.
pub(crate) fn is_sealed(collection: Collection) -> bool {
    match collection {
        Collection::Tenant
        | Collection::Target
        | Collection::Role
        | Collection::User
        | Collection::Token
        | Collection::Policy
        | Collection::Compliance
        | Collection::Retention
        | Collection::Removed => true,
        // Sealed as a whole, under the root key.
        Collection::Key => false,
        // Nothing is allowed, and no value is sent anywhere, because of these.
        Collection::Idempotency
        | Collection::Batch
        | Collection::State
        | Collection::Quarantine => false,
    }
}

/// Reads documents on behalf of one agent, or of the interface. Cheap to clone; clones share what
/// they remember.
#[derive(Clone)]
pub struct Documents {
    /// Where they are.
    pub reader: Arc<dyn Reader>,
    /// Who knows whether a seal is ours.
    pub encryption: contract::encryption::Client<Encryption>,
    /// Who puts refusals on record.
    pub monitoring: contract::monitoring::Client<Monitoring>,
    /// For what has expired.
    pub clock: Arc<dyn Clock>,
    /// For the ids of records.
    pub entropy: Arc<dyn Entropy>,
    /// See [`Remembered`].
    pub remembered: Remembered,
}

/// Documents as they were when their seal was last found good, by where they are.
#[derive(Clone, Default)]
pub struct Remembered(Arc<Mutex<HashMap<(Collection, Tenant, String), Document>>>);

impl Remembered {
    fn has(&self, document: &Document) -> bool {
        let known = self.0.lock();
        known
            .get(&place(document))
            .is_some_and(|known| known == document)
    }

    fn keep(&self, document: &Document) {
        let mut known = self.0.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(place(document), document.clone());
    }
}

fn place(document: &Document) -> (Collection, Tenant, String) {
    let Document {
        collection,
        tenant,
        name,
        ..
    } = document;
    (*collection, tenant.clone(), name.clone())
}

impl Documents {
    /// A noun of the context's tenant and its document's revision, if it is there.
    ///
    /// # Errors
    /// [`Fault::Damaged`] if its seal is not ours, or it is no such noun.
    pub async fn find<T: DeserializeOwned>(
        &self,
        context: &Context,
        collection: Collection,
        name: &str,
    ) -> Result<Option<(T, u64)>, Fault> {
        let now = self.clock.now();
        let found = self
            .reader
            .document(collection, &context.tenant, name, now)
            .await?;
        let Some(document) = found else {
            return Ok(None);
        };
        let revision = document.revision;
        if let Some(forged) = self.forged(context, &[&document]).await?.first() {
            return Err(refused(forged));
        }
        Ok(Some((decode(document)?, revision)))
    }

    /// A page of documents, those with a seal that is not ours included, so that they can be seen
    /// and removed; each of these is on record.
    pub async fn page(
        &self,
        context: &Context,
        collection: Collection,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Document>, Fault> {
        let (tenant, now) = (&context.tenant, self.clock.now());
        let page = self
            .reader
            .documents(collection, tenant, after, limit, now)
            .await?;
        let all: Vec<&Document> = page.items.iter().collect();
        self.forged(context, &all).await?;
        Ok(page)
    }

    /// Which of these were not written by us. Each is on record when this returns.
    async fn forged<'d>(
        &self,
        context: &Context,
        documents: &[&'d Document],
    ) -> Result<Vec<&'d Document>, Fault> {
        let unknown = |document: &&&Document| {
            is_sealed(document.collection) && !self.remembered.has(document)
        };
        let to_check: Vec<&Document> = documents.iter().filter(unknown).copied().collect();
        if to_check.is_empty() {
            return Ok(Vec::new());
        }
        let ask = CheckDocuments {
            documents: to_check.iter().map(|it| Document::clone(it)).collect(),
        };
        // Everything else that the request needs waits for this.
        let good = self
            .encryption
            .check_documents(context, Priority::High, ask)
            .await?;
        let mut forged = Vec::new();
        for (index, document) in to_check.into_iter().enumerate() {
            // An answer that is too short believes nothing.
            match good.get(index) {
                Some(true) => self.remembered.keep(document),
                _ => forged.push(document),
            }
        }
        if !forged.is_empty() {
            let records = forged.iter().map(|it| self.refusal(context, it)).collect();
            self.monitoring
                .record(context, Priority::High, records)
                .await?;
        }
        Ok(forged)
    }

    fn refusal(&self, context: &Context, document: &Document) -> Record {
        let now = self.clock.now();
        let id = Id::generate(now, &*self.entropy);
        let (collection, name) = (document.collection.as_str(), &document.name);
        tracing::error!(collection, name, "a document was written outside Pentad");
        Record::new(id, now, context, "document.refuse", Outcome::Denied)
            .detail(format!("{collection} `{name}` does not carry our seal"))
    }
}

fn refused(document: &Document) -> Fault {
    let (sort, name) = (document.collection.as_str(), &document.name);
    Fault::Damaged {
        message: format!(
            "{sort} `{name}` was written or altered outside Pentad and is refused: remove it and \
             make it anew, and find out who can write to the store's files"
        ),
    }
}

/// Gives documents that are about to be written their seals. What they will be read back as is
/// sealed, and their revision is what the store will give them: so none is written over whatever
/// happens to be there.
pub(crate) async fn seal(
    encryption: &contract::encryption::Client<Encryption>,
    context: &Context,
    change: &mut pentad_store::Change,
) -> Result<(), Fault> {
    let mut unsealed = Vec::new();
    for op in &mut change.ops {
        if let pentad_store::Op::PutDocument { document, expect } = op
            && is_sealed(document.collection)
        {
            document.revision = match expect {
                pentad_store::Expect::Absent => 1,
                pentad_store::Expect::Revision(seen) => seen.saturating_add(1),
                pentad_store::Expect::Any => {
                    return Err(Fault::internal("a sealed document's revision is not known"));
                }
            };
            unsealed.push(document);
        }
    }
    if unsealed.is_empty() {
        return Ok(());
    }
    let ask = SealDocuments {
        documents: unsealed.iter().map(|it| Document::clone(it)).collect(),
    };
    let seals = encryption
        .seal_documents(context, Priority::High, ask)
        .await?;
    if seals.len() != unsealed.len() {
        return Err(Fault::internal("not each document was given a seal"));
    }
    for (document, seal) in unsealed.into_iter().zip(seals) {
        document.seal = Some(seal);
    }
    Ok(())
}

/// The noun that a document holds.
pub(crate) fn decode<T: DeserializeOwned>(document: Document) -> Result<T, Fault> {
    let name = document.name;
    serde_json::from_value(document.body).map_err(|error| Fault::Damaged {
        message: format!("{} `{name}`: {error}", document.collection.as_str()),
    })
}
