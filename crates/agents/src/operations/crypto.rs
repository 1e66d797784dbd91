//! Working with stored keys: sign, verify, encrypt, decrypt. The private key does not leave.
//!
//! What is made carries the version that made it, `pentad:v<number>:<base64>`, so that a signature
//! still verifies and a ciphertext still opens after the key was rotated, as long as that version's
//! value has not been destroyed. New ones are made by the current version only.
//!
//! | stage of the version | sign, encrypt | verify | decrypt |
//! |---|---|---|---|
//! | current | yes | yes | yes |
//! | previous, retired (superseded) | no | yes | yes |
//! | revoked (compromised) | no | no: anybody may have signed | yes, so that the data can be saved |
//! | destroyed, or never promoted | no | no | no |
//!
//! Each piece of work has a record of its own with a keyed digest of what was worked on, durable
//! before the answer. To sign and to decrypt, the right is `use`: it shows no key, and `read` does not
//! imply it. What needs only the public half, to verify, to encrypt and to publish it, is for whoever
//! may `list` the key too: who has that half can do all of it elsewhere.

use std::{collections::BTreeMap, fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use pentad_keys::operations::SignatureAlgorithm;
use pentad_model::{Path, Record, Secret, Stage, Verb, record::Outcome, secret::Fingerprint};

use super::{
    Caller, Pentad,
    bench::{EACH, urgency},
    credentials::opening,
};
use crate::{
    Fault,
    contract::encryption::{Open, Operate, Operated, Product, Work},
    handoff::Bearer,
};

/// Pieces that are sent to the agent together: little enough that a batch uses all its threads, and
/// that the longest, decrypting with 8192 bits, is far from the agent's budget.
const TOGETHER: usize = 16;
/// The longest text of a signature or ciphertext: 8192 bits in base64, and its prefix.
const LONGEST_TEXT: usize = 1500;

/// One piece of work.
#[derive(Debug)]
pub enum Task {
    /// Sign this.
    Sign(Secret),
    /// Say whether this is a signature of that.
    Verify(Secret, Made),
    /// Encrypt this.
    Encrypt(Secret),
    /// Decrypt this.
    Decrypt(Made),
}

/// What came of it, and by which version.
#[derive(Debug)]
pub struct Worked {
    /// The version that is the key.
    pub version: u32,
    /// The product.
    pub output: Output,
}

/// The product of a piece of work.
#[derive(Debug)]
pub enum Output {
    /// A signature or ciphertext.
    Made(Made),
    /// Whether the signature is right.
    Valid(bool),
    /// The plaintext.
    Plaintext(Secret),
}

/// The public half of a key.
#[derive(Debug)]
pub struct PublicKey {
    /// The version.
    pub version: u32,
    /// What it signs with.
    pub algorithm: SignatureAlgorithm,
    /// SubjectPublicKeyInfo (RFC 5280), PEM.
    pub pem: String,
}

/// A signature or a ciphertext, with the version that made it: `pentad:v<number>:<base64>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Made {
    /// Which version made it.
    pub version: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pentad:v{}:{}",
            self.version,
            STANDARD.encode(&self.bytes)
        )
    }
}

impl FromStr for Made {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let parts = || {
            let rest = text.strip_prefix("pentad:v")?;
            let (number, base64) = rest.split_once(':')?;
            let plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
            Some(Self {
                version: number.parse().ok().filter(|_| plain)?,
                bytes: STANDARD.decode(base64).ok()?,
            })
        };
        Some(text)
            .filter(|text| text.len() <= LONGEST_TEXT)
            .and_then(|_| parts())
            .ok_or_else(|| {
                Fault::invalid(
                    "signatures and ciphertexts are like `pentad:v1:<standard base64>`, as they \
                     were answered",
                )
            })
    }
}

impl Task {
    fn action(&self) -> &'static str {
        match self {
            Self::Sign(_) => "key.sign",
            Self::Verify(..) => "key.verify",
            Self::Encrypt(_) => "key.encrypt",
            Self::Decrypt(_) => "key.decrypt",
        }
    }

    /// Whether the public half will do.
    fn is_public(&self) -> bool {
        matches!(self, Self::Verify(..) | Self::Encrypt(_))
    }

    /// The version that can do it; `None` is the current one.
    fn version(&self) -> Option<u32> {
        match self {
            Self::Sign(_) | Self::Encrypt(_) => None,
            Self::Verify(_, made) | Self::Decrypt(made) => Some(made.version),
        }
    }
}

/// A piece of work under way: its place in the batch, and what its record will say.
struct Place {
    index: usize,
    action: &'static str,
}

