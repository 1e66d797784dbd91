use pentad_model::{Id, Path};

use super::{Paging, items, pages};
use crate::{
    client::Call,
    failure::Failure,
    output::{Cell, Table, Tone, field, moment},
    session::Session,
};

/// List rotations, the newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad rotations
  pentad rotations --path prod/orders/db
  pentad rotations --unfinished")]
pub(super) struct Args {
    /// Only of this credential
    #[arg(long)]
    path: Option<Path>,
    /// Only of this batch
    #[arg(long, value_name = "ID")]
    batch: Option<Id>,
    /// Only those that have not ended
    #[arg(long)]
    unfinished: bool,
    #[command(flatten)]
    paging: Paging,
}

/// A step's tone.
pub(super) fn tone(step: &str) -> Tone {
    match step {
        "done" => Tone::Good,
        "failed" | "diverged" => Tone::Bad,
        "rolled_back" | "probing" | "retire_probing" | "undo_probing" => Tone::Doubtful,
        _ => Tone::Plain,
    }
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let page = pages(session, &self.paging, "before", || {
            Call::get("/v1/rotations")
                .query("path", self.path.as_ref())
                .query("batch", self.batch)
                .query("unfinished", self.unfinished.then_some(true))
        })
        .await?;
        let out = session.output;
        if out.json {
            return out.value(&page);
        }
        let head = &["ID", "PATH", "TARGET", "STEP", "VERSIONS", "BEGUN", "WHY"];
        let mut table = Table::new(head, "there are none");
        for item in items(&page) {
            let step = field(item, "step");
            let to = Some(field(item, "to_version")).filter(|to| !to.is_empty());
            table.row([
                field(item, "id").into(),
                field(item, "path").into(),
                field(item, "target").into(),
                Cell(tone(&step), step),
                format!("{} -> {}", field(item, "from_version"), to.unwrap_or("?".to_owned())).into(),
                Cell(Tone::Faint, moment(item, "created_at")),
                field(item, "reason").into(),
            ]);
        }
        out.table(&table)
    }
}
