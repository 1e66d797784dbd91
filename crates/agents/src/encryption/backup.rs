//! Backups: their headers, the seals of their frames, and the proof that what came out of one opens.
//!
//! A frame holds rows as they are stored, so what passes here is sealed already where it is secret.
//! The file's key is derived for each frame from what the header says: nothing is kept between two
//! asks, and a restart of the agent between two frames changes nothing.

use pentad_keys::framed::{FileKey, MAX_HEADER, Place};
use pentad_model::{Context, Kind, Version};

use super::Encryption;
use crate::{
    Fault,
    backup::{Header, header::FORMAT},
    contract::encryption::{BeginBackup, Open, OpenFrame, OpenedFrame, SealFrame},
    handoff::Bearer,
};

/// A header with a salt of its own.
pub(super) fn begin(agent: &Encryption, ask: BeginBackup) -> Result<Vec<u8>, Fault> {
    let mut salt = [0; 32];
    agent.entropy.fill(&mut salt);
    let header = Header {
        format: FORMAT,
        id: ask.id,
        parent: ask.parent,
        taken_at: agent.clock.now(),
        log: ask.log,
        check: agent.keyring.root_check(),
        root: ask.root,
        salt: hex::encode(salt),
    };
    let bytes = serde_json::to_vec(&header).map_err(|error| Fault::internal(error.to_string()))?;
    match bytes.len() <= MAX_HEADER {
        true => Ok(bytes),
        false => Err(Fault::internal("a backup's header is too long")),
    }
}

/// Seals a frame.
pub(super) fn seal(agent: &Encryption, ask: &SealFrame) -> Result<Vec<u8>, Fault> {
    let place = Place {
        number: ask.number,
        kind: ask.kind,
        last: ask.last,
    };
    file_key(agent, &ask.header)?
        .seal(place, &ask.plain, &*agent.entropy)
        .map_err(|error| Fault::internal(error.to_string()))
}

/// Opens a frame.
pub(super) fn open(agent: &Encryption, ask: &OpenFrame) -> Result<OpenedFrame, Fault> {
    let opened = file_key(agent, &ask.header)?.open(ask.number, &ask.frame);
    let (place, plain) = opened.map_err(|_| Fault::Damaged {
        message: "the backup is damaged: a part of it does not open; use another copy".to_owned(),
    })?;
    Ok(OpenedFrame {
        kind: place.kind,
        last: place.last,
        plain: plain.expose().to_vec(),
    })
}

fn file_key(agent: &Encryption, bytes: &[u8]) -> Result<FileKey, Fault> {
    let header = Header::parse(bytes)?;
    if header.check != agent.keyring.root_check() {
        return Err(Fault::conflict(
            "the backup is of another store: it was made under another root key",
        ));
    }
    agent
        .keyring
        .backup_key(&header.salt()?, bytes)
        .map_err(|error| Fault::internal(error.to_string()))
}

/// What is wrong with a version, if something is. Its value is overwritten when this returns.
pub(super) async fn prove(
    agent: &Encryption,
    context: &Context,
    kind: Kind,
    version: &Version,
) -> Result<Option<String>, Fault> {
    if version.tenant != context.tenant {
        return Err(Fault::internal("a version of another tenant"));
    }
    let Some(sealed) = version.sealed.clone() else {
        return Ok(None);
    };
    let ask = Open {
        path: version.path.clone(),
        kind,
        number: version.number,
        stage: version.stage,
        stage_mac: version.stage_mac,
        sealed,
        bearer: Bearer::Encryption,
    };
    let value = match agent.unsealed(context, &ask).await {
        Ok(value) => value,
        Err(Fault::Damaged { message }) => return Ok(Some(message)),
        Err(fault) => return Err(fault),
    };
    let fingerprint = agent
        .keyring
        .fingerprint(&context.tenant, &value)
        .map_err(|error| Fault::internal(error.to_string()))?;
    let same = fingerprint == version.fingerprint;
    let (path, number) = (&ask.path, ask.number);
    Ok((!same).then(|| {
        format!("`{path}` version {number}: its value is not the one that its fingerprint tells of")
    }))
}
