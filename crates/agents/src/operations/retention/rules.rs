//! The rules, and the one document that each change of them changes too.
//!
//! What always holds:
//!
//! * Whoever destroys by rules ties that, in the same commit, to the epoch that stood with them in
//!   the page they were read from. So when a rule is answered, nothing is destroyed any more by the
//!   rules of before it.
//! * One rule that was written outside Pentad, or more rules than fit, and none is believed: a part
//!   of the rules might lack the one that holds.
//! * A rule is carried out everywhere by the system itself, whatever is denied to its author; so only
//!   who may destroy everywhere, without exception, changes rules.

use pentad_model::{Name, Tenant, Timestamp, Verb, record::Outcome};
use pentad_policy::retention::{Retention, RetentionRule};
use pentad_store::{Collection, Expect, Op, Page};
use serde::{Deserialize, Serialize};

use crate::{
    Fault,
    documents::decode,
    operations::{Caller, Pentad, documents::encode},
};

/// Rules of one tenant.
const MOST_RULES: usize = 200;
/// The epoch's name: no rule's, and before every rule's.
const EPOCH: &str = "!epoch";
/// Tries of a change while others change rules.
const TRIES: usize = 8;

/// Counts, by its document's revision, how often rules were changed.
#[derive(Serialize, Deserialize)]
struct Epoch {
    /// When they last were.
    at: Timestamp,
}

/// All rules of a tenant, as they stood together.
pub(in crate::operations) struct Rules {
    /// Ready to be asked.
    pub(in crate::operations) set: Retention,
    /// When one was last changed; `None` if that was before Pentad kept it.
    pub(in crate::operations) changed_at: Option<Timestamp>,
    epoch: Expect,
}

impl Rules {
    /// Refuses a change if the rules are others by then.
    pub(super) fn still_stand(&self, tenant: &Tenant) -> Op {
        Op::CheckDocument {
            collection: Collection::Retention,
            tenant: tenant.clone(),
            name: EPOCH.to_owned(),
            expect: self.epoch,
        }
    }
}

impl Pentad {
    /// Makes or replaces a retention rule. When this returns, no walk goes by the rules of before.
    pub async fn put_retention_rule(
        &self,
        caller: &Caller,
        rule: RetentionRule,
    ) -> Result<(), Fault> {
        self.permit_rules(caller).await?;
        rule.check()
            .map_err(|error| Fault::invalid(error.to_string()))?;
        let rules = self.retention_rules(caller, None, MOST_RULES).await?;
        let known = rules.items.iter().any(|known| known.name == rule.name);
        if rules.items.len() >= MOST_RULES && !known {
            return Err(Fault::invalid(format!(
                "there are {MOST_RULES} retention rules already; one rule takes many patterns"
            )));
        }
        let (tenant, name) = (&caller.context.tenant, rule.name.as_str());
        let document = encode(Collection::Retention, tenant, name, &rule, None)?;
        for _ in 0..TRIES {
            let put = Op::PutDocument {
                document: document.clone(),
                expect: self.expected(caller, name).await?,
            };
            match self
                .change_rules(caller, put, "retention.write", name)
                .await
            {
                Err(Fault::Conflict { .. } | Fault::Missing { .. }) => {}
                done => return done,
            }
        }
        Err(being_changed())
    }

    /// The tenant's retention rules, a page at a time.
    pub async fn retention_rules(
        &self,
        caller: &Caller,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RetentionRule>, Fault> {
        self.permit_system(caller, Verb::Observe).await?;
        let after = after.map_or(EPOCH, |after| after.max(EPOCH));
        self.objects(caller, Collection::Retention, Some(after), limit)
            .await
    }

    /// Removes a retention rule. What it held is no longer held, so that needs the right to destroy.
    pub async fn remove_retention_rule(&self, caller: &Caller, name: &Name) -> Result<(), Fault> {
        self.permit_rules(caller).await?;
        for _ in 0..TRIES {
            let remove = Op::RemoveDocument {
                collection: Collection::Retention,
                tenant: caller.context.tenant.clone(),
                name: name.to_string(),
            };
            let done = self.change_rules(caller, remove, "retention.remove", name.as_str());
            match done.await {
                Err(Fault::Conflict { .. }) => {}
                done => return done,
            }
        }
        Err(being_changed())
    }

    /// All rules, each believed by its seal.
    pub(in crate::operations) async fn retention(&self, caller: &Caller) -> Result<Rules, Fault> {
        let (page, forged) = self
            .0
            .documents
            .page(&caller.context, Collection::Retention, None, MOST_RULES + 1)
            .await?;
        if let Some(name) = forged.iter().next() {
            let remedy = match name.as_str() {
                EPOCH => "put any rule once more",
                _ => "remove it and make it anew",
            };
            return Err(Fault::Damaged {
                message: format!(
                    "retention `{name}` was written or altered outside Pentad and is refused: \
                     {remedy}, and find out who can write to the store's files"
                ),
            });
        }
        if page.more {
            return Err(Fault::Damaged {
                message: format!(
                    "there are more than {MOST_RULES} retention rules, which Pentad does not write"
                ),
            });
        }
        let (mut epoch, mut changed_at, mut rules) = (Expect::Absent, None, Vec::new());
        for document in page.items {
            if document.name == EPOCH {
                epoch = Expect::Revision(document.revision);
                changed_at = Some(decode::<Epoch>(document)?.at);
            } else {
                rules.push(decode::<RetentionRule>(document)?);
            }
        }
        let set = Retention::compile(rules).map_err(|error| Fault::Damaged {
            message: format!("a stored retention rule: {error}"),
        })?;
        Ok(Rules {
            set,
            changed_at,
            epoch,
        })
    }

    /// Whether no rule was changed since these were read.
    pub(super) async fn is_epoch_of(&self, caller: &Caller, rules: &Rules) -> Result<bool, Fault> {
        Ok(self.expected(caller, EPOCH).await? == rules.epoch)
    }

    async fn permit_rules(&self, caller: &Caller) -> Result<(), Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        self.permit_everywhere(caller, Verb::Destroy, "retention.write")
            .await
    }

    /// One change of the rules, and of the epoch with it.
    async fn change_rules(
        &self,
        caller: &Caller,
        op: Op,
        action: &str,
        name: &str,
    ) -> Result<(), Fault> {
        let tenant = &caller.context.tenant;
        let epoch = Epoch {
            at: self.0.clock.now(),
        };
        let epoch = Op::PutDocument {
            document: encode(Collection::Retention, tenant, EPOCH, &epoch, None)?,
            expect: self.expected(caller, EPOCH).await?,
        };
        let record = self.record(caller, action, Outcome::Done).detail(name);
        self.commit(caller, vec![op, epoch], record).await
    }

    /// A document as it is now, whoever wrote it.
    async fn expected(&self, caller: &Caller, name: &str) -> Result<Expect, Fault> {
        let (tenant, now) = (&caller.context.tenant, self.0.clock.now());
        let stored = self
            .0
            .reader
            .document(Collection::Retention, tenant, name, now)
            .await?;
        Ok(stored.map_or(Expect::Absent, |it| Expect::Revision(it.revision)))
    }
}

pub(super) fn being_changed() -> Fault {
    Fault::conflict("retention rules are being changed by others; try again")
}
