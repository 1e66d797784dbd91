//! Work with a key that stays here: opened for one ask, used, zeroised.
//!
//! The key's own type says how it signs. Nothing that is worked on, and nothing of the key but its
//! public half, is in an error or in an answer; a plaintext leaves as a ticket.

use pentad_keys::operations::{self, OperationError, SignatureAlgorithm};
use pentad_model::{Secret, Tenant, secret::Fingerprint};

use super::Encryption;
use crate::{
    Fault,
    contract::encryption::{Open, Operated, Piece, Product, Work},
    handoff::{Bearer, Deposit, Ticket},
};

/// Does each piece of work apart. An error is the key's: then no piece was done.
pub(super) fn operate(
    agent: &Encryption,
    tenant: &Tenant,
    version: &Open,
    key: &Secret,
    work: Vec<Work>,
) -> Result<Operated, Fault> {
    let unfit = |error: OperationError| {
        Fault::invalid(format!(
            "`{}` version {}: {error}",
            version.path, version.number
        ))
    };
    let bench = Bench {
        agent,
        tenant,
        version,
        key,
        algorithm: operations::algorithm(key).map_err(unfit)?,
        public: operations::public_key(key).map_err(unfit)?,
    };
    Ok(Operated {
        algorithm: bench.algorithm,
        pieces: work.into_iter().map(|work| bench.piece(work)).collect(),
    })
}

struct Bench<'a> {
    agent: &'a Encryption,
    tenant: &'a Tenant,
    version: &'a Open,
    key: &'a Secret,
    algorithm: SignatureAlgorithm,
    public: String,
}

impl Bench<'_> {
    fn piece(&self, work: Work) -> Piece {
        let mut value_mac = None;
        let product = self.product(work, &mut value_mac);
        Piece { value_mac, product }
    }

    /// What is worked on is noted for the record as soon as it is known, also where the work fails.
    fn product(&self, work: Work, mac: &mut Option<Fingerprint>) -> Result<Product, Fault> {
        match work {
            Work::Sign(ticket) => {
                let message = self.taken(ticket, mac)?;
                operations::sign(self.algorithm, self.key, message.expose())
                    .map(Product::Bytes)
                    .map_err(fault)
            }
            Work::Verify(ticket, signature) => {
                let message = self.taken(ticket, mac)?;
                let (algorithm, message) = (self.algorithm, message.expose());
                match operations::verify(algorithm, &self.public, message, &signature) {
                    Ok(()) => Ok(Product::Valid(true)),
                    Err(OperationError::BadSignature) => Ok(Product::Valid(false)),
                    Err(error) => Err(fault(error)),
                }
            }
            Work::Encrypt(ticket) => {
                let plaintext = self.taken(ticket, mac)?;
                self.rsa()?;
                operations::encrypt(&self.public, &plaintext)
                    .map(Product::Bytes)
                    .map_err(fault)
            }
            Work::Decrypt(ciphertext) => {
                self.rsa()?;
                let plaintext = operations::decrypt(self.key, &ciphertext).map_err(fault)?;
                *mac = Some(self.mac(&plaintext)?);
                let handoff = &self.agent.handoff;
                handoff
                    .deposit(self.tenant, plaintext, Bearer::Interface)
                    .map(Deposit::leave)
                    .map(Product::Plaintext)
            }
            Work::Publish => Ok(Product::PublicKey(self.public.clone())),
        }
    }

    fn taken(&self, ticket: Ticket, mac: &mut Option<Fingerprint>) -> Result<Secret, Fault> {
        let value = self.agent.handoff.redeem(ticket, Bearer::Encryption)?;
        *mac = Some(self.mac(&value)?);
        Ok(value)
    }

    fn mac(&self, value: &Secret) -> Result<Fingerprint, Fault> {
        let Open { path, number, .. } = self.version;
        self.agent
            .keyring
            .audit_mac(value)
            .map_err(|error| self.agent.fault(path, *number, &error))
    }

    fn rsa(&self) -> Result<(), Fault> {
        match self.algorithm {
            SignatureAlgorithm::RsaPssSha256 => Ok(()),
            _ => Err(Fault::invalid(format!(
                "`{}` version {} is no RSA key: it signs, and can't encrypt",
                self.version.path, self.version.number
            ))),
        }
    }
}

fn fault(error: OperationError) -> Fault {
    match error {
        OperationError::Primitive => Fault::internal(error.to_string()),
        _ => Fault::invalid(error.to_string()),
    }
}
