//! Storing and reading credentials.

use std::sync::Arc;

use pentad_model::{
    Credential, Path, Secret, Stage, Tenant, Timestamp, Verb, Version,
    assessment::Assessment,
    credential::{Binding, Origin},
    kind::{Generator, Kind},
    record::Outcome,
};
use pentad_store::{Op, Page};

use super::{Caller, Pentad, bindings::Bound, checks::judge_ask, versions::is_rotated};
use crate::{
    Fault,
    contract::encryption::{self as enc, Move},
    current::touch,
    displaced::{MAX_DISPLACED, displaced},
    handoff::Bearer,
    hot::{Current, Lookup},
};

/// How often a put that names no revision begins anew when others changed the credential meanwhile.
/// At each group commit one of them is the first, so that this many may write one credential at the
/// same moment.
const TRIES: usize = 32;

/// A value to store, with what is known of it. `None` leaves a stored field as it is.
#[derive(Clone, Debug, Default)]
pub struct Put {
    /// Its kind; needed for a new credential, and never changed afterwards.
    pub kind: Option<Kind>,
    /// The kind of a new credential that `kind` says nothing of; no matter for one that is stored.
    pub kind_if_new: Option<Kind>,
    /// The value; `None` changes metadata only.
    pub value: Option<Value>,
    /// For people.
    pub description: Option<String>,
    /// Who issued it.
    pub provider: Option<String>,
    /// Replaces all tags.
    pub tags: Option<std::collections::BTreeMap<String, String>>,
    /// A person or team.
    pub owner: Option<String>,
    /// Credentials to rotate before this one.
    pub depends_on: Option<Vec<Path>>,
    /// The credential policy.
    pub policy: Option<pentad_model::Name>,
    /// How its new values are made.
    pub generator: Option<Generator>,
    /// Where and how it is rotated.
    pub binding: Option<Binding>,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// The revision that the caller saw; 0 for "must not exist yet"; `None` for any.
    pub expect: Option<u64>,
    /// Store a value that policy would refuse; the findings are on record.
    pub accept_weak: bool,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Value {
    /// The caller gives it.
    Given(Secret),
    /// Pentad makes it by the credential's generator.
    Generated,
}

/// What was stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The credential as it is now.
    pub credential: Credential,
    /// The judgement on the value, if one was stored.
    pub assessment: Option<Assessment>,
}

/// How one try to store ended, where nothing forbids it.
enum Attempt {
    Stored(Box<Stored>),
    /// What the change was made for is not what is there any more.
    Raced(Fault),
}

/// A value that was read, after its record became durable.
#[derive(Debug)]
pub struct Reading {
    /// Where it is.
    pub path: Path,
    /// The credential, and which version.
    pub of: Arc<Current>,
    /// The value.
    pub value: Secret,
}

impl Pentad {
    /// Reads a value: the current version, or the one asked for.
    ///
    /// Access decision, sealed version from the store, opened by the encryption agent, record
    /// durable, then the answer.
    pub async fn read(
        &self,
        caller: &Caller,
        path: &Path,
        number: Option<u32>,
    ) -> Result<Reading, Fault> {
        self.permit(caller, Verb::Read, path).await?;
        let found = self.sealed(caller, path, number).await?;
        let open = opening(path, &found, Bearer::Interface)?;
        let opened = self
            .0
            .encryption
            .open(&caller.context, caller.priority, open)
            .await?;
        let value = self.0.handoff.answer_for(opened.ticket);
        let mut record = self
            .record(caller, "credential.read", Outcome::Done)
            .on(path, Some(found.number));
        record.value_mac = Some(opened.value_mac);
        self.write_down(caller, record).await?;
        let value = self.0.handoff.redeem(value.ticket(), Bearer::Interface)?;
        Ok(Reading {
            path: path.clone(),
            of: found,
            value,
        })
    }

    /// The sealed version that a read is about. Versions that were never promoted are nobody's to
    /// read.
    pub(super) async fn sealed(
        &self,
        caller: &Caller,
        path: &Path,
        number: Option<u32>,
    ) -> Result<Arc<Current>, Fault> {
        let tenant = &caller.context.tenant;
        let found = match number {
            None => self.0.hot.current(tenant, path).await?,
            Some(number) => self.numbered(tenant, path, number).await?,
        };
        match found {
            Lookup::Nothing => Err(self.no_credential(caller, path).await),
            Lookup::Found(found) if !matches!(found.stage, Stage::Pending | Stage::Abandoned) => {
                Ok(found)
            }
            Lookup::NoValue | Lookup::Found(_) => Err(Fault::missing(match number {
                None => format!("a value of `{path}`"),
                Some(number) => format!("version {number} of `{path}`"),
            })),
        }
    }

