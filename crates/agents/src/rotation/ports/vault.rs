//! The encryption agent: new values, opened ones, and random ones that must be refused.

use async_trait::async_trait;
use pentad_model::{Credential, Rotation, Stage, Version, credential::Origin};
use pentad_rotation::ports::{Draft, Failure, Ticket, Vault};

use super::{BusPorts, failure, open, ports_context, urgency};
use crate::{contract::encryption as enc, handoff::Bearer};

#[async_trait]
impl Vault for BusPorts {
    async fn draft(&self, rotation: &Rotation, credential: &Credential) -> Result<Draft, Failure> {
        let generator = credential
            .generator
            .clone()
            .or_else(|| credential.kind.profile().generator.map(|make| make()))
            .ok_or_else(|| {
                Failure::Refused(format!(
                    "only its provider can make a {}; give the credential a `generator`",
                    credential.kind
                ))
            })?;
        // Another attempt may have used up the number that was next when this drive began.
        let number = self.credential(rotation).await?.latest + 1;
        let ask = enc::Draft {
            path: rotation.path.clone(),
            kind: credential.kind,
            number,
            stage: Stage::Pending,
            generator,
            moves: Vec::new(),
        };
        let context = ports_context(rotation);
        let made = self
            .desk
            .encryption
            .draft(&context, urgency(rotation), ask)
            .await
            .map_err(failure)?;
        let now = self.desk.clock.now();
        let version = Version {
            tenant: rotation.tenant.clone(),
            path: rotation.path.clone(),
            number,
            stage: Stage::Pending,
            stage_mac: made.value.stage_mac,
            sealed: Some(made.value.sealed),
            fingerprint: made.value.fingerprint,
            account: Some(rotation.to_account.clone()),
            origin: Origin::Rotation { id: rotation.id },
            derived_from: Some(rotation.from),
            created_by: context.principal.to_string(),
            created_at: now,
            staged_at: now,
        };
        Ok(Draft {
            version,
            to_judge: made.to_judge,
            drawn_bits: made.drawn_bits,
        })
    }

    async fn open(
        &self,
        rotation: &Rotation,
        credential: &Credential,
        version: &Version,
    ) -> Result<Ticket, Failure> {
        // The label carries a MAC, the rotation's row does not: whatever that names, what was
        // retired is never tried, sent or promoted again. A version is retired as a rotation ends.
        if version.stage == Stage::Retired {
            return Err(Failure::Refused(format!(
                "version {} of `{}` is retired; rotate it anew",
                version.number, version.path
            )));
        }
        let ask = open(credential, version, Bearer::Integration)?;
        let context = ports_context(rotation);
        let opened = self
            .desk
            .encryption
            .open(&context, urgency(rotation), ask)
            .await
            .map_err(failure)?;
        Ok(opened.ticket)
    }

    async fn decoy(&self, rotation: &Rotation) -> Result<Ticket, Failure> {
        let context = ports_context(rotation);
        self.desk
            .encryption
            .decoy(&context, urgency(rotation), enc::Decoy {})
            .await
            .map_err(failure)
    }
}
