use clap::builder::PossibleValuesParser;
use pentad_model::{Id, Path, rotation::Step};

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
  pentad rotations --unfinished
  pentad rotations --step rolled_back --limit 20
  pentad rotations --needs-person     # diverged or paused, for a person to mend")]
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
    /// Only those that stand at this step, or ended there
    #[arg(long, value_parser = steps())]
    step: Option<String>,
    /// Only those that wait for a person: that diverged, or paused themselves and say why
    #[arg(long, conflicts_with_all = ["unfinished", "step"])]
    needs_person: bool,
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
                .query("step", self.step.as_ref())
                .query("needs_person", self.needs_person.then_some(true))
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
                format!(
                    "{} -> {}",
                    field(item, "from_version"),
                    to.unwrap_or("?".to_owned())
                )
                .into(),
                Cell(Tone::Faint, moment(item, "created_at")),
                field(item, "reason").into(),
            ]);
        }
        out.table(&table)?;
        if let Some(next) = page["next"].as_str() {
            out.note(format!("there are more: --after {next}"));
        }
        match items(&page).next() {
            Some(first) if self.needs_person => {
                let id = field(first, "id");
                let then = match field(first, "step").as_str() {
                    "diverged" => "`pentad rotation resolve` decides",
                    _ => "mend that, and `pentad rotation resume` goes on",
                };
                out.note(format!(
                    "`pentad rotation show {id}` says what was seen; {then}"
                ));
            }
            _ => {}
        }
        Ok(())
    }
}

fn steps() -> PossibleValuesParser {
    PossibleValuesParser::new(Step::ALL.iter().map(|step| step.as_str()))
}
