//! The other four agents, as the rotation flow sees them: each port asks over the bus, one file a
//! port.

mod journal;
mod judge;
mod kept;
mod outside;
mod vault;

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use pentad_model::{Credential, Id, Record, Rotation, Version, rotation::Step};
use pentad_rotation::ports::Failure;
use pentad_runtime::Priority;

use self::kept::{Kept, Subject};
use super::{Desk, driver::ports_context};
use crate::{Fault, contract::encryption as enc, handoff::Bearer};

/// See the module.
pub(super) struct BusPorts {
    desk: Arc<Desk>,
    /// Uses of administrating credentials, to be recorded with the next commit of their rotation:
    /// before any effect that they made possible.
    uses: Mutex<HashMap<Id, Vec<Record>>>,
    kept: Kept,
}

impl BusPorts {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self {
            desk,
            uses: Mutex::default(),
            kept: Kept::default(),
        }
    }

    async fn credential(&self, rotation: &Rotation) -> Result<Credential, Failure> {
        Ok(self.subject_of(rotation).await?.credential.clone())
    }

    async fn subject_of(&self, rotation: &Rotation) -> Result<Arc<Subject>, Failure> {
        let reader = &*self.desk.reader;
        let (tenant, path) = (&rotation.tenant, &rotation.path);
        self.kept.subject(reader, tenant, path).await
    }
}

fn open(credential: &Credential, version: &Version, bearer: Bearer) -> Result<enc::Open, Failure> {
    let sealed = version.sealed.clone().ok_or_else(|| {
        Failure::Refused(format!(
            "version {} of `{}` was destroyed",
            version.number, version.path
        ))
    })?;
    Ok(enc::Open {
        path: version.path.clone(),
        kind: credential.kind,
        number: version.number,
        stage: version.stage,
        stage_mac: version.stage_mac,
        sealed,
        bearer,
    })
}

/// Steps around an effect in flight go ahead of everything.
fn urgency(rotation: &Rotation) -> Priority {
    match rotation.progress.step {
        Step::Applying | Step::Probing | Step::Retiring | Step::Undoing => Priority::Critical,
        _ => Priority::Normal,
    }
}

fn failure(fault: Fault) -> Failure {
    let message = fault.to_string();
    match fault {
        Fault::Invalid { .. }
        | Fault::Denied { .. }
        | Fault::Missing { .. }
        | Fault::Refused { .. }
        | Fault::Damaged { .. }
        | Fault::Target { .. } => Failure::Refused(message),
        _ => Failure::NotNow(message),
    }
}

fn store(error: pentad_store::StoreError) -> Failure {
    failure(Fault::from(error))
}
