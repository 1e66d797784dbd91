//! Documents: the small objects of the store (users, roles, tokens, targets, policies), each a noun as
//! JSON under its name.

use pentad_model::{Record, Tenant, Timestamp, record::Outcome};
use pentad_store::{Collection, Document, Expect, Op, Page};
use serde::{Serialize, de::DeserializeOwned};

use super::{Caller, Pentad};
use crate::{Fault, documents::decode};

/// Tries of a replacement while others replace the same.
const TRIES: usize = 8;

impl Pentad {
    /// A page of nouns. Of the documents that are not ours, those that can be read are shown, so that
    /// they can be removed; the others are in the log and on record, and keep nobody from the rest.
    pub(super) async fn objects<T: DeserializeOwned>(
        &self,
        caller: &Caller,
        collection: Collection,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<T>, Fault> {
        let (page, forged) = self
            .0
            .documents
            .page(&caller.context, collection, after, limit)
            .await?;
        let mut items = Vec::with_capacity(page.items.len());
        for document in page.items {
            let ours = !forged.contains(&document.name);
            match decode(document) {
                Ok(object) => items.push(object),
                Err(fault) if ours => return Err(fault),
                Err(_) => {}
            }
        }
        Ok(Page {
            items,
            more: page.more,
        })
    }

    /// Makes a document, or replaces the one that is there, whoever wrote that. Somebody who does so
    /// at the same time makes one of the two try again.
    pub(super) async fn replace(
        &self,
        caller: &Caller,
        document: Document,
        record: Record,
    ) -> Result<(), Fault> {
        for _ in 0..TRIES {
            let (tenant, now) = (&document.tenant, self.0.clock.now());
            let stored = self
                .0
                .reader
                .document(document.collection, tenant, &document.name, now)
                .await?;
            let expect = stored.map_or(Expect::Absent, |stored| Expect::Revision(stored.revision));
            let document = document.clone();
            let op = Op::PutDocument { document, expect };
            match self.commit(caller, vec![op], record.clone()).await {
                Err(Fault::Conflict { .. } | Fault::Missing { .. }) => {}
                done => return done,
            }
        }
        Err(Fault::conflict(format!(
            "{} `{}` is being changed by others; try again",
            document.collection.as_str(),
            document.name
        )))
    }

    pub(super) async fn remove(
        &self,
        caller: &Caller,
        collection: Collection,
        name: &str,
        action: &str,
    ) -> Result<(), Fault> {
        let record = self.record(caller, action, Outcome::Done).detail(name);
        let op = Op::RemoveDocument {
            collection,
            tenant: caller.context.tenant.clone(),
            name: name.to_owned(),
        };
        self.commit(caller, vec![op], record).await
    }
}

pub(super) fn encode<T: Serialize>(
    collection: Collection,
    tenant: &Tenant,
    name: &str,
    body: &T,
    expires_at: Option<Timestamp>,
) -> Result<Document, Fault> {
    let body = serde_json::to_value(body).map_err(|e| Fault::internal(e.to_string()))?;
    let (tenant, name) = (tenant.clone(), name.to_owned());
    Ok(Document {
        collection,
        tenant,
        name,
        revision: 0,
        expires_at,
        body,
        seal: None,
    })
}
