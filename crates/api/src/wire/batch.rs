//! Many operations in one request.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use pentad_agents::operations;
use pentad_model::{Kind, Name, Path, kind::Generator};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Base64Value, Binding, Checked, Credential, Put, Reading, Stored, TextValue, Time};
use crate::problem::{self, Problem};

/// Up to 1000 operations, carried out several at once, in no order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The operations.
    #[schema(max_items = 1000)]
    pub operations: Vec<BatchOperation>,
}

/// What an operation of a batch does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchVerb {
    /// Reads a value, as GET /v1/values.
    Get,
    /// Stores, as PUT /v1/credentials.
    Put,
    /// Soft-deletes, as DELETE /v1/credentials.
    Delete,
    /// Judges, as GET /v1/checks.
    Check,
    /// Says what a put would do, and does nothing.
    Preview,
}

/// One operation. Fields beyond `op` and `path` are those of the request that it stands for; one
/// flat object, because a tagged one would make the parser keep a copy of the value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchOperation {
    /// What to do.
    pub op: BatchVerb,
    /// To which credential.
    #[schema(value_type = String)]
    pub path: Path,
    /// get: which version; the current one if not given.
    pub version: Option<u32>,
    /// put, delete: the revision that the caller saw; 0 for "must not exist yet".
    pub expect: Option<u64>,
    /// put: see PUT /v1/credentials, as all that follow.
    #[schema(value_type = Option<String>)]
    pub kind: Option<Kind>,
    /// put, preview: the kind of a new credential where `kind` is not given; a stored one keeps its
    /// own.
    #[schema(value_type = Option<String>)]
    pub kind_if_new: Option<Kind>,
    /// The value, as text.
    #[schema(value_type = Option<String>, format = Password)]
    pub value: Option<TextValue>,
    /// The value, as standard base64.
    #[schema(value_type = Option<String>, format = Byte)]
    pub value_base64: Option<Base64Value>,
    /// Let Pentad make the value.
    #[serde(default)]
    pub generate: bool,
    /// For people.
    pub description: Option<String>,
    /// Who issued it.
    pub provider: Option<String>,
    /// Replaces all tags.
    pub tags: Option<BTreeMap<String, String>>,
    /// A person or team.
    pub owner: Option<String>,
    /// Credentials to rotate before this one.
    #[schema(value_type = Option<Vec<String>>)]
    pub depends_on: Option<Vec<Path>>,
    /// The credential policy.
    #[schema(value_type = Option<String>)]
    pub policy: Option<Name>,
    /// How its new values are made.
    #[schema(value_type = Option<Object>)]
    pub generator: Option<Generator>,
    /// Where and how it is rotated.
    pub binding: Option<Binding>,
    /// When it stops working by itself.
    pub expires_at: Option<Time>,
    /// Store a value that policy would refuse.
    #[serde(default)]
    pub accept_weak: bool,
}

impl BatchOperation {
    /// The put among its fields.
    pub(crate) fn into_put(self) -> Put {
        Put {
            kind: self.kind,
            value: self.value,
            value_base64: self.value_base64,
            generate: self.generate,
            description: self.description,
            provider: self.provider,
            tags: self.tags,
            owner: self.owner,
            depends_on: self.depends_on,
            policy: self.policy,
            generator: self.generator,
            binding: self.binding,
            expires_at: self.expires_at,
            accept_weak: self.accept_weak,
        }
    }
}

/// The results, in the order of the operations.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchAnswer {
    /// One for each operation.
    pub results: Vec<BatchResult>,
    /// How many failed.
    pub failed: usize,
}

/// How one operation ended; one that fails takes none of the others with it.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchResult {
    /// What was to be done.
    pub op: BatchVerb,
    /// To which credential.
    #[schema(value_type = String)]
    pub path: Path,
    /// The status that the single request would have had.
    pub status: u16,
    /// What the single request would have been answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<BatchBody>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<problem::Body>,
}

/// How one line of a streamed batch ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchLine {
    /// Which line it was, from 1; empty ones count.
    pub line: u64,
    /// What was to be done; absent if the line can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op: Option<BatchVerb>,
    /// To which credential; absent if the line can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub path: Option<Path>,
    /// The status that the single request would have had.
    pub status: u16,
    /// What the single request would have been answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<BatchBody>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<problem::Body>,
}

impl BatchLine {
    /// It was carried out.
    pub(crate) fn done(
        line: u64,
        of: Option<(BatchVerb, Path)>,
        status: StatusCode,
        body: BatchBody,
    ) -> Self {
        let (op, path) = of.unzip();
        Self {
            line,
            op,
            path,
            status: status.as_u16(),
            body: Some(body),
            problem: None,
        }
    }

    /// It was not.
    pub(crate) fn failed(line: u64, of: Option<(BatchVerb, Path)>, problem: Problem) -> Self {
        let (op, path) = of.unzip();
        Self {
            line,
            op,
            path,
            status: problem.status().as_u16(),
            body: None,
            problem: Some(problem.body()),
        }
    }
}

/// The last line of a streamed batch's answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchEnd {
    /// How many lines were answered.
    pub lines: u64,
    /// How many of them failed.
    pub failed: u64,
}

/// The answer to an operation, by its `op`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum BatchBody {
    /// To `get`.
    Read(Box<Reading>),
    /// To `put`.
    Stored(Box<Stored>),
    /// To `delete`.
    Deleted(Box<Credential>),
    /// To `check`.
    Checked(Box<Checked>),
    /// To `preview`.
    Foreseen(Box<Foreseen>),
}

/// What a put would do.
#[derive(Debug, Serialize, ToSchema)]
pub struct Foreseen {
    /// `new`, `changed`, `same` (the value is stored already), `exists` (whether it is the same is for
    /// who may read it), or `refused`.
    pub fate: &'static str,
    /// The credential's kind, stored or to be.
    #[schema(value_type = String)]
    pub kind: Kind,
    /// The value's score, 0 to 100.
    pub score: Option<u8>,
    /// Why it would be refused.
    pub why: Option<String>,
}

impl From<operations::Foreseen> for Foreseen {
    fn from(from: operations::Foreseen) -> Self {
        use operations::Fate;
        Self {
            fate: match from.fate {
                Fate::New => "new",
                Fate::Changed => "changed",
                Fate::Same => "same",
                Fate::Exists => "exists",
                Fate::Refused => "refused",
            },
            kind: from.kind,
            score: from.assessment.map(|assessment| assessment.score),
            why: from.why,
        }
    }
}
