//! Health, metrics, headers, the audit log.

use pentad_api::Options;
use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_secured_and_correlated() {
    let world = World::with(Options {
        tls: true,
        ..Options::default()
    })
    .await;
    let id = "01890000-0000-7000-8000-000000000007";
    for uri in ["/healthz", "/v1/kinds", "/nowhere", "/openapi.json"] {
        let call = world
            .call(&format!("GET {uri}"))
            .header("x-correlation-id", id);
        let answer = call.send().await;
        assert_eq!(answer.header("x-correlation-id"), id);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(answer.header(name), value, "{uri}");
        }
        assert!(
            answer
                .header("content-security-policy")
                .contains("default-src 'none'")
        );
        assert!(
            answer
                .header("strict-transport-security")
                .contains("max-age")
        );
    }
    let made = world
        .call("GET /healthz")
        .header("x-correlation-id", "not an id")
        .send()
        .await;
    assert_eq!(made.header("x-correlation-id").len(), 36);
    let plain = World::new().await;
    let answer = plain.call("GET /healthz").send().await;
    assert_eq!(answer.header("strict-transport-security"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_tell_of_the_agents_and_of_no_credential() {
    let world = World::new().await;
    assert_eq!(world.call("GET /healthz").send().await.ok()["status"], "ok");
    assert_eq!(world.call("GET /readyz").send().await.ok()["status"], "ok");
    world
        .put("very/telling/path", "value-0123456789-abcdef")
        .await;
    let agents = world.get("/v1/agents").await.ok();
    assert_eq!(agents["items"].as_array().unwrap().len(), 5);
    assert_eq!(agents["items"][0]["state"], "running");
    assert_eq!(
        world.get("/v1/kinds").await.ok()["items"]
            .as_array()
            .unwrap()
            .len(),
        10
    );

    let metrics = world.get("/metrics").await.text;
    assert!(
        metrics.contains("route=\"/v1/credentials/{*path}\""),
        "{metrics}"
    );
    assert!(
        metrics.contains("pentad_agent_handled_total{agent=\"encryption\"}"),
        "{metrics}"
    );
    assert!(metrics.contains("pentad_agent_queued{agent=\"rotation\",lane=\"critical\"} 0"));
    assert!(!metrics.contains("telling"));
    let observer = world.token("prometheus", &["auditor"]).await;
    world.call("GET /metrics").token(&observer).send().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_on_record_and_can_be_proven() {
    let world = World::new().await;
    let id = "01890000-0000-7000-8000-00000000000a";
    let body = json!({"generate": true, "kind": "secret"});
    let put = world
        .call("PUT /v1/credentials/a/b")
        .local()
        .header("x-correlation-id", id);
    put.json(&body).send().await.ok();
    world.get("/v1/values/a/b").await.ok();

    // What a change wrote follows the reads into the log; a checkpoint waits for it.
    let checkpoint = world.get("/v1/audit/checkpoint").await.ok();
    let size = checkpoint["size"].as_u64().unwrap();
    assert!(size >= 2 && checkpoint["note"].as_str().unwrap().contains("pentad.test"));
    let written = crate::world::until(|| async {
        let page = world
            .get(&format!("/v1/audit/records?correlation={id}"))
            .await
            .ok();
        page["items"].as_array().unwrap().first().cloned()
    })
    .await;
    assert_eq!(written["action"], "credential.write");
    assert_eq!(
        (&written["path"], &written["principal"]),
        (&json!("a/b"), &json!("local:tester"))
    );
    let reads = world
        .get("/v1/audit/records?action=credential.&path=a/b&principal=local:tester&limit=5")
        .await
        .ok();
    assert_eq!(reads["items"].as_array().unwrap().len(), 2, "{reads}");

    let checkpoint = world.get("/v1/audit/checkpoint").await.ok();
    let later = checkpoint["size"].as_u64().unwrap();
    let index = written["index"].as_u64().unwrap();
    let proof = world
        .get(&format!("/v1/audit/inclusion?index={index}&size={later}"))
        .await
        .ok();
    assert!(proof["leaf"].as_str().unwrap().contains(id));
    assert_eq!(proof["hashes"][0].as_str().unwrap().len(), 64);
    world
        .get(&format!("/v1/audit/consistency?old={size}&new={later}"))
        .await
        .ok();
    let mut seen = 0;
    let mut uri = "/v1/audit/records?limit=1".to_owned();
    loop {
        let page = world.get(&uri).await.ok();
        seen += page["items"].as_array().unwrap().len();
        match page["next"].as_str() {
            Some(next) => uri = format!("/v1/audit/records?limit=1&before={next}"),
            None => break,
        }
    }
    assert!(seen >= 3, "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_takes_too_long_is_ended() {
    let world = World::with(Options {
        timeout: std::time::Duration::ZERO,
        ..Options::default()
    })
    .await;
    let late = world
        .send("PUT /v1/credentials/a", json!({"generate": true}))
        .await;
    assert_eq!(late.problem(), (504, "timed-out".to_owned()));
}