    /// An older version is found by its number: where the current one is damaged, it is needed.
    async fn numbered(&self, tenant: &Tenant, path: &Path, number: u32) -> Result<Lookup, Fault> {
        let reader = &*self.0.reader;
        let Some((credential, _)) = reader.current(tenant, path).await? else {
            return Ok(Lookup::Nothing);
        };
        let version = reader.version(tenant, path, number).await?;
        Ok(version.map_or(Lookup::NoValue, |version| {
            Lookup::Found(Arc::new(Current::of(&credential, version)))
        }))
    }

    /// Stores a new credential, a new version of one, or new metadata.
    pub async fn put(&self, caller: &Caller, path: &Path, put: Put) -> Result<Stored, Fault> {
        self.permit(caller, Verb::Write, path).await?;
        self.store(caller, path, put, Origin::Put).await
    }

    /// As [`Pentad::put`], with the origin given; the caller was permitted.
    ///
    /// Who names no revision wants it stored whoever else writes: losing a race is no answer then.
    pub(super) async fn store(
        &self,
        caller: &Caller,
        path: &Path,
        put: Put,
        origin: Origin,
    ) -> Result<Stored, Fault> {
        if put.expect.is_none() {
            for _ in 1..TRIES {
                match self
                    .store_once(caller, path, put.clone(), origin.clone())
                    .await?
                {
                    Attempt::Stored(stored) => return Ok(*stored),
                    Attempt::Raced(_) => {}
                }
            }
        }
        match self.store_once(caller, path, put, origin).await? {
            Attempt::Stored(stored) => Ok(*stored),
            Attempt::Raced(fault) => Err(fault),
        }
    }

    async fn store_once(
        &self,
        caller: &Caller,
        path: &Path,
        mut put: Put,
        origin: Origin,
    ) -> Result<Attempt, Fault> {
        let tenant = &caller.context.tenant;
        let now = self.0.clock.now();
        let value = put.value.take();
        let accept_weak = put.accept_weak;
        let expect = put.expect;
        let (before, running) = self.0.reader.credential_to_write(tenant, path).await?;
        check_expectation(path, before.as_ref(), expect)?;
        let mut credential = match &before {
            Some(stored) => stored.clone(),
            None => {
                if value.is_none() {
                    return Err(self.no_credential(caller, path).await);
                }
                let mut fresh = fresh(caller, path, put.kind.or(put.kind_if_new), now)?;
                fresh.latest = self.last_number(caller, path).await?;
                fresh
            }
        };
        // Only what the caller says is sealed: what the credential says may be somebody else's.
        let bound = match &put.binding {
            Some(binding) => self.is_bound(caller, before.as_ref(), binding).await?,
            None => Bound::So,
        };
        if let (Some(stored), Bound::So, Some(_)) = (&before, bound, &value) {
            // A value is that of the account that it is bound to.
            self.bound(caller, stored).await?;
        }
        let rebound = bound != Bound::So;
        describe(&mut credential, put)?;
        let stays = bound != Bound::ByOthers && stays_bound(before.as_ref(), &credential);
        if rebound {
            self.permit_binding(caller, path, credential.binding.as_ref())
                .await?;
            self.check_binding(caller, &credential).await?;
        }

        let mut ops = Vec::new();
        let mut assessment = None;
        let mut record = self
            .record(caller, "credential.write", Outcome::Done)
            .on(path, None);
        // A rotation that starts from now on changes the credential's revision, and this fails.
        if let Some(running) = running.filter(|_| bound == Bound::Otherwise || value.is_some())
            && before.is_some()
        {
            return Err(is_rotated(&running));
        }
        if let Some(value) = value {
            // Adopted is what was just seen to log in.
            let unproven = origin != Origin::Adopted && stays;
            let displaced = match &before {
                Some(before) => self.displace(before, unproven).await,
                None => Ok((None, Vec::new())),
            };
            let (first, moves) = match displaced {
                Err(fault @ Fault::Conflict { .. }) => return Ok(Attempt::Raced(fault)),
                displaced => displaced?,
            };
            let mut made = self
                .sealed_version(caller, &credential, value, &moves, origin, accept_weak)
                .await?;
            made.version.derived_from = first.or(made.version.derived_from);
            ops.append(&mut made.moves);
            let number = made.version.number;
            credential.current = Some(number);
            credential.latest = number;
            credential.in_doubt = unproven;
            record.version = Some(number);
            record.value_mac = Some(made.value_mac);
            record.detail = format!("score {}", made.assessment.score);
            assessment = Some(made.assessment);
            ops.push(Op::AddVersion {
                version: made.version,
            });
        } else {
            "metadata".clone_into(&mut record.detail);
            if let Some(before) = before.as_ref().filter(|_| rebound && !stays) {
                // Values of one account are not tried at another.
                let current = match self.current_if_bound(before).await {
                    Err(fault @ Fault::Conflict { .. }) => return Ok(Attempt::Raced(fault)),
                    current => current?,
                };
                let (_, moves) = self.retire_displaced(current.as_ref(), 0).await?;
                ops = self.moved(caller, path, &moves).await?;
            }
        }
        if let Some(binding) = credential.binding.as_ref().filter(|_| rebound) {
            ops.push(self.put_binding(caller, path, binding).await?);
        }
        credential.revision += 1;
        credential.updated_at = now;
        ops.insert(
            0,
            match &before {
                None => Op::CreateCredential {
                    credential: credential.clone(),
                },
                Some(stored) => Op::UpdateCredential {
                    credential: credential.clone(),
                    expect: stored.revision,
                },
            },
        );
        match self.commit(caller, ops, record).await {
            Ok(()) => Ok(Attempt::Stored(Box::new(Stored {
                credential,
                assessment,
            }))),
            Err(fault @ Fault::Conflict { .. }) => Ok(Attempt::Raced(fault)),
            Err(fault) => Err(fault),
        }
    }

