//! A secret is sent through every route, in every place where one may stand, and is found nowhere
//! but in the answer of the authorised read.

use std::path::Path;

use serde_json::{Value, json};

use crate::world::{Answer, World, keep_log, log};

const CANARY: &str = "Kq7-cAnArY-x9Zw4_Lm2.Rt8~Vb3";
/// What must be found nowhere: the text, its base64, its hexadecimal form.
fn traces() -> Vec<Vec<u8>> {
    use std::fmt::Write as _;
    let hex = CANARY.bytes().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    // The base64 of its middle, without the ends that depend on the position.
    let mut all = vec![b"cAnArY".to_vec(), hex.into_bytes()];
    all.push(BASE64.as_bytes()[4..32].to_vec());
    all
}
/// Standard base64 of the canary.
const BASE64: &str = "S3E3LWNBbkFyWS14OVp3NF9MbTIuUnQ4flZiMw==";

fn clean(what: &str, bytes: &[u8]) {
    for trace in traces() {
        let found = bytes.windows(trace.len()).any(|window| window == trace);
        assert!(
            !found,
            "the canary is in {what}: {}",
            String::from_utf8_lossy(bytes)
        );
    }
}

fn clean_answer(what: &str, answer: &Answer) {
    clean(what, answer.text.as_bytes());
    clean(what, format!("{:?}", answer.headers).as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_in_no_answer_log_record_metric_or_file() {
    keep_log();
    let world = World::new().await;
    let token = world.token("ci", &["operator"]).await;
    let reader = world.token("re", &["reader"]).await;
    let file = world.env_file("V", "other-value-in-the-file").await;
    let binding = json!({"target": "app", "account": "V"});

    let bodies = [
        json!({"kind": "password", "value": CANARY}),
        json!({"value_base64": BASE64}),
        json!({"value": CANARY, "binding": {"target": "none", "account": "V"}}),
        json!({"value": CANARY, "binding": binding}),
        json!({"value": CANARY, "generate": true}),
        json!({"value": [CANARY]}),
        json!({"value": {"a": CANARY}}),
        json!({"value_base64": CANARY}),
        json!({"generate": CANARY}),
        json!({"kind": CANARY}),
        json!({"expires_at": CANARY}),
        json!({"depends_on": CANARY}),
        json!({"generator": {"type": CANARY}}),
        json!({"binding": {"target": "app", "account": "V", "strategy": CANARY}}),
        json!({CANARY: 1}),
        json!(CANARY),
        json!({"password": CANARY, "roles": [CANARY]}),
        json!({"user": "ann", "password": CANARY}),
        json!({"user": "ann", "password": [CANARY]}),
        json!({"operations": [{"op": "put", "path": "c", "value": CANARY}]}),
        json!({"operations": [{"op": CANARY, "path": "c"}]}),
        json!({"operations": [{"op": "put", "path": "c", "value": [CANARY]}]}),
        json!({"how": CANARY}),
        json!({"rules": [{"paths": ["a"], "verbs": [CANARY]}]}),
        json!({"roles": ["reader"], "verb": CANARY, "path": "a"}),
    ];
    // Every operation that takes a body, with every body; and cut off in the middle.
    let document = pentad_api::openapi::document();
    let mut sent = 0;
    for (path, item) in document.paths.paths {
        let uri = path
            .replace("{path}", "canary/a")
            .replace("{name}", "nn")
            .replace("{number}", "1")
            .replace("{id}", "01890000-0000-7000-8000-000000000007");
        for (method, operation) in [("PUT", &item.put), ("POST", &item.post)] {
            if operation.is_none() {
                continue;
            }
            let line = format!("{method} {uri}");
            for body in &bodies {
                let text = body.to_string();
                for raw in [text.clone(), text[..text.len() - 1].to_owned()] {
                    let answer = world.call(&line).local().raw(raw).send().await;
                    clean_answer(&format!("the answer to {line} {body}"), &answer);
                    sent += 1;
                }
            }
            let denied = world
                .call(&line)
                .token(&reader)
                .json(&bodies[0])
                .send()
                .await;
            clean_answer("a refusal", &denied);
            // From a peer of its own each: ten failures and a peer is not looked at any more.
            let peer = format!("10.9.{}.{}", sent / 250, sent % 250);
            let wrong = world.call(&line).from(&peer).token(CANARY).json(&bodies[0]);
            let wrong = wrong.send().await;
            clean_answer("an unauthenticated answer", &wrong);
            let keyed = world
                .call(&line)
                .token(&token)
                .header("idempotency-key", &line);
            clean_answer("an answer with a key", &keyed.json(&bodies[0]).send().await);
        }
    }
    assert!(sent > 500, "{sent}");

    // Where it may be read it is read, by whoever may.
    let read = world
        .call("GET /v1/values/canary/a")
        .token(&reader)
        .send()
        .await
        .ok();
    let text = read["value"].as_str().unwrap();
    assert_eq!(text, CANARY);
    let batch = json!({"operations": [{"op": "get", "path": "canary/a"}]});
    let batch = world
        .call("POST /v1/batch")
        .token(&reader)
        .json(&batch)
        .send()
        .await
        .ok();
    assert_eq!(batch["results"][0]["body"]["value"], CANARY);
    let keyless = world
        .call("GET /v1/values/canary/a")
        .token(&token)
        .header("x-a", "b");
    keyless.send().await.ok();

    for uri in [
        "/v1/credentials",
        "/v1/credentials/canary/a",
        "/v1/history/canary/a",
        "/v1/checks/canary/a",
        "/v1/checks",
        "/v1/rotations",
        "/v1/targets",
        "/v1/users",
        "/v1/roles",
        "/v1/tokens",
        "/v1/agents",
        "/metrics",
        "/v1/audit/checkpoint",
    ] {
        clean_answer(uri, &world.get(uri).await);
    }
    let mut uri = "/v1/audit/records?limit=1000".to_owned();
    loop {
        let page = world.get(&uri).await;
        clean_answer("the audit log", &page);
        match page.ok()["next"].as_str() {
            Some(next) => uri = format!("/v1/audit/records?limit=1000&before={next}"),
            None => break,
        }
    }
    let logged = log();
    assert!(logged.contains("answered"), "the log is empty");
    clean("the log", logged.as_bytes());
    for line in logged.lines().filter(|line| line.contains("answered")) {
        assert!(
            !line.contains("/canary/a") && !line.contains("limit="),
            "{line}"
        );
    }
    clean("the target's file", &std::fs::read(file).unwrap());
    assert!(walk(world.dir.path()) > 3);
    let _: Value = read;
}

/// Reads every file below a directory, and says how many there were.
fn walk(directory: &Path) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += walk(&path);
        } else {
            clean(&path.display().to_string(), &std::fs::read(&path).unwrap());
            files += 1;
        }
    }
    files
}
