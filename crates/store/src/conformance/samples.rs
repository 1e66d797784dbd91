//! Objects to try a store with.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use pentad_model::{
    Credential, Id, Kind, Path, Record, Rotation, Sealed, Stage, Tenant, Timestamp, Version,
    credential::{Binding, Origin},
    record::Outcome,
    rotation::{Control, Lease, Progress, Step, Strategy},
    secret::Fingerprint,
};

use crate::{Change, Collection, Document, Op};

/// Where a bench's clock begins.
pub const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// An owner of samples.
pub const OWNER: &str = "team-a";

/// The tenant of every sample.
pub fn tenant() -> Tenant {
    Tenant::default_tenant()
}

/// A path.
pub fn path(text: &str) -> Path {
    text.parse().expect("a valid path")
}

/// A new credential without a version.
pub fn credential(at: &str) -> Credential {
    Credential {
        tenant: tenant(),
        path: path(at),
        kind: Kind::Password,
        description: "a sample".to_owned(),
        provider: None,
        tags: BTreeMap::new(),
        owner: None,
        depends_on: Vec::new(),
        policy: None,
        generator: None,
        binding: None,
        expires_at: None,
        current: None,
        latest: 0,
        in_doubt: false,
        revision: 1,
        created_at: NOW,
        updated_at: NOW,
        deleted_at: None,
    }
}

/// A binding to a target.
pub fn binding(target: &str) -> Binding {
    Binding {
        target: target.parse().expect("a valid name"),
        account: "app".to_owned(),
        alternate: None,
        strategy: None,
        owned: false,
        grace_seconds: 0,
        deliver_to: Vec::new(),
    }
}

/// A pending version. Its value, and so its fingerprint, is its number's.
pub fn version(at: &str, number: u32) -> Version {
    Version {
        tenant: tenant(),
        path: path(at),
        number,
        stage: Stage::Pending,
        stage_mac: Fingerprint([1; 32]),
        sealed: Some(Sealed::from_bytes(vec![number.to_le_bytes()[0]; 64])),
        fingerprint: Fingerprint([number.to_le_bytes()[0]; 32]),
        account: None,
        origin: Origin::Put,
        derived_from: None,
        created_by: "user:ann".to_owned(),
        created_at: NOW,
        staged_at: NOW,
    }
}

/// Moves a version from one stage to another.
pub fn staging(at: &str, number: u32, from: Stage, to: Stage) -> Op {
    Op::SetStage {
        tenant: tenant(),
        path: path(at),
        number,
        from,
        to,
        mac: Fingerprint([2; 32]),
        at: Timestamp(NOW.0 + 1),
    }
}

/// A credential with a current version 1.
pub fn stored(at: &str) -> Vec<Op> {
    let mut credential = credential(at);
    (credential.current, credential.latest) = (Some(1), 1);
    let mut version = version(at, 1);
    version.stage = Stage::Current;
    vec![create(credential), Op::AddVersion { version }]
}

/// See [`Op::CreateCredential`].
pub fn create(credential: Credential) -> Op {
    Op::CreateCredential { credential }
}

/// The same credential, one revision further.
pub fn update(mut credential: Credential) -> Op {
    let expect = credential.revision;
    credential.revision += 1;
    Op::UpdateCredential { credential, expect }
}

/// A planned rotation that is due at [`NOW`].
pub fn rotation(id: u128, at: &str) -> Rotation {
    Rotation {
        id: Id::from_u128(id),
        tenant: tenant(),
        path: path(at),
        target: "db".parse().expect("a valid name"),
        strategy: Strategy::InPlace,
        batch: None,
        after: Vec::new(),
        overwrite: false,
        progress: progress(Step::Planned),
        lease: Lease {
            holder: "w1".to_owned(),
            epoch: 1,
            until: NOW,
        },
        from: 1,
        from_account: "app".to_owned(),
        to: None,
        to_account: "app".to_owned(),
        connection: None,
        doubt_until: NOW,
        observe_until: NOW,
        control: Control::Run,
        resume_at: NOW,
        waits: 0,
        reason: None,
        evidence: Vec::new(),
        requested_by: "user:ann".to_owned(),
        correlation: Id::from_u128(id),
        revision: 1,
        created_at: NOW,
        updated_at: NOW,
    }
}

/// Progress at a step.
pub fn progress(step: Step) -> Progress {
    Progress {
        step,
        attempt: 0,
        promoted: false,
    }
}

/// The same rotation at another step, one revision further.
pub fn moved(rotation: &Rotation, step: Step) -> Op {
    let mut rotation = rotation.clone();
    let expect = rotation.revision;
    rotation.revision += 1;
    rotation.progress = progress(step);
    Op::UpdateRotation { rotation, expect }
}

/// A role.
pub fn document(name: &str) -> Document {
    Document {
        collection: Collection::Role,
        tenant: tenant(),
        name: name.to_owned(),
        revision: 0,
        expires_at: None,
        body: serde_json::json!({ "name": name, "rules": [] }),
        seal: None,
    }
}

/// A record.
pub fn record(id: Id) -> Record {
    Record {
        id,
        at: NOW,
        correlation: id,
        tenant: tenant(),
        principal: "user:ann".to_owned(),
        origin: "local".to_owned(),
        action: "credential.write".to_owned(),
        outcome: Outcome::Done,
        path: None,
        version: None,
        detail: String::new(),
        value_mac: None,
    }
}

/// A change with one record that no other change has.
pub fn change(ops: impl IntoIterator<Item = Op>) -> Change {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = Id::from_u128(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)) | 1 << 100);
    Change {
        ops: ops.into_iter().collect(),
        records: vec![record(id)],
    }
}