struct Ended {
    place: Place,
    version: u32,
    value_mac: Option<Fingerprint>,
    output: Result<Output, Fault>,
}

impl Pentad {
    /// Does each piece of work apart, in parallel; the results are in the order of the tasks. All of
    /// it is on record before the answer.
    pub async fn work(
        &self,
        caller: &Caller,
        path: &Path,
        tasks: Vec<Task>,
    ) -> Result<Vec<Result<Worked, Fault>>, Fault> {
        match tasks.iter().all(Task::is_public) {
            true => self.permit_public(caller, path).await?,
            false => self.permit(caller, Verb::Use, path).await?,
        }
        let stored = self
            .0
            .reader
            .credential(&caller.context.tenant, path)
            .await?;
        if stored.is_none_or(|found| found.deleted_at.is_some()) {
            return Err(self.no_credential(caller, path).await);
        }
        let mut results: Vec<_> = tasks.iter().map(|_| None).collect();
        let mut by_version = BTreeMap::<_, Vec<_>>::new();
        for (index, task) in tasks.into_iter().enumerate() {
            by_version
                .entry(task.version())
                .or_default()
                .push((index, task));
        }
        let mut parcels = Vec::new();
        let mut records = Vec::new();
        for (number, tasks) in by_version {
            match self.key(caller, path, number).await {
                Ok(key) => {
                    let mut tasks = tasks.into_iter().peekable();
                    while tasks.peek().is_some() {
                        let parcel: Vec<_> = tasks.by_ref().take(TOGETHER).collect();
                        parcels.push((key.clone(), parcel));
                    }
                }
                Err(fault) => {
                    for (index, task) in tasks {
                        records.push(self.told(caller, path, task.action(), number, Some(&fault)));
                        results[index] = Some(Err(fault.clone()));
                    }
                }
            }
        }
        let ended: Vec<Vec<Ended>> = stream::iter(parcels)
            .map(|(key, parcel)| self.parcel(caller, key, parcel))
            .buffer_unordered(EACH)
            .try_collect()
            .await?;
        for ended in ended.into_iter().flatten() {
            let Ended {
                place,
                version,
                value_mac,
                output,
            } = ended;
            let fault = output.as_ref().err();
            let mut record = self.told(caller, path, place.action, Some(version), fault);
            record.value_mac = value_mac;
            match output {
                Ok(Output::Valid(true)) => "valid".clone_into(&mut record.detail),
                Ok(Output::Valid(false)) => "not valid".clone_into(&mut record.detail),
                _ => {}
            }
            records.push(record);
            results[place.index] = Some(output.map(|output| Worked { version, output }));
        }
        // Durable before anything leaves.
        if !records.is_empty() {
            self.0
                .monitoring
                .record(&caller.context, caller.priority, records)
                .await?;
        }
        let lost = || Err(Fault::internal("a piece of work was lost"));
        Ok(results
            .into_iter()
            .map(|result| result.unwrap_or_else(lost))
            .collect())
    }

    /// The public half of a version, the current one unless it is named.
    pub async fn public_key(
        &self,
        caller: &Caller,
        path: &Path,
        number: Option<u32>,
    ) -> Result<PublicKey, Fault> {
        self.permit_public(caller, path).await?;
        let key = self.key(caller, path, number).await?;
        let version = key.number;
        let work = vec![Work::Publish];
        let seat = self.0.bench.sit(&caller.context).await?;
        let operated = self.operate(caller, Operate { key, work }).await?;
        drop(seat);
        let record = self.told(caller, path, "key.publish", Some(version), None);
        self.write_down(caller, record).await?;
        let algorithm = operated.algorithm;
        match operated
            .pieces
            .into_iter()
            .next()
            .map(|piece| piece.product)
        {
            Some(Ok(Product::PublicKey(pem))) => Ok(PublicKey {
                version,
                algorithm,
                pem,
            }),
            Some(Err(fault)) => Err(fault),
            _ => Err(Fault::internal("no public key was answered")),
        }
    }

    /// Who may see that a key is there, or use it, may have what its public half gives.
    async fn permit_public(&self, caller: &Caller, path: &Path) -> Result<(), Fault> {
        match caller.rights.access.allows(Verb::Use, path) {
            true => Ok(()),
            false => self.permit(caller, Verb::List, path).await,
        }
    }

    /// The version that does the work, as the encryption agent opens it.
    async fn key(&self, caller: &Caller, path: &Path, number: Option<u32>) -> Result<Open, Fault> {
        let found = self.sealed(caller, path, number).await?;
        opening(path, &found, Bearer::Encryption)
    }

