//! Compliance by rule set, over the real store.

use serde_json::{Value, json};

use crate::world::World;

async fn estate(world: &World) {
    for (path, kind, value) in [
        ("prod/a", "password", "Zq7#vLw2pTx9!mRe4Kd8"),
        ("prod/b", "password", "Summer2024!"),
        ("prod/c", "api_key", "k3Jx9vQm2Lw8rTz5YbN7Hd4pF6s1Gc0a"),
        ("test/d", "password", "Zq7#vLw2pTx9!mRe4Kd8"),
    ] {
        let body = json!({"kind": kind, "value": value, "accept_weak": true});
        let line = format!("PUT /v1/credentials/{path}");
        world.send(&line, body).await.ok();
    }
}

fn counts<'v>(report: &'v Value, control: &str) -> &'v Value {
    let controls = report["controls"].as_array().unwrap();
    controls
        .iter()
        .find(|one| one["control"] == control)
        .unwrap()
}

#[tokio::test]
async fn a_report_counts_each_control_and_names_what_fails() {
    let world = World::new().await;
    estate(&world).await;
    let report = world.get("/v1/compliance/pci-dss-4.0.1").await;
    assert!(!report.text.contains("Summer2024"), "{}", report.text);
    let report = report.ok();
    assert_eq!(report["looked_at"], 4);
    let length = counts(&report, "8.3.6");
    assert_eq!(
        (
            &length["passed"],
            &length["failed"],
            &length["not_applicable"]
        ),
        (&json!(2), &json!(1), &json!(1)),
        "{length}"
    );
    assert_eq!(counts(&report, "8.3.2")["passed"], 4);
    let paths: Vec<&str> = report["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["prod/b"]);
    let failed = report["items"][0]["failed"].as_array().unwrap();
    let failed = failed.iter().find(|one| one["control"] == "8.3.6").unwrap();
    assert!(failed["advice"].as_str().unwrap().contains("generate"));
    // The log's verification and what is outside of Pentad are never passed.
    let system = report["system"].as_array().unwrap();
    assert!(!system.is_empty());
    assert!(system.iter().all(|one| one["verdict"] == "not_assessed"));
    // The same value in two places is no secret of either.
    let unique = world.get("/v1/compliance/soc-2?prefix=prod/a").await.ok();
    assert_eq!(counts(&unique, "CC6.1 (own value)")["failed"], 1);
    assert!(!unique.to_string().contains("test/d"));
}

#[tokio::test]
async fn pages_resume_where_the_last_one_ended_and_add_up() {
    let world = World::new().await;
    estate(&world).await;
    let whole = world.get("/v1/compliance/iso-27001-2022").await.ok();
    let (mut passed, mut looked_at, mut after) = (0, 0, None::<String>);
    loop {
        let cursor = after
            .map(|path| format!("&after={path}"))
            .unwrap_or_default();
        let uri = format!("/v1/compliance/iso-27001-2022?limit=3{cursor}");
        let page = world.get(&uri).await.ok();
        passed += counts(&page, "A.8.24 (encryption)")["passed"]
            .as_u64()
            .unwrap();
        looked_at += page["looked_at"].as_u64().unwrap();
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    assert_eq!((passed, looked_at), (4, 4));
    assert_eq!(counts(&whole, "A.8.24 (encryption)")["passed"], 4);
}

#[tokio::test]
async fn a_report_holds_only_what_the_caller_may_check() {
    let world = World::new().await;
    estate(&world).await;
    let role = json!({"rules": [{"paths": ["test/**"], "verbs": ["check"]}]});
    world.send("PUT /v1/roles/tester", role).await.ok();
    let token = world.token("narrow", &["tester"]).await;
    let report = world
        .call("GET /v1/compliance/pci-dss-4.0.1")
        .token(&token)
        .send()
        .await
        .ok();
    assert_eq!(report["looked_at"], 1);
    assert!(!report.to_string().contains("prod/"));
    let reader = world.token("reader", &["reader"]).await;
    let nothing = world
        .call("GET /v1/compliance/pci-dss-4.0.1")
        .token(&reader)
        .send()
        .await
        .ok();
    assert_eq!(nothing["looked_at"], 0);
}

#[tokio::test]
async fn a_tenant_writes_its_own_rules_and_the_built_in_ones_keep_their_meaning() {
    let world = World::new().await;
    estate(&world).await;
    let own = json!({"title": "House rules", "controls": [
        {"id": "H1", "title": "Long", "kinds": ["password"], "checks": [{"type": "length", "min": 24}]},
        {"id": "H2", "title": "Owned", "checks": [{"type": "owner"}]},
    ]});
    let made = world.send("PUT /v1/compliance/house", own.clone()).await;
    assert_eq!(made.status, 204, "{}", made.text);
    let sets = world.get("/v1/compliance").await.ok();
    let ids: Vec<&str> = sets["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|set| set["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        [
            "gdpr",
            "iso-27001-2022",
            "nist-800-63b-4",
            "pci-dss-4.0.1",
            "soc-2",
            "sox",
            "house"
        ]
    );
    let report = world.get("/v1/compliance/house").await.ok();
    assert_eq!(counts(&report, "H1")["failed"], 3);
    assert_eq!(counts(&report, "H2")["failed"], 4);
    let reserved = world.send("PUT /v1/compliance/gdpr", own).await;
    assert_eq!(reserved.problem(), (400, "invalid".to_owned()));
    let wrong = json!({"title": "x", "controls": [
        {"id": "1", "title": "One", "checks": [{"type": "lenght", "min": 24}]}]});
    let wrong = world.send("PUT /v1/compliance/wrong", wrong).await;
    assert_eq!(wrong.problem(), (400, "invalid".to_owned()));
    let gone = world
        .call("DELETE /v1/compliance/house")
        .local()
        .send()
        .await;
    assert_eq!(gone.status, 204);
    let missing = world.get("/v1/compliance/house").await;
    assert_eq!(missing.problem(), (404, "missing".to_owned()));
    // Who may not administer may read frameworks, and write none.
    let reader = world.token("reader", &["reader"]).await;
    let refused = world
        .call("PUT /v1/compliance/mine")
        .token(&reader)
        .json(&json!({"title": "x", "controls": [{"id": "1", "title": "One", "checks": [{"type": "owner"}]}]}))
        .send()
        .await;
    assert_eq!(refused.problem().0, 403);
}

#[tokio::test]
async fn a_check_weighs_risk() {
    let world = World::new().await;
    estate(&world).await;
    let weak = world.get("/v1/checks/prod/b").await.ok();
    let strong = world.get("/v1/checks/prod/c").await.ok();
    let points = |checked: &Value| checked["risk"]["points"].as_u64().unwrap();
    assert!(points(&weak) > points(&strong), "{weak} {strong}");
    assert_eq!(weak["risk"]["reasons"][0]["name"], "strength");
    assert_eq!(strong["risk"]["level"], "low", "{strong}");
    let unknown = strong["risk"]["unknown"].to_string();
    assert!(unknown.contains("breach"), "{unknown}");
    // Another one falls with it.
    let shared = world.get("/v1/checks/prod/a").await.ok();
    assert!(shared["risk"]["reasons"].to_string().contains("\"shared\""));
}

#[tokio::test]
async fn a_policys_own_words_count_as_surroundings() {
    let world = World::new().await;
    let policy = json!({"words": ["Nordlicht"], "min_guesses_log10": 0.0});
    world.send("PUT /v1/policies/house", policy).await.ok();
    let put = json!({"kind": "password", "policy": "house", "value": "n0rdl1cht#n0rdl1cht"});
    let refused = world.send("PUT /v1/credentials/prod/x", put).await;
    assert_eq!(refused.problem(), (422, "refused".to_owned()));
    assert!(
        refused
            .text
            .contains("its own path, account or organisation")
    );
}

#[tokio::test]
async fn a_long_history_is_compared_to_its_end() {
    let world = World::new().await;
    let policy =
        json!({"history": 150, "min_length": 1, "min_guesses_log10": 0.0, "forbid_patterns": []});
    world.send("PUT /v1/policies/long", policy).await.ok();
    let put = |number: usize| {
        let value = format!("value-number-{number}-of-many");
        world.send(
            "PUT /v1/credentials/prod/x",
            json!({"kind": "password", "policy": "long", "value": value}),
        )
    };
    for number in 0..120 {
        put(number).await.ok();
    }
    let refused = put(3).await;
    assert_eq!(refused.problem(), (422, "refused".to_owned()));
    assert!(refused.text.contains("version 4"), "{}", refused.text);
}
