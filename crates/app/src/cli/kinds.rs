use super::items;
use crate::{
    client::Call,
    failure::Failure,
    output::{Table, field},
    session::Session,
};

/// List the kinds of credential
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  pentad kinds")]
pub(super) struct Args {}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let page = session.send(Call::get("/v1/kinds")).await?.json()?;
        let out = session.output;
        if out.json {
            return out.value(&page);
        }
        let mut table = Table::new(&["KIND", "MADE BY PENTAD", "BYTES AT MOST", "WHAT"], "none");
        for item in items(&page) {
            let made = if item["generated"] == true { "yes" } else { "no" };
            table.row([
                field(item, "name"),
                made.to_owned(),
                field(item, "max_bytes"),
                field(item, "description"),
            ]);
        }
        out.table(&table)
    }
}
