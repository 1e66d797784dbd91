//! Work with stored keys.

use pentad_agents::{
    Fault,
    operations::{Made, Output, SignatureAlgorithm, Task, Worked},
};
use pentad_model::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Base64Value, Shown, ShownBase64, TextValue};
use crate::problem;

/// Up to 1000 pieces of work for one key, done in parallel, each with its own result.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// The pieces.
    #[schema(max_items = 1000)]
    pub items: Vec<WorkItem>,
}

/// One piece. To sign, verify and encrypt: `value` or `value_base64`; to verify also `signature`; to
/// decrypt `ciphertext` alone.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkItem {
    /// What is signed, or was signed, or is to be encrypted; as text.
    #[schema(value_type = Option<String>, format = Password)]
    pub value: Option<TextValue>,
    /// The same, as standard base64.
    #[schema(value_type = Option<String>, format = Byte)]
    pub value_base64: Option<Base64Value>,
    /// As it was answered: `pentad:v<version>:<base64>`.
    pub signature: Option<String>,
    /// As it was answered: `pentad:v<version>:<base64>`.
    pub ciphertext: Option<String>,
}

/// What is done with a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Sign,
    Verify,
    Encrypt,
    Decrypt,
}

impl WorkItem {
    /// The task that it is.
    pub(crate) fn into_task(self, operation: Operation) -> Result<Task, Fault> {
        let Self {
            value,
            value_base64,
            signature,
            ciphertext,
        } = self;
        let value = match (value, value_base64) {
            (Some(text), None) => Some(text.0),
            (None, Some(bytes)) => Some(bytes.0),
            (None, None) => None,
            (Some(_), Some(_)) => {
                return Err(Fault::invalid("give `value` or `value_base64`, not both"));
            }
        };
        let made = |text: String| text.parse::<Made>();
        match (operation, value, signature, ciphertext) {
            (Operation::Sign, Some(message), None, None) => Ok(Task::Sign(message)),
            (Operation::Verify, Some(message), Some(signature), None) => {
                Ok(Task::Verify(message, made(signature)?))
            }
            (Operation::Encrypt, Some(plaintext), None, None) => Ok(Task::Encrypt(plaintext)),
            (Operation::Decrypt, None, None, Some(ciphertext)) => {
                Ok(Task::Decrypt(made(ciphertext)?))
            }
            _ => Err(Fault::invalid(match operation {
                Operation::Sign | Operation::Encrypt => {
                    "an item has `value` or `value_base64`, and nothing else"
                }
                Operation::Verify => {
                    "an item has `value` or `value_base64`, and `signature`, and nothing else"
                }
                Operation::Decrypt => "an item has `ciphertext`, and nothing else",
            })),
        }
    }
}

/// The results, in the order of the items.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkAnswer {
    /// One for each item.
    pub results: Vec<WorkResult>,
    /// How many failed. A signature that does not verify is no failure: `valid` says so.
    pub failed: usize,
}

/// How one piece ended; one that fails takes none of the others with it.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct WorkResult {
    /// The version that is the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// To sign: `pentad:v<version>:<base64>`. Ed25519 and RSA-PSS raw, ECDSA as ASN.1 DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// To verify.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid: Option<bool>,
    /// To encrypt: `pentad:v<version>:<base64>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ciphertext: Option<String>,
    /// To decrypt: the plaintext, where it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Shown>,
    /// To decrypt: the plaintext as standard base64, where it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<ShownBase64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<problem::Body>,
}

impl WorkResult {
    pub(crate) fn of(operation: Operation, result: Result<Worked, Fault>) -> Self {
        let blank = Self::default();
        let Worked { version, output } = match result {
            Ok(worked) => worked,
            Err(fault) => {
                let problem = Some(problem::Problem::from(fault).body());
                return Self { problem, ..blank };
            }
        };
        let blank = Self {
            version: Some(version),
            ..blank
        };
        match output {
            Output::Made(made) if operation == Operation::Sign => Self {
                signature: Some(made.to_string()),
                ..blank
            },
            Output::Made(made) => Self {
                ciphertext: Some(made.to_string()),
                ..blank
            },
            Output::Valid(valid) => Self {
                valid: Some(valid),
                ..blank
            },
            Output::Plaintext(plaintext) => {
                let (value, value_base64) = shown(plaintext);
                Self {
                    value,
                    value_base64,
                    ..blank
                }
            }
        }
    }
}

fn shown(plaintext: Secret) -> (Option<Shown>, Option<ShownBase64>) {
    match plaintext.expose_str().is_some() {
        true => (Some(Shown(plaintext)), None),
        false => (None, Some(ShownBase64(plaintext))),
    }
}

/// The public half of a key.
#[derive(Debug, Serialize, ToSchema)]
pub struct PublicKey {
    /// Which version.
    pub version: u32,
    /// What it signs with: `ed25519`, `ecdsa_p256_sha256`, `ecdsa_p384_sha384` or `rsa_pss_sha256`
    /// (salt as long as the hash). An RSA key also encrypts: RSA-OAEP, SHA-256 for hash and MGF1.
    #[schema(value_type = String)]
    pub algorithm: SignatureAlgorithm,
    /// PEM, `PUBLIC KEY` (RFC 5280).
    pub public_key: String,
}
