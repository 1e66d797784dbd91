//! Below the agents: what mends a damaged audit log.

use pentad_agents::monitoring::high_water_of;
use pentad_model::{
    Clock as _, Context, Id, Principal, Record, SystemClock, Tenant, id::OsEntropy, record::Outcome,
};
use pentad_store::{
    Change, Collection, Document, Expect, Op,
    audit::{self, AuditLog, Repair},
};

use super::{
    failures::{audit_failure, store_failure},
    high_water, local_user, open_either,
    place::Place,
};
use crate::failure::Failure;

/// Moves what is damaged in the audit log aside and lets it go on from there, on record.
///
/// The store may know of records that the log has lost for good; accepting that is the point of a
/// repair, so the high-water mark is set to what there is.
pub(crate) async fn repair_audit(place: &Place) -> Result<Repair, Failure> {
    let (reader, writer) = open_either(place).await?;
    let expected = high_water(&*reader).await?;
    let repair = audit::repair(&place.audit()).map_err(|error| audit_failure(place, error))?;
    let log = AuditLog::open(&place.audit(), place.audit_options(), repair.kept)
        .map_err(|error| audit_failure(place, error))?;
    if repair.moved.is_empty() && repair.kept >= expected {
        return Ok(repair);
    }
    let now = SystemClock.now();
    let context = Context {
        correlation: Id::generate(now, &OsEntropy),
        tenant: Tenant::default_tenant(),
        principal: Principal::Local { user: local_user() },
        origin: "local".to_owned(),
    };
    let id = Id::generate(now, &OsEntropy);
    let record = Record::new(id, now, &context, "audit.repair", Outcome::Done).detail(format!(
        "kept {} records of {expected} known, moved {} files aside",
        repair.kept,
        repair.moved.len()
    ));
    log.append(&record)
        .await
        .map_err(|error| audit_failure(place, error))?;
    let document = Document {
        collection: Collection::State,
        tenant: Tenant::default_tenant(),
        name: high_water_of(reader.node()),
        revision: 0,
        expires_at: None,
        body: log.size().into(),
        seal: None,
    };
    let op = Op::PutDocument {
        document,
        expect: Expect::Any,
    };
    writer
        .commit(Change {
            ops: vec![op],
            records: Vec::new(),
        })
        .await
        .map_err(|error| store_failure(place, error))?;
    Ok(repair)
}
