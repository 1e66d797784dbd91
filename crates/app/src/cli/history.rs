use pentad_model::Path;

use super::{Paging, items, pages};
use crate::{
    client::{Call, at},
    failure::Failure,
    output::{Cell, Table, Tone, field, moment},
    session::Session,
};

/// List a credential's versions, the newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  pentad history prod/orders/db")]
pub(super) struct Args {
    /// Which
    path: Path,
    #[command(flatten)]
    paging: Paging,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let target = at("history", self.path.as_str());
        let page = pages(session, &self.paging, "before", || Call::get(target.clone())).await?;
        let out = session.output;
        if out.json {
            return out.value(&page);
        }
        let head = &["VERSION", "STAGE", "ACCOUNT", "ORIGIN", "BY", "CREATED", "STAGED"];
        let mut table = Table::new(head, "it has no version");
        for item in items(&page) {
            let stage = field(item, "stage");
            let tone = match stage.as_str() {
                "current" => Tone::Good,
                "pending" | "abandoned" => Tone::Doubtful,
                "revoked" => Tone::Bad,
                _ => Tone::Plain,
            };
            table.row([
                field(item, "number").into(),
                Cell(tone, stage),
                field(item, "account").into(),
                field(&item["origin"], "type").into(),
                field(item, "created_by").into(),
                Cell(Tone::Faint, moment(item, "created_at")),
                Cell(Tone::Faint, moment(item, "staged_at")),
            ]);
        }
        out.table(&table)
    }
}
