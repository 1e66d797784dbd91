//! What came of a restore at the targets.

use crate::{
    client::Call,
    failure::Failure,
    output::{Tone, field, moment},
    session::Session,
};

pub(super) async fn status(session: &Session) -> Result<(), Failure> {
    let answer = session.send(Call::get("/v1/restored")).await?.json()?;
    let out = session.output;
    if out.json {
        return out.value(&answer);
    }
    let restore = &answer["restore"];
    if restore.is_null() {
        return out.line("this store was never restored from a backup");
    }
    let looked = &restore["looked"];
    let seen = match looked.is_null() {
        true => "being looked at".to_owned(),
        false => format!(
            "{} work, {} drifted, {} can't be told yet, {} wait for their rotation",
            field(looked, "works"),
            field(looked, "drift"),
            field(looked, "cant_tell"),
            field(looked, "rotating"),
        ),
    };
    out.facts(&[
        ("backup", field(restore, "backup")),
        ("taken", moment(restore, "taken_at")),
        ("restored", moment(restore, "restored_at")),
        ("log before", field(restore, "log")),
        ("at targets", seen),
    ])?;
    if looked["drift"].as_u64().unwrap_or(0) > 0 {
        out.note(out.paint(
            Tone::Bad,
            "`pentad probe --in-doubt` names those that drifted, and what to do",
        ));
    }
    if looked["rotating"].as_u64().unwrap_or(0) > 0 {
        out.note("`pentad rotations --needs-person` names those that wait");
    }
    Ok(())
}
