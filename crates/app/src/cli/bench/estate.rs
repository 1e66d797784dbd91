//! A made-up estate: credentials in the shape of a company's, each really sealed.
//!
//! Teams of a hundred applications, five credentials each: `team-7/app-42/db`. One in a thousand has
//! a cost centre; each has the tag `env`. The same number always makes the same credential, but for
//! its value, which is random.

use pentad_keys::{Binding, Keyring};
use pentad_model::{
    Clock as _, Credential, Kind, Path, Record, Secret, Stage, SystemClock, Tenant, Version,
    credential::Origin,
    id::{Entropy as _, OsEntropy},
};
use pentad_store::{Change, Op, Writer};

use super::audit::record;
use crate::{failure::Failure, progress::Progress};

/// Credentials of an application.
pub(super) const PER_APP: u64 = 5;
/// Applications of a team.
pub(super) const APPS: u64 = 100;
/// Credentials of a team.
pub(super) const PER_TEAM: u64 = PER_APP * APPS;
/// One in so many has the tag `cost`.
pub(super) const RARE: u64 = 1000;
/// Credentials of one change while an estate is made.
const AT_ONCE: u64 = 2000;

const WHAT: [(&str, Kind); PER_APP as usize] = [
    ("api", Kind::ApiKey),
    ("cache", Kind::Password),
    ("db", Kind::Password),
    ("queue", Kind::Password),
    ("webhook", Kind::Secret),
];

/// The path of a credential.
pub(super) fn path(number: u64) -> Result<Path, Failure> {
    let (team, rest) = (number / PER_TEAM, number % PER_TEAM);
    let (app, what) = (rest / PER_APP, rest % PER_APP);
    let (what, _) = WHAT[what as usize];
    format!("team-{team}/app-{app}/{what}")
        .parse()
        .map_err(|error: pentad_model::name::InvalidName| Failure::internal(error.to_string()))
}

/// A credential and its current version, as the operations would store them.
pub(super) fn credential(keyring: &Keyring, number: u64) -> Result<(Credential, Version), Failure> {
    let (tenant, path) = (Tenant::default_tenant(), path(number)?);
    let (_, kind) = WHAT[(number % PER_APP) as usize];
    let now = SystemClock.now();
    let mut tags = std::collections::BTreeMap::new();
    let env = ["dev", "prod", "stage"][(number % 3) as usize];
    tags.insert("env".to_owned(), env.to_owned());
    if number.is_multiple_of(RARE) {
        tags.insert("cost".to_owned(), format!("cc-{}", number / RARE % 10));
    }
    let mut random = zeroize::Zeroizing::new([0u8; 16]);
    OsEntropy.fill(&mut *random);
    let value = Secret::new(hex::encode(*random));
    let internal = |error: pentad_keys::Error| Failure::internal(error.to_string());
    let binding = Binding {
        tenant: &tenant,
        path: &path,
        version: 1,
        kind,
    };
    let version = Version {
        tenant: tenant.clone(),
        path: path.clone(),
        number: 1,
        stage: Stage::Current,
        stage_mac: keyring
            .stage_mac(&tenant, &path, 1, Stage::Current)
            .map_err(internal)?,
        sealed: Some(keyring.seal(&binding, &value).map_err(internal)?),
        fingerprint: keyring.fingerprint(&tenant, &value).map_err(internal)?,
        account: None,
        origin: Origin::Put,
        derived_from: None,
        created_by: "agent:bench".to_owned(),
        created_at: now,
        staged_at: now,
    };
    let credential = Credential {
        tenant,
        path,
        kind,
        description: String::new(),
        provider: None,
        tags,
        owner: Some(format!("team-{}", number / PER_TEAM)),
        depends_on: Vec::new(),
        policy: None,
        generator: None,
        binding: None,
        expires_at: None,
        current: Some(1),
        latest: 1,
        in_doubt: false,
        revision: 1,
        created_at: now,
        updated_at: now,
        deleted_at: None,
    };
    Ok((credential, version))
}

/// Makes the credentials, in large changes with a record each.
pub(super) async fn make(
    store: &dyn Writer,
    keyring: &Keyring,
    count: u64,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut done = 0;
    while done < count {
        let next = (done + AT_ONCE).min(count);
        store
            .commit(Change {
                ops: created(keyring, done..next)?,
                records: vec![made(next)],
            })
            .await
            .map_err(|error| Failure::from(pentad_agents::Fault::from(error)))?;
        done = next;
        progress.at(done as usize, "credentials");
    }
    Ok(())
}

/// What makes these credentials.
pub(super) fn created(
    keyring: &Keyring,
    numbers: std::ops::Range<u64>,
) -> Result<Vec<Op>, Failure> {
    let mut ops = Vec::with_capacity(2 * (numbers.end - numbers.start) as usize);
    for number in numbers {
        let (credential, version) = credential(keyring, number)?;
        ops.push(Op::CreateCredential { credential });
        ops.push(Op::AddVersion { version });
    }
    Ok(ops)
}

fn made(number: u64) -> Record {
    let mut record = record(number);
    "credential.write".clone_into(&mut record.action);
    record
}
