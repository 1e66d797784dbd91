//! Tenants: each with a key of its own, so that one is nothing to another.

use pentad_model::{Context, Tenant, Verb, record::Outcome};
use pentad_store::{Change, Collection, Expect, Op, Page};
use serde::{Deserialize, Serialize};

use super::{Caller, Pentad, documents::encode};
use crate::{
    Fault, contract::encryption as enc, documents::decode, encryption::TENANT_KEY,
    system::key_document,
};

#[derive(Serialize, Deserialize)]
struct Entry {
    name: Tenant,
}

impl Pentad {
    /// Makes a tenant. Only an admin of the default tenant may.
    pub async fn create_tenant(&self, caller: &Caller, tenant: &Tenant) -> Result<(), Fault> {
        self.permit_tenants(caller).await?;
        let within = Context {
            tenant: tenant.clone(),
            ..caller.context.clone()
        };
        let key = self
            .0
            .encryption
            .tenant_key(&within, caller.priority, enc::TenantKey {})
            .await?;
        let record = self
            .record(caller, "tenant.create", Outcome::Done)
            .detail(tenant.to_string());
        let entry = Entry {
            name: tenant.clone(),
        };
        let home = &caller.context.tenant;
        let document = encode(Collection::Tenant, home, tenant.as_str(), &entry, None)?;
        let ops = vec![
            key_document(tenant, TENANT_KEY, key),
            Op::PutDocument {
                document,
                expect: Expect::Absent,
            },
        ];
        let change = Change {
            ops,
            records: vec![record],
        };
        self.0
            .monitoring
            .commit(&caller.context, caller.priority, Box::new(change))
            .await
    }

    /// Tenants beside the default one, a page at a time.
    pub async fn tenants(
        &self,
        caller: &Caller,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Tenant>, Fault> {
        self.permit_tenants(caller).await?;
        let page = self
            .0
            .documents
            .believed(&caller.context, Collection::Tenant, after, limit)
            .await?;
        let items = page.items.into_iter().map(decode::<Entry>);
        Ok(Page {
            items: items
                .map(|entry| entry.map(|entry| entry.name))
                .collect::<Result<_, _>>()?,
            more: page.more,
        })
    }

    async fn permit_tenants(&self, caller: &Caller) -> Result<(), Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        if caller.context.tenant == Tenant::default_tenant() {
            return Ok(());
        }
        let why = "tenants are managed from the default tenant only";
        let record = self
            .record(caller, "tenant.manage", Outcome::Denied)
            .detail(why);
        self.write_down(caller, record).await?;
        Err(Fault::Denied {
            message: why.to_owned(),
        })
    }
}
