use pentad_model::Path;
use serde_json::Value;

use crate::{
    client::{Call, at},
    failure::Failure,
    output::{field, moment},
    session::Session,
};

/// Show what is known of a credential beside its value
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  pentad describe prod/orders/db")]
pub(super) struct Args {
    /// Which
    path: Path,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let found = session.send(Call::get(at("credentials", self.path.as_str()))).await?.json()?;
        show(session, &found)
    }
}

/// A credential's metadata.
pub(super) fn show(session: &Session, found: &Value) -> Result<(), Failure> {
    let out = session.output;
    if out.json {
        return out.value(found);
    }
    let binding = &found["binding"];
    let doubt = if found["in_doubt"] == true { " (in doubt: it is being rotated, or its target may hold another value)" } else { "" };
    let grace = field(binding, "grace_seconds");
    out.facts(&[
        ("path", field(found, "path")),
        ("kind", field(found, "kind")),
        ("version", format!("{}{doubt}", field(found, "current"))),
        ("description", field(found, "description")),
        ("provider", field(found, "provider")),
        ("owner", field(found, "owner")),
        ("tags", field(found, "tags")),
        ("depends on", field(found, "depends_on")),
        ("policy", field(found, "policy")),
        ("generator", field(found, "generator")),
        ("target", field(binding, "target")),
        ("account", field(binding, "account")),
        ("alternate", field(binding, "alternate")),
        ("strategy", field(binding, "strategy")),
        ("owned", field(binding, "owned")),
        ("grace", if grace.is_empty() { grace } else { format!("{grace} s") }),
        ("delivered to", field(binding, "deliver_to")),
        ("expires", moment(found, "expires_at")),
        ("created", moment(found, "created_at")),
        ("changed", moment(found, "updated_at")),
        ("deleted", moment(found, "deleted_at")),
        ("revision", field(found, "revision")),
    ])
}
