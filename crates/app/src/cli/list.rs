use super::{Filter, Paging, items, pages};
use crate::{
    client::Call,
    failure::Failure,
    output::{Cell, Table, Tone, field, moment},
    session::Session,
};

/// List credentials, without their values
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad list
  pentad list prod/ --kind database
  pentad list --tag env=prod --json")]
pub(super) struct Args {
    /// Only paths that begin so
    #[arg(value_name = "PREFIX", conflicts_with = "prefix")]
    below: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// Also deleted ones
    #[arg(long)]
    deleted: bool,
    #[command(flatten)]
    paging: Paging,
}

impl Args {
    pub(super) async fn run(mut self, session: &Session) -> Result<(), Failure> {
        self.filter.prefix = self.filter.prefix.or(self.below);
        let page = pages(session, &self.paging, "after", || {
            let call = self.filter.on(Call::get("/v1/credentials"));
            call.query("deleted", self.deleted.then_some(true))
        })
        .await?;
        let out = session.output;
        if out.json {
            return out.value(&page);
        }
        let head = &["PATH", "KIND", "VERSION", "TARGET", "OWNER", "TAGS", "CHANGED"];
        let mut table = Table::new(head, "there are none; `pentad put` stores one");
        for item in items(&page) {
            let state = if !item["deleted_at"].is_null() {
                Cell(Tone::Faint, "deleted".to_owned())
            } else if item["in_doubt"] == true {
                Cell(Tone::Doubtful, format!("{} in doubt", field(item, "current")))
            } else {
                field(item, "current").into()
            };
            table.row([
                field(item, "path").into(),
                field(item, "kind").into(),
                state,
                field(&item["binding"], "target").into(),
                field(item, "owner").into(),
                field(item, "tags").into(),
                Cell(Tone::Faint, moment(item, "updated_at")),
            ]);
        }
        out.table(&table)?;
        if let Some(next) = page["next"].as_str() {
            out.note(format!("there are more: --after {next}"));
        }
        Ok(())
    }
}
