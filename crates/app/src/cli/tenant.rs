use clap::Subcommand;
use pentad_model::Tenant;

use super::{Paging, pages};
use crate::{
    client::{Call, at},
    failure::Failure,
    output::Table,
    session::Session,
};

/// Tenants: estates that are nothing to each other, each under a key of its own
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a tenant; `--tenant NAME` then works in it
    #[command(after_help = "Examples:
  pentad tenant create acme
  pentad --tenant acme put prod/db --generate")]
    Create {
        /// Its name
        name: Tenant,
    },
    /// List the tenants beside `default`
    #[command(after_help = "Example:\n  pentad tenant list")]
    List(Paging),
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let out = session.output;
        match self.action {
            Action::Create { name } => {
                let answer = session.send(Call::put(at("tenants", name.as_str()))).await?;
                out.done(&answer.json()?, format!("tenant {name} is made; work in it with --tenant {name}"))
            }
            Action::List(paging) => {
                let page = pages(session, &paging, "after", || Call::get("/v1/tenants")).await?;
                if out.json {
                    return out.value(&page);
                }
                let mut table = Table::new(&["NAME"], "there is none beside `default`");
                for name in page["items"].as_array().into_iter().flatten() {
                    table.row([name.as_str().unwrap_or_default().to_owned()]);
                }
                out.table(&table)
            }
        }
    }
}