    /// What becomes of the versions before the one that takes over. Where that is `unproven`, not known
    /// to work at the target, the one that may is kept ([`displaced`]), and the version from before the
    /// first put in a row, if it is another, comes with the answer; else all of them are retired.
    async fn displace(
        &self,
        before: &Credential,
        unproven: bool,
    ) -> Result<(Option<u32>, Vec<Move>), Fault> {
        let Some(number) = before.current else {
            return Ok((None, Vec::new()));
        };
        let current = self.current_if_bound(before).await?;
        // Behind a value that worked, nothing older is needed.
        let keep = match unproven && before.in_doubt {
            true => MAX_DISPLACED - 1,
            false => 0,
        };
        let (first, mut moves) = self.retire_displaced(current.as_ref(), keep).await?;
        let (first, to) = match unproven {
            true => (first, Stage::Previous),
            false => (None, Stage::Retired),
        };
        moves.push(Move {
            number,
            from: Stage::Current,
            label: current.map(|version| version.stage_mac),
            to,
        });
        Ok((first, moves))
    }

    /// The current version of a credential that is bound: only there others are kept beside it. It is
    /// that of the credential as it was read before, or there is a conflict.
    async fn current_if_bound(&self, before: &Credential) -> Result<Option<Version>, Fault> {
        if before.binding.is_none() {
            return Ok(None);
        }
        let found = self.0.reader.current(&before.tenant, &before.path).await?;
        match found {
            Some((credential, current)) if credential.revision == before.revision => Ok(current),
            _ => Err(Fault::conflict("somebody else changed it at this moment")),
        }
    }

    /// Retires what puts displaced before the current version, but for so many; and the version from
    /// before the first of those puts, if it is kept.
    async fn retire_displaced(
        &self,
        current: Option<&Version>,
        keep: usize,
    ) -> Result<(Option<u32>, Vec<Move>), Fault> {
        let Some(current) = current else {
            return Ok((None, Vec::new()));
        };
        let (tenant, path) = (&current.tenant, &current.path);
        let all = displaced(&*self.0.reader, tenant, path, current).await?;
        let (kept, rest) = all.split_at(keep.min(all.len()));
        let first = kept.first().map(|version| version.number);
        let retired = rest.iter().map(|version| Move {
            number: version.number,
            from: Stage::Previous,
            label: Some(version.stage_mac),
            to: Stage::Retired,
        });
        Ok((
            first.filter(|first| current.derived_from == Some(*first)),
            retired.collect(),
        ))
    }

