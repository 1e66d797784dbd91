use super::items;
use crate::{
    client::Call,
    failure::Failure,
    output::{Cell, Table, Tone, field, text_of},
    session::Session,
};

/// Show the health of the five agents
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  pentad agents")]
pub(super) struct Args {}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let page = session.send(Call::get("/v1/agents")).await?.json()?;
        let out = session.output;
        if out.json {
            return out.value(&page);
        }
        let head =
            &["AGENT", "STATE", "RESTARTS", "QUEUED", "IN FLIGHT", "HANDLED", "FAILED", "P50 µs", "P99 µs"];
        let mut table = Table::new(head, "there are none");
        for item in items(&page) {
            let state = field(item, "state");
            let tone = match state.as_str() {
                "serving" | "running" | "ready" => Tone::Good,
                _ => Tone::Doubtful,
            };
            let queued: u64 = item["queued"]
                .as_object()
                .map_or(0, |lanes| lanes.values().filter_map(serde_json::Value::as_u64).sum());
            table.row([
                field(item, "name").into(),
                Cell(tone, state),
                field(item, "restarts").into(),
                queued.to_string().into(),
                text_of(&item["in_flight"]).into(),
                field(item, "handled").into(),
                field(item, "failed").into(),
                field(item, "p50_us").into(),
                field(item, "p99_us").into(),
            ]);
        }
        out.table(&table)
    }
}
