use pentad_model::Name;
use serde_json::json;

use super::confirm;
use crate::{
    client::Call,
    failure::Failure,
    output::text_of,
    session::Session,
};

/// Erase a person: as owner of credentials, as user, and the user's logins
///
/// Says what stays, and why: audit records can't be changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad erase --owner ann.smith --user ann
  pentad erase --owner team-a --yes --json")]
pub(super) struct Args {
    /// As credentials name them as their owner: the whole text
    #[arg(long, required_unless_present = "user")]
    owner: Option<String>,
    /// As a user
    #[arg(long, value_name = "NAME")]
    user: Option<Name>,
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let out = session.output;
        confirm(self.yes, "Erase this person, for good?")?;
        let body = json!({"owner": self.owner, "user": self.user});
        let (mut credentials, mut logins, mut user) = (0, 0, false);
        let mut mentions = Vec::new();
        // Bounded by what there is: each answer with more has freed some.
        let last = loop {
            let call = Call::post("/v1/erasures").json(&body)?;
            let mut erased = session.send(call).await?.json()?;
            credentials += erased["credentials"].as_u64().unwrap_or(0);
            logins += erased["logins"].as_u64().unwrap_or(0);
            user |= erased["user"] == true;
            if let serde_json::Value::Array(more) = erased["mentions"].take() {
                mentions.extend(more);
            }
            if erased["more"] != true || erased["credentials"] == 0 {
                break erased;
            }
        };
        if out.json {
            return out.value(&json!({
                "credentials": credentials, "more": last["more"], "mentions": mentions,
                "user": user, "logins": logins, "remains": last["remains"],
            }));
        }
        let gone = if user { "removed" } else { "there was none" };
        out.facts(&[
            ("credentials", format!("{credentials} no longer name an owner")),
            ("user", gone.to_owned()),
            ("logins", logins.to_string()),
        ])?;
        for path in &mentions {
            out.note(format!("look at {}: its texts mention them", text_of(path)));
        }
        for remains in last["remains"].as_array().into_iter().flatten() {
            out.note(format!("stays: {}", text_of(remains)));
        }
        match last["more"] == true {
            false => Ok(()),
            true => Err(Failure::unavailable(
                "others changed some of them meanwhile: run it again",
            )),
        }
    }
}