    /// Metadata of one credential.
    pub async fn describe(&self, caller: &Caller, path: &Path) -> Result<Credential, Fault> {
        self.permit(caller, Verb::List, path).await?;
        match self
            .0
            .reader
            .credential(&caller.context.tenant, path)
            .await?
        {
            Some(credential) => Ok(credential),
            None => Err(self.no_credential(caller, path).await),
        }
    }

    /// Versions of a credential, the newest first, without their values.
    pub async fn history(
        &self,
        caller: &Caller,
        path: &Path,
        before: Option<u32>,
        limit: usize,
    ) -> Result<Page<Version>, Fault> {
        self.permit(caller, Verb::List, path).await?;
        let tenant = &caller.context.tenant;
        if self.0.reader.credential(tenant, path).await?.is_none() {
            return Err(self.no_credential(caller, path).await);
        }
        let mut page = self.0.reader.versions(tenant, path, before, limit).await?;
        for version in &mut page.items {
            version.sealed = None;
        }
        Ok(page)
    }

    /// Soft-deletes a credential: it is no longer readable, and can be restored.
    pub async fn delete(
        &self,
        caller: &Caller,
        path: &Path,
        expect: Option<u64>,
    ) -> Result<Credential, Fault> {
        self.permit(caller, Verb::Delete, path).await?;
        self.refuse_while_rotating(caller, path).await?;
        let Some(seen) = self
            .0
            .reader
            .credential(&caller.context.tenant, path)
            .await?
        else {
            return Err(self.no_credential(caller, path).await);
        };
        check_expectation(path, Some(&seen), expect)?;
        // Looked for after the credential was read: a target that names it from now on changes its
        // revision.
        if let Some(why) = self.administrators(caller).await?.get(path) {
            return Err(Fault::conflict(why.clone()));
        }
        let now = self.0.clock.now();
        let expect = Some(seen.revision);
        self.change(caller, path, expect, "credential.delete", |credential| {
            if credential.deleted_at.is_some() {
                return Err(Fault::conflict("it is deleted already"));
            }
            credential.deleted_at = Some(now);
            Ok(())
        })
        .await
    }

    /// Takes a soft deletion back.
    pub async fn restore(&self, caller: &Caller, path: &Path) -> Result<Credential, Fault> {
        self.permit(caller, Verb::Delete, path).await?;
        self.change(caller, path, None, "credential.restore", |credential| {
            if credential.deleted_at.take().is_none() {
                return Err(Fault::conflict("it is not deleted"));
            }
            Ok(())
        })
        .await
    }

    /// Forgets a version's value for good; not the current one's.
    pub async fn destroy(&self, caller: &Caller, path: &Path, number: u32) -> Result<(), Fault> {
        self.permit(caller, Verb::Destroy, path).await?;
        let tenant = caller.context.tenant.clone();
        let Some(credential) = self.0.reader.credential(&tenant, path).await? else {
            return Err(self.no_credential(caller, path).await);
        };
        self.refuse_while_rotating(caller, path).await?;
        let Some(version) = self.0.reader.version(&tenant, path, number).await? else {
            return Err(Fault::missing(format!("version {number} of `{path}`")));
        };
        if matches!(version.stage, Stage::Pending | Stage::Abandoned) {
            return Err(Fault::conflict(format!(
                "version {number} of `{path}` was sent to a target, which may hold it: it is \
                 destroyed when a later rotation has proven another one"
            )));
        }
        if version.stage == Stage::Previous && credential.in_doubt {
            return Err(Fault::conflict(format!(
                "version {number} of `{path}` may be the one that its target accepts; `pentad adopt \
                 {path}` the value that works, or rotate it, first"
            )));
        }
        let record = self
            .record(caller, "version.destroy", Outcome::Done)
            .on(path, Some(number));
        let ops = vec![
            touch(&credential),
            Op::DestroyVersion {
                tenant,
                path: path.clone(),
                number,
                stage: version.stage,
                at: self.0.clock.now(),
            },
        ];
        self.commit(caller, ops, record).await
    }

    /// Reads, changes and writes a credential's metadata, with its record.
    async fn change(
        &self,
        caller: &Caller,
        path: &Path,
        expect: Option<u64>,
        action: &str,
        edit: impl Fn(&mut Credential) -> Result<(), Fault>,
    ) -> Result<Credential, Fault> {
        let tenant = &caller.context.tenant;
        let Some(stored) = self.0.reader.credential(tenant, path).await? else {
            return Err(self.no_credential(caller, path).await);
        };
        check_expectation(path, Some(&stored), expect)?;
        let mut credential = stored.clone();
        edit(&mut credential)?;
        credential.revision += 1;
        credential.updated_at = self.0.clock.now();
        let record = self.record(caller, action, Outcome::Done).on(path, None);
        let op = Op::UpdateCredential {
            credential: credential.clone(),
            expect: stored.revision,
        };
        self.commit(caller, vec![op], record).await?;
        Ok(credential)
    }

