use clap::Subcommand;
use serde_json::json;

use crate::{
    failure::{Exit, Failure},
    output::{Table, Tone},
    session::Session,
    wiring,
};

/// Work on the store's files
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read everything once and name what can't be read; no key is needed, the server must be stopped
    #[command(after_help = "Example:\n  pentad store verify --dir /var/lib/pentad")]
    Verify {},
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Action::Verify {} = self.action;
        let place = session.place()?;
        let (store, _) = wiring::open_either(&place).await?;
        let damage = store
            .verify()
            .await
            .map_err(|error| Failure::from(pentad_agents::Fault::from(error)))?;
        let out = session.output;
        if out.json {
            out.value(&json!({"damage": damage}))?;
        } else if damage.is_empty() {
            out.line(out.paint(Tone::Good, &format!("{} is whole", place.store())))?;
        } else {
            let mut table = Table::new(&["WHAT", "WHICH"], "");
            for one in &damage {
                table.row([one.what.as_str(), one.which.as_str()]);
            }
            out.table(&table)?;
        }
        match damage.len() {
            0 => Ok(()),
            many => Err(Failure::new(Exit::Damaged, format!("{many} things can't be read"))
                .hint("everything else is unharmed; restore what is named from a backup")),
        }
    }
}
