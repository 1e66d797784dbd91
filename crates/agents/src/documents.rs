//! Documents that decisions rest on: users, roles, tokens, targets, bindings, policies.
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

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use pentad_model::{
    Clock, Context, Credential, Id, Record, Tenant, Timestamp, credential::Binding, id::Entropy,
    record::Outcome,
};
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
/// How often the refusal of one row is put on record at most.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// Whether documents of this sort carry a seal. Exhaustive, so that a new sort is decided about.
pub(crate) fn is_sealed(collection: Collection) -> bool {
    match collection {
        Collection::Tenant
        | Collection::Target
        | Collection::Binding
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

/// What is known of documents, by where they are.
#[derive(Clone, Default)]
pub struct Remembered(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// As they were when their seal was last found good.
    good: HashMap<Place, Document>,
    /// When their refusal was last put on record.
    refused: HashMap<Place, Timestamp>,
}

type Place = (Collection, Tenant, String);

fn place(document: &Document) -> Place {
    let (tenant, name) = (document.tenant.clone(), document.name.clone());
    (document.collection, tenant, name)
}

impl Remembered {
    fn has(&self, document: &Document) -> bool {
        let known = self.0.lock();
        known.good.get(&place(document)) == Some(document)
    }

    fn keep(&self, document: &Document) {
        let good = &mut self.0.lock().good;
        if good.len() >= REMEMBERED {
            good.clear();
        }
        good.insert(place(document), document.clone());
    }

    /// Whether a refusal is due to be put on record again.
    fn is_news(&self, place: Place, now: Timestamp) -> bool {
        let refused = &mut self.0.lock().refused;
        if refused.len() >= REMEMBERED {
            refused.clear();
        }
        let last = refused.get(&place);
        let is_news = last.is_none_or(|last| now.since(*last) >= TOLD_AGAIN);
        if is_news {
            refused.insert(place, now);
        }
        is_news
    }
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
            return Err(refused(forged.collection, &forged.name));
        }
        Ok(Some((decode(document)?, revision)))
    }

    /// A page of documents, those with a seal that is not ours included, so that they can be seen
    /// and removed; each of these is on record, and named by the second answer.
    pub async fn page(
        &self,
        context: &Context,
        collection: Collection,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Page<Document>, HashSet<String>), Fault> {
        let (tenant, now) = (&context.tenant, self.clock.now());
        let page = self
            .reader
            .documents(collection, tenant, after, limit, now)
            .await?;
        let all: Vec<&Document> = page.items.iter().collect();
        let forged = self.forged(context, &all).await?;
        let names = forged.iter().map(|it| it.name.clone()).collect();
        Ok((page, names))
    }

    /// As [`page`](Self::page) without those whose seal is not ours: for whoever acts on what it
    /// finds. Empty only at the end.
    pub async fn believed(
        &self,
        context: &Context,
        collection: Collection,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Document>, Fault> {
        let mut after = after.map(str::to_owned);
        loop {
            let asked = self.page(context, collection, after.as_deref(), limit);
            let (mut page, forged) = asked.await?;
            after = page.items.last().map(|last| last.name.clone());
            page.items
                .retain(|document| !forged.contains(&document.name));
            if !page.items.is_empty() || !page.more {
                return Ok(page);
            }
        }
    }

    /// Where a credential's values go: what the credential says, if the sealed document says the
    /// same. The credential itself carries no seal, for it changes with each step of a rotation.
    ///
    /// # Errors
    /// [`Fault::Damaged`] if it says anything else; [`Fault::Conflict`] if the credential was changed
    /// since it was read.
    pub async fn binding(
        &self,
        context: &Context,
        credential: &Credential,
    ) -> Result<Option<Binding>, Fault> {
        let Some(bound) = &credential.binding else {
            return Ok(None);
        };
        let path = credential.path.as_str();
        let sealed: Option<(Binding, u64)> = self.find(context, Collection::Binding, path).await?;
        if let Some((sealed, _)) = sealed.filter(|(sealed, _)| sealed == bound) {
            return Ok(Some(sealed));
        }
        // Whoever binds changes both at once, and the credential's revision with them: if that is
        // still the same, the two were seen together.
        let now = self
            .reader
            .credential(&credential.tenant, &credential.path)
            .await?;
        if now.is_none_or(|now| now.revision != credential.revision) {
            return Err(Fault::conflict(format!(
                "`{path}` was changed at this moment; try again"
            )));
        }
        self.put_on_record(context, &[(Collection::Binding, path)])
            .await?;
        Err(refused(Collection::Binding, path))
    }

    /// As [`binding`](Self::binding), of many at once, in their order.
    pub async fn bindings(
        &self,
        context: &Context,
        credentials: &[&Credential],
    ) -> Result<Vec<Result<Option<Binding>, Fault>>, Fault> {
        let bound = credentials.iter().filter(|it| it.binding.is_some());
        let names: Vec<String> = bound.map(|it| it.path.to_string()).collect();
        let (tenant, now) = (&context.tenant, self.clock.now());
        let collection = Collection::Binding;
        let found = self.reader.documents_named(collection, tenant, &names, now);
        let found: Vec<Document> = found.await?.into_iter().flatten().collect();
        let all: Vec<&Document> = found.iter().collect();
        let forged = self.forged(context, &all).await?;
        let forged: HashSet<String> = forged.iter().map(|it| it.name.clone()).collect();
        let mut good: HashMap<String, Document> = found
            .into_iter()
            .filter(|document| !forged.contains(&document.name))
            .map(|document| (document.name.clone(), document))
            .collect();
        let mut bindings = Vec::with_capacity(credentials.len());
        for credential in credentials {
            let sealed = good.remove(credential.path.as_str());
            let sealed = sealed.and_then(|document| decode::<Binding>(document).ok());
            bindings.push(
                match sealed.filter(|it| credential.binding.as_ref() == Some(it)) {
                    Some(sealed) => Ok(Some(sealed)),
                    // Unbound, or not as it should be: looked at alone.
                    None => self.binding(context, credential).await,
                },
            );
        }
        Ok(bindings)
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
            documents: to_check.iter().copied().cloned().collect(),
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
        let rows: Vec<_> = forged
            .iter()
            .map(|it| (it.collection, it.name.as_str()))
            .collect();
        self.put_on_record(context, &rows).await?;
        Ok(forged)
    }

    /// Once a minute for each row, for a rotation tries again and again.
    async fn put_on_record(
        &self,
        context: &Context,
        rows: &[(Collection, &str)],
    ) -> Result<(), Fault> {
        let now = self.clock.now();
        let mut records = Vec::new();
        for (collection, name) in rows {
            let place = (*collection, context.tenant.clone(), (*name).to_owned());
            if !self.remembered.is_news(place, now) {
                continue;
            }
            let collection = collection.as_str();
            tracing::error!(collection, name, "a document was written outside Pentad");
            let id = Id::generate(now, &*self.entropy);
            let record = Record::new(id, now, context, "document.refuse", Outcome::Denied)
                .detail(format!("{collection} `{name}` does not carry our seal"));
            records.push(record);
        }
        if records.is_empty() {
            return Ok(());
        }
        self.monitoring
            .record(context, Priority::High, records)
            .await
    }
}

fn refused(collection: Collection, name: &str) -> Fault {
    let sort = collection.as_str();
    let remedy = match collection {
        Collection::Binding => format!("bind `{name}` to its target and account again"),
        _ => "remove it and make it anew".to_owned(),
    };
    Fault::Damaged {
        message: format!(
            "{sort} `{name}` was written or altered outside Pentad and is refused: {remedy}, and \
             find out who can write to the store's files"
        ),
    }
}

/// Whether a change waits for the encryption agent before it is committed.
pub(crate) fn needs_seal(change: &pentad_store::Change) -> bool {
    change.ops.iter().any(|op| {
        matches!(op, pentad_store::Op::PutDocument { document, .. } if is_sealed(document.collection))
    })
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