    /// Judges a stored value again; see `checks.rs` for whole estates.
    pub(super) async fn judge_version(
        &self,
        caller: &Caller,
        credential: &Credential,
        version: &Version,
        ticket: crate::handoff::Ticket,
    ) -> Result<Assessment, Fault> {
        let judge = judge_ask(credential, version, ticket);
        self.0
            .validation
            .judge(&caller.context, caller.priority, judge)
            .await
    }
}

/// How the encryption agent is asked for a version's value.
pub(super) fn opening(path: &Path, found: &Current, bearer: Bearer) -> Result<enc::Open, Fault> {
    let sealed = found.sealed.clone().ok_or_else(|| {
        let number = found.number;
        Fault::missing(format!(
            "the value of `{path}` version {number} (destroyed)"
        ))
    })?;
    Ok(enc::Open {
        path: path.clone(),
        kind: found.kind,
        number: found.number,
        stage: found.stage,
        stage_mac: found.stage_mac,
        sealed,
        bearer,
    })
}

fn check_expectation(
    path: &Path,
    stored: Option<&Credential>,
    expect: Option<u64>,
) -> Result<(), Fault> {
    match (stored, expect) {
        (_, None) => Ok(()),
        (None, Some(0)) => Ok(()),
        (Some(stored), Some(revision)) if stored.revision == revision => Ok(()),
        (Some(_), Some(0)) => Err(Fault::conflict(format!("`{path}` exists already"))),
        (Some(stored), Some(revision)) => Err(Fault::conflict(format!(
            "`{path}` is at revision {}, not {revision}: read it again and decide anew",
            stored.revision
        ))),
        (None, Some(_)) => Err(Fault::missing(format!("`{path}`"))),
    }
}

/// Whether it was bound before, and to the same account.
fn stays_bound(before: Option<&Credential>, now: &Credential) -> bool {
    let before = before.and_then(|before| before.binding.as_ref());
    match (before, &now.binding) {
        (Some(before), Some(now)) => before.target == now.target && before.account == now.account,
        _ => false,
    }
}

fn fresh(
    caller: &Caller,
    path: &Path,
    kind: Option<Kind>,
    now: Timestamp,
) -> Result<Credential, Fault> {
    Ok(Credential {
        tenant: caller.context.tenant.clone(),
        path: path.clone(),
        kind: kind.unwrap_or(Kind::Secret),
        description: String::new(),
        provider: None,
        tags: Default::default(),
        owner: None,
        depends_on: Vec::new(),
        policy: None,
        generator: None,
        binding: None,
        expires_at: None,
        current: None,
        latest: 0,
        in_doubt: false,
        revision: 0,
        created_at: now,
        updated_at: now,
        deleted_at: None,
    })
}

/// Takes over what a put says of the metadata.
fn describe(credential: &mut Credential, put: Put) -> Result<(), Fault> {
    if let Some(kind) = put.kind
        && kind != credential.kind
    {
        return Err(Fault::invalid(format!(
            "`{}` is a {}, and a credential's kind never changes; use another path for a {kind}",
            credential.path, credential.kind
        )));
    }
    if credential.deleted_at.is_some() {
        return Err(Fault::conflict(format!(
            "`{}` is deleted; `pentad restore {}` first",
            credential.path, credential.path
        )));
    }
    if let Some(description) = put.description {
        credential.description = description;
    }
    if let Some(tags) = put.tags {
        credential.tags = tags;
    }
    if let Some(depends_on) = put.depends_on {
        if depends_on.contains(&credential.path) {
            return Err(Fault::invalid("a credential can't depend on itself"));
        }
        credential.depends_on = depends_on;
    }
    credential.provider = put.provider.or(credential.provider.take());
    credential.owner = put.owner.or(credential.owner.take());
    credential.policy = put.policy.or(credential.policy.take());
    credential.generator = put.generator.or(credential.generator.take());
    credential.binding = put.binding.or(credential.binding.take());
    credential.expires_at = put.expires_at.or(credential.expires_at.take());
    Ok(())
}
