use crate::{client::Call, failure::Failure, output::field, session::Session};

/// Show as whom Pentad knows you
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  pentad whoami")]
pub(super) struct Args {}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let answer = session.send(Call::get("/v1/whoami")).await?.json()?;
        let out = session.output;
        if out.json {
            return out.value(&answer);
        }
        out.facts(&[
            ("principal", field(&answer, "principal")),
            ("tenant", field(&answer, "tenant")),
            ("origin", field(&answer, "origin")),
        ])
    }
}
