use clap::{Subcommand, ValueEnum};
use pentad_model::Id;
use serde_json::{Value, json};

use super::rotations::tone;
use crate::{
    client::Call,
    failure::Failure,
    output::{Table, field, moment},
    session::Session,
};

/// Look at one rotation, steer it, or decide what a diverged one needs
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show where it stands, and all that was seen at the target
    #[command(after_help = "Example:\n  pentad rotation show 019a0000-0000-7000-8000-000000000000")]
    Show { id: Id },
    /// Stop at the next safe point
    #[command(after_help = "Example:\n  pentad rotation pause 019a0000-0000-7000-8000-000000000000")]
    Pause { id: Id },
    /// Go on
    #[command(after_help = "Example:\n  pentad rotation resume 019a0000-0000-7000-8000-000000000000")]
    Resume { id: Id },
    /// End it, taking back what was not promoted
    #[command(after_help = "Example:\n  pentad rotation cancel 019a0000-0000-7000-8000-000000000000")]
    Cancel { id: Id },
    /// Make the old version current again, while the target accepts it
    #[command(after_help = "Example:\n  pentad rotation rollback 019a0000-0000-7000-8000-000000000000")]
    Rollback { id: Id },
    /// Decide on one that diverged: somebody else changed the account
    #[command(after_help = "Examples:
  pentad rotation resolve 019a0000-0000-7000-8000-000000000000 retry       # the account was put right
  pentad rotation resolve 019a0000-0000-7000-8000-000000000000 overwrite   # set a new value all the same")]
    Resolve { id: Id, how: How },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum How {
    /// Look again: somebody put the account right
    Retry,
    /// Overwrite what somebody else set
    Overwrite,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let steer = |id: Id, what: &str| Call::post(format!("/v1/rotations/{id}/{what}"));
        let call = match self.action {
            Action::Show { id } => Call::get(format!("/v1/rotations/{id}")),
            Action::Pause { id } => steer(id, "pause"),
            Action::Resume { id } => steer(id, "resume"),
            Action::Cancel { id } => steer(id, "cancel"),
            Action::Rollback { id } => steer(id, "rollback"),
            Action::Resolve { id, how } => {
                let how = if how == How::Retry { "retry" } else { "overwrite" };
                steer(id, "resolve").json(&json!({"how": how}))?
            }
        };
        show(session, &session.send(call).await?.json()?)
    }
}

fn show(session: &Session, rotation: &Value) -> Result<(), Failure> {
    let out = session.output;
    if out.json {
        return out.value(rotation);
    }
    let step = field(rotation, "step");
    out.facts(&[
        ("rotation", field(rotation, "id")),
        ("path", field(rotation, "path")),
        ("target", field(rotation, "target")),
        ("strategy", field(rotation, "strategy")),
        ("step", out.paint(tone(&step), &step)),
        ("why", field(rotation, "reason")),
        ("asked", field(rotation, "control")),
        ("attempt", field(rotation, "attempt")),
        ("from", format!("v{} {}", field(rotation, "from_version"), field(rotation, "from_account"))),
        ("to", format!("v{} {}", field(rotation, "to_version"), field(rotation, "to_account"))),
        ("promoted", field(rotation, "promoted")),
        ("requested by", field(rotation, "requested_by")),
        ("correlation", field(rotation, "correlation")),
        ("begun", moment(rotation, "created_at")),
        ("moved", moment(rotation, "updated_at")),
    ])?;
    let head = &["SEEN AT", "STEP", "NEW", "OLD", "ABANDONED", "RANDOM", "NOTE"];
    let mut table = Table::new(head, "nothing was looked at yet");
    for seen in rotation["evidence"].as_array().into_iter().flatten() {
        table.row([
            moment(seen, "at"),
            field(seen, "step"),
            field(seen, "new"),
            field(seen, "old"),
            field(seen, "abandoned"),
            field(seen, "control"),
            field(seen, "note"),
        ]);
    }
    out.line("")?;
    out.table(&table)
}
