//! The outward messages: what clients send and get. They are apart from the model's nouns so that
//! those can change without breaking a client, and so that nothing leaves by accident: no message
//! here has a field for sealed bytes, MACs, fingerprints or password hashes.
//!
//! Requests refuse unknown fields; answers may gain fields, and clients ignore those they don't
//! know. Times are RFC 3339 in UTC; names are `snake_case`.

mod access;
mod audit;
mod batch;
mod check;
mod compliance;
mod credential;
mod crypto;
mod page;
mod policy;
mod probe;
mod retention;
mod rotation;
mod system;
mod target;
mod time;
mod value;

pub use access::{
    Decision, Effect, Explain, Login, NewToken, NewUser, Role, RoleContent, Rule, Token,
    TokenIssued, User, WhoAmI,
};
pub use audit::{Checkpoint, Proof, Record};
pub use batch::{
    Batch, BatchAnswer, BatchBody, BatchEnd, BatchLine, BatchOperation, BatchResult, BatchVerb,
};
pub use check::{Assessment, Checked, Finding, Risk, RiskReason};
pub use compliance::{
    ComplianceReport, Control, ControlCounts, FailedControl, NonCompliant, RuleSet, RuleSetContent,
    SystemControl,
};
pub use credential::{Binding, Credential, Put, Reading, Stored, Version};
pub(crate) use crypto::Operation;
pub use crypto::{PublicKey, Work, WorkAnswer, WorkItem, WorkResult};
pub use page::{Page, Paging};
pub(crate) use page::{limit, of_listed, of_page};
pub use policy::{Policy, PolicyContent};
pub use probe::{Looked, Probed, Restore, Restored};
pub use retention::{Erase, Erased, Gone, Kept, RetentionContent, RetentionRule, Walk, Walked};
pub use rotation::{
    Evidence, Filter, Plan, Planned, Refused, Resolve, Rotate, Rotation, Started, StartedOne,
};
pub use system::{Agent, Connector, Health, Kind, Queued};
pub use target::{Complaint, Target, TargetCheck, TargetContent};
pub use time::Time;
pub use value::{Base64Value, Password, Shown, ShownBase64, TextValue};
pub(crate) use value::{HoldsSecret, secret_bytes, secret_json};
