//! What the API calls a problem, as a command ends with it: exit code, one line, next step.

use http::StatusCode;
use serde_json::Value;

use crate::failure::{Exit, Failure};

/// A failure from an answer that is no success.
pub(crate) fn problem(status: StatusCode, body: &[u8]) -> Failure {
    let Ok(problem) = serde_json::from_slice::<Value>(body) else {
        return Failure::internal(format!(
            "the server answered {status}, and nothing that pentad knows"
        ))
        .hint("does PENTAD_ADDR name a pentad server?");
    };
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    let kind = text("type");
    let slug = kind.rsplit('/').next().unwrap_or_default();
    let exit = match status.as_u16() {
        400 | 405 | 413 | 415 => Exit::Usage,
        401 | 403 | 429 => Exit::Denied,
        404 => Exit::Missing,
        409 | 412 => Exit::Conflict,
        422 => Exit::Refused,
        408 | 502 | 503 | 504 | 507 => Exit::Unavailable,
        _ if slug == "damaged" => Exit::Damaged,
        _ => Exit::Internal,
    };
    let hint = match (status.as_u16(), problem["nearest"].as_str()) {
        (_, Some(near)) => format!("did you mean `{near}`?"),
        (400, _) if text("detail").contains("PENTAD_FILES_BELOW") => files_below(&text("detail")),
        (401, _) => "set PENTAD_TOKEN to a good token, or run `pentad login --save`".to_owned(),
        (403, _) => {
            "ask an admin for a role that allows it; `pentad role explain` says why".to_owned()
        }
        (404, _) => format!("`pentad {}` shows what there is", listing(&text("detail"))),
        (422, _) => {
            "choose a stronger value, let Pentad make one (--generate), or keep it on record \
                     (--accept-weak)"
                .to_owned()
        }
        (429 | 503, _) if problem["retry_after_seconds"].is_number() => {
            format!("try again in {} s", problem["retry_after_seconds"])
        }
        (500, _) => format!("{} (correlation {})", text("hint"), text("correlation")),
        (503, _) => {
            "nothing was changed: try again once it is up; `pentad agents` shows Pentad's own parts"
                .to_owned()
        }
        (502, _) => "`pentad target check NAME` says what is wrong there".to_owned(),
        _ => text("hint"),
    };
    let mut message = crate::output::printable(&text("detail"));
    message.push_str(&findings(&problem["assessment"]));
    let hint = Some(hint).filter(|hint| !hint.is_empty());
    Failure {
        exit,
        message,
        hint,
        problem: Some(problem),
    }
}

/// The command that lists what something missing is one of.
fn listing(detail: &str) -> &'static str {
    match detail.split(' ').next() {
        Some("target") => "target list",
        Some("rotation") => "rotations",
        Some("token") => "token list",
        Some("user") => "user list",
        Some("role") => "role list",
        _ => "list",
    }
}

/// How the directory of the file that a message names is allowed.
fn files_below(detail: &str) -> String {
    let file = detail.split('`').nth(1).unwrap_or_default();
    let directory = std::path::Path::new(file).parent();
    let directory = directory.filter(|it| it.is_absolute() && it.parent().is_some());
    let directory = directory.map_or("/some/directory".into(), |it| it.display().to_string());
    format!(
        "`export PENTAD_FILES_BELOW={directory}` where the server is started, or here without a \
         server; or `below = [\"{directory}\"]` under [files] in pentad.toml"
    )
}

/// What the first line of a refusal leaves out: the second finding and those after it.
fn findings(assessment: &Value) -> String {
    let found = assessment["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .skip(1);
    let lines = found.map(|finding| {
        let text = finding["message"].as_str().unwrap_or_default();
        format!("\n  also: {}", crate::output::printable(text))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_problem_becomes_an_exit_code_and_a_next_step() {
        let body = br#"{"type":"https://pentad.dev/problems/missing","detail":"`a` does not exist","nearest":"b"}"#;
        let failure = problem(StatusCode::NOT_FOUND, body);
        assert_eq!(
            (failure.exit, failure.hint.as_deref()),
            (Exit::Missing, Some("did you mean `b`?"))
        );
        assert_eq!(
            problem(StatusCode::BAD_GATEWAY, b"<html>").exit,
            Exit::Internal
        );
    }
}