    /// One ask of the encryption agent, on its threads for what computes.
    async fn parcel(
        &self,
        caller: &Caller,
        key: Open,
        tasks: Vec<(usize, Task)>,
    ) -> Result<Vec<Ended>, Fault> {
        // First a place, then the deposits: what waits for one holds nothing up.
        let _seat = self.0.bench.sit(&caller.context).await?;
        let version = key.number;
        let revoked = key.stage == Stage::Revoked;
        let mut places = Vec::new();
        let mut work = Vec::new();
        // Until the answer: what the agent did not come to use goes with them.
        let mut deposits = Vec::new();
        let mut ended = Vec::new();
        for (index, task) in tasks {
            let place = Place {
                index,
                action: task.action(),
            };
            if revoked && matches!(task, Task::Verify(..)) {
                let output = Err(Fault::invalid(format!(
                    "version {version} of `{}` was revoked: its signatures prove nothing",
                    key.path
                )));
                ended.push(Ended {
                    place,
                    version,
                    value_mac: None,
                    output,
                });
                continue;
            }
            places.push(place);
            let mut deposit = |value| {
                let (handoff, tenant) = (&self.0.handoff, &caller.context.tenant);
                let deposit = handoff.deposit(tenant, value, Bearer::Encryption)?;
                let ticket = deposit.ticket();
                deposits.push(deposit);
                Ok::<_, Fault>(ticket)
            };
            work.push(match task {
                Task::Sign(message) => Work::Sign(deposit(message)?),
                Task::Verify(message, made) => Work::Verify(deposit(message)?, made.bytes),
                Task::Encrypt(plaintext) => Work::Encrypt(deposit(plaintext)?),
                Task::Decrypt(made) => Work::Decrypt(made.bytes),
            });
        }
        if work.is_empty() {
            return Ok(ended);
        }
        let done = match self.operate(caller, Operate { key, work }).await {
            Ok(operated) => operated
                .pieces
                .into_iter()
                .map(|piece| {
                    let output = piece
                        .product
                        .and_then(|product| self.output(version, product));
                    (piece.value_mac, output)
                })
                .collect(),
            // The key's own fault is that of each piece, and goes on record.
            Err(fault @ (Fault::Invalid { .. } | Fault::Damaged { .. })) => {
                vec![(None, fault); places.len()]
                    .into_iter()
                    .map(|(mac, fault)| (mac, Err(fault)))
                    .collect::<Vec<_>>()
            }
            Err(fault) => return Err(fault),
        };
        let done = places.into_iter().zip(done);
        ended.extend(done.map(|(place, (value_mac, output))| Ended {
            place,
            version,
            value_mac,
            output,
        }));
        Ok(ended)
    }

    async fn operate(&self, caller: &Caller, ask: Operate) -> Result<Operated, Fault> {
        let encryption = &self.0.encryption;
        encryption
            .operate(&caller.context, urgency(caller.priority), ask)
            .await
    }

    /// A plaintext waits here for its record, and not where it would take others' room.
    fn output(&self, version: u32, product: Product) -> Result<Output, Fault> {
        match product {
            Product::Bytes(bytes) => Ok(Output::Made(Made { version, bytes })),
            Product::Valid(valid) => Ok(Output::Valid(valid)),
            Product::Plaintext(ticket) => {
                let plaintext = self.0.handoff.redeem(ticket, Bearer::Interface)?;
                Ok(Output::Plaintext(plaintext))
            }
            Product::PublicKey(_) => Err(Fault::internal("a public key was answered to a task")),
        }
    }

    fn told(
        &self,
        caller: &Caller,
        path: &Path,
        action: &str,
        version: Option<u32>,
        fault: Option<&Fault>,
    ) -> Record {
        let outcome = match fault {
            None => Outcome::Done,
            Some(_) => Outcome::Failed,
        };
        let record = self.record(caller, action, outcome).on(path, version);
        match fault {
            None => record,
            Some(fault) => record.detail(fault.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_text_of_ours_is_refused() {
        for wrong in [
            "",
            "vault:v1:YQ==",
            "pentad:v1",
            "pentad:v0:YQ==",
            "pentad:v01:YQ==",
            "pentad:v+1:YQ==",
            "pentad:v1:YQ",
            "pentad:v1:Y Q==",
            "pentad:v99999999999:YQ==",
            &format!("pentad:v1:{}", "A".repeat(4 * LONGEST_TEXT)),
        ] {
            assert!(wrong.parse::<Made>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_made_is_read_back(version in 1u32.., bytes in prop::collection::vec(any::<u8>(), 0..1024)) {
            let made = Made { version, bytes };
            prop_assert_eq!(made.to_string().parse::<Made>(), Ok(made));
        }
    }
}
