//! Retention and erasure over HTTP.

use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn rules_are_planned_applied_and_listed() {
    let world = World::new().await;
    for number in 1..=4 {
        world.put("prod/a", &format!("value number {number}")).await;
    }
    let rule = json!({"paths": ["prod/**"], "keep_versions": 1, "description": "short"});
    let made = world.send("PUT /v1/retention/rules/short", rule).await;
    assert_eq!(made.status, 204, "{}", made.text);
    let rules = world.get("/v1/retention/rules").await.ok();
    assert_eq!(rules["items"][0]["name"], "short");
    assert_eq!(rules["items"][0]["keep_versions"], 1);
    let plan = world.get("/v1/retention/plan").await.ok();
    assert_eq!(
        plan["items"],
        json!([{"path": "prod/a", "versions": [2, 1], "credential": false, "rule": "short"}])
    );
    let mut body = json!({"limit": 1});
    let mut gone = 0;
    loop {
        let page = world.send("POST /v1/retention/apply", body).await.ok();
        gone += page["items"].as_array().unwrap().len();
        if page["next"].is_null() {
            break;
        }
        body = json!({"limit": 1, "after": page["next"]});
    }
    assert_eq!(gone, 1);
    assert_eq!(world.get("/v1/values/prod/a?version=2").await.status, 404);
    assert_eq!(world.get("/v1/values/prod/a?version=3").await.status, 200);
    let report = world.get("/v1/compliance/gdpr").await.ok();
    let retention = &report["controls"][0];
    assert_eq!(
        (&retention["control"], &retention["passed"]),
        (&json!("Art. 5(1)(e)"), &json!(1))
    );
    let gone = world
        .call("DELETE /v1/retention/rules/short")
        .local()
        .send()
        .await;
    assert_eq!(gone.status, 204);
    for (line, body) in [
        ("PUT /v1/retention/rules/x", json!({"paths": ["**"]})),
        (
            "PUT /v1/retention/rules/x",
            json!({"paths": ["/x"], "keep_days": 1}),
        ),
        (
            "PUT /v1/retention/rules/x",
            json!({"paths": ["**"], "keep_days": 1, "hold": true}),
        ),
        ("POST /v1/retention/apply", json!({"after": "nonsense"})),
        ("POST /v1/retention/apply", json!({"limit": 501})),
    ] {
        let refused = world.send(line, body).await;
        assert_eq!(refused.problem(), (400, "invalid".to_owned()));
    }
}

#[tokio::test]
async fn an_erasure_says_what_it_did_and_what_stays() {
    let world = World::new().await;
    let put = json!({"kind": "secret", "value": "some value", "owner": "Ann Smith"});
    world.send("PUT /v1/credentials/prod/a", put).await.ok();
    let erased = world
        .send("POST /v1/erasures", json!({"owner": "Ann Smith"}))
        .await
        .ok();
    assert_eq!(
        (&erased["credentials"], &erased["more"]),
        (&json!(1), &json!(false))
    );
    assert!(erased["remains"].to_string().contains("audit records"));
    let described = world.get("/v1/credentials/prod/a").await.ok();
    assert_eq!(described["owner"], Value::Null);
    // The name is in no record of it.
    let records = world.get("/v1/audit/records?limit=1000").await;
    assert!(!records.text.contains("Ann Smith"), "{}", records.text);
    let token = world.token("operator", &["operator"]).await;
    let refused = world
        .call("POST /v1/erasures")
        .token(&token)
        .json(&json!({"owner": "Ann Smith"}))
        .send()
        .await;
    assert_eq!(refused.problem().0, 403);
}
