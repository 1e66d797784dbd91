use super::items;
use crate::{
    client::Call,
    failure::Failure,
    output::{Table, field},
    session::Session,
};

/// List the systems whose credentials can be rotated
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  pentad connectors")]
pub(super) struct Args {}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let page = session.send(Call::get("/v1/connectors")).await?.json()?;
        let out = session.output;
        if out.json {
            return out.value(&page);
        }
        let head = &["SYSTEM", "STRATEGIES", "ADDRESS", "OPTIONS", "WHAT"];
        let mut table = Table::new(head, "none");
        for item in items(&page) {
            let options = item["options"].as_object().map_or(String::new(), |options| {
                options.keys().cloned().collect::<Vec<_>>().join(", ")
            });
            table.row([
                field(item, "name"),
                field(item, "strategies"),
                field(item, "address"),
                options,
                field(item, "description"),
            ]);
        }
        out.table(&table)
    }
}
