//! Compliance: a framework's controls held against the estate, a page at a time.
//!
//! A page costs one opening and one measurement for each credential that the caller may check, so
//! the whole estate costs as much as it has credentials; `next` resumes where a page ended. Counts
//! are of the page: whoever walks all pages adds them up.

use pentad_model::{Name, Path, Verb, record::Outcome};
use pentad_policy::{
    compliance::{Judged, Retention, RuleSet, Tally, Verdict, builtin, judge, judge_system, tally},
    retention::Sort,
};
use pentad_store::{Collection, CredentialQuery, Page};

use super::{Caller, Pentad, documents::encode};
use crate::Fault;

/// Reasons that are told of what could not be assessed, for each control of a page.
const REASONS: usize = 3;

/// What a rule set says of a page of the estate. An aid, no attestation.
#[derive(Clone, Debug)]
pub struct Report {
    /// The set.
    pub set: RuleSet,
    /// Credentials that were looked at.
    pub looked_at: usize,
    /// For each control about credentials, in the set's order.
    pub controls: Vec<Counted>,
    /// For each control about the system, in the set's order.
    pub system: Vec<Judged>,
    /// The credentials that fail a control, in the order of their paths.
    pub failing: Vec<Failing>,
    /// The last credential that was looked at, if there are more behind it.
    pub next: Option<String>,
}

/// A control's counts.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The control's label.
    pub control: String,
    /// How many ended how.
    pub tally: Tally,
    /// Why it could not be told of some: a few of the reasons.
    pub unknown: Vec<String>,
}

/// A credential that fails something.
#[derive(Clone, Debug)]
pub struct Failing {
    /// Which.
    pub path: Path,
    /// The controls that it fails.
    pub failed: Vec<Judged>,
}

impl Pentad {
    /// Holds a rule set against a page of what the caller may check.
    pub async fn comply(
        &self,
        caller: &Caller,
        set: &Name,
        query: CredentialQuery,
    ) -> Result<Report, Fault> {
        let set = self.rule_set(caller, set).await?;
        let prefix = query.prefix.clone();
        let page = self.examine_page(caller, query).await?;
        let now = self.0.clock.now();
        let rules = self.retention(caller).await.ok();
        let covered = |path: &Path| match &rules {
            None => Retention::Unknown,
            Some(rules) if rules.set.decides(Sort::Versions, path).is_some() => Retention::Covered,
            Some(_) => Retention::Uncovered,
        };
        let judged: Vec<Vec<Judged>> = page
            .items
            .iter()
            .map(|one| {
                let retention = covered(&one.credential.path);
                one.subject(now, retention, |subject| judge(&set, &subject))
            })
            .collect();
        let record = self
            .record(caller, "credential.check", Outcome::Done)
            .detail(format!("{}: {} below `{prefix}`", set.id, page.items.len()));
        self.write_down(caller, record).await?;
        let counts = tally(&set, judged.iter().map(Vec::as_slice));
        let controls = set.controls().zip(counts).enumerate();
        let controls = controls.map(|(at, (control, tally))| Counted {
            control: control.label(),
            tally,
            unknown: reasons(judged.iter().filter_map(|all| all.get(at))),
        });
        Ok(Report {
            looked_at: page.items.len(),
            controls: controls.collect(),
            system: judge_system(&set),
            next: page.next,
            failing: page
                .items
                .into_iter()
                .zip(judged)
                .filter_map(|(one, judged)| failing(one.credential.path, judged))
                .collect(),
            set,
        })
    }

    /// A built-in set, or one of the tenant's own. Frameworks are no secret: whoever is known may
    /// read them.
    pub async fn rule_set(&self, caller: &Caller, id: &Name) -> Result<RuleSet, Fault> {
        if let Some(set) = builtin().into_iter().find(|set| set.id == *id) {
            return Ok(set);
        }
        let found = self
            .0
            .documents
            .find(&caller.context, Collection::Compliance, id.as_str())
            .await?;
        match found {
            Some((set, _)) => Ok(set),
            None => Err(Fault::missing(format!("rule set `{id}`"))),
        }
    }

    /// The built-in sets and a page of the tenant's own.
    pub async fn rule_sets(
        &self,
        caller: &Caller,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RuleSet>, Fault> {
        let mut page: Page<RuleSet> = self
            .objects(caller, Collection::Compliance, after, limit)
            .await?;
        if after.is_none() {
            page.items.splice(0..0, builtin());
        }
        Ok(page)
    }

    /// Makes or replaces a rule set of the tenant's own.
    pub async fn put_rule_set(&self, caller: &Caller, set: RuleSet) -> Result<(), Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        set.check_custom()
            .map_err(|error| Fault::invalid(error.to_string()))?;
        let record = self
            .record(caller, "compliance.write", Outcome::Done)
            .detail(set.id.to_string());
        let tenant = &caller.context.tenant;
        let document = encode(Collection::Compliance, tenant, set.id.as_str(), &set, None)?;
        self.replace(caller, document, record).await
    }

    /// Removes a rule set of the tenant's own.
    pub async fn remove_rule_set(&self, caller: &Caller, id: &Name) -> Result<(), Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        self.remove(
            caller,
            Collection::Compliance,
            id.as_str(),
            "compliance.remove",
        )
        .await
    }
}

fn failing(path: Path, judged: Vec<Judged>) -> Option<Failing> {
    let failed: Vec<Judged> = judged
        .into_iter()
        .filter(|one| one.verdict == Verdict::Fail)
        .collect();
    (!failed.is_empty()).then_some(Failing { path, failed })
}

fn reasons<'j>(judged: impl Iterator<Item = &'j Judged>) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    for one in judged.filter(|one| one.verdict == Verdict::NotAssessed) {
        if reasons.len() == REASONS {
            break;
        }
        if !reasons.contains(&one.because) {
            reasons.push(one.because.clone());
        }
    }
    reasons
}
