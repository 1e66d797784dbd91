//! Documents: the small objects of the store (users, roles, tokens, targets, policies), each a noun as
//! JSON under its name.

use pentad_model::{Tenant, Timestamp, record::Outcome};
use pentad_store::{Collection, Document, Op, Page};
use serde::{Serialize, de::DeserializeOwned};

use super::{Caller, Pentad};
use crate::Fault;

impl Pentad {
    pub(super) async fn objects<T: DeserializeOwned>(
        &self,
        caller: &Caller,
        collection: Collection,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<T>, Fault> {
        let now = self.0.clock.now();
        let tenant = &caller.context.tenant;
        let page = self
            .0
            .reader
            .documents(collection, tenant, after, limit, now)
            .await?;
        let items = page
            .items
            .into_iter()
            .map(decode)
            .collect::<Result<_, _>>()?;
        Ok(Page {
            items,
            more: page.more,
        })
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

pub(super) fn decode<T: DeserializeOwned>(document: Document) -> Result<T, Fault> {
    let name = document.name;
    serde_json::from_value(document.body).map_err(|error| Fault::Damaged {
        message: format!("{} `{name}`: {error}", document.collection.as_str()),
    })
}
