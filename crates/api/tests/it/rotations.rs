//! Targets and rotations, over a real file.

use serde_json::{Value, json};

use crate::world::{World, until};

const OLD: &str = "old-value-of-the-file-0001";

async fn adopted(world: &World) -> std::path::PathBuf {
    let file = world.env_file("DB_PASSWORD", OLD).await;
    let body = json!({"kind": "database", "value": OLD,
                      "binding": {"target": "app", "account": "DB_PASSWORD"}});
    let adopted = world.send("POST /v1/adopt/app/db", body).await;
    assert_eq!(adopted.status, 201, "{}", adopted.text);
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_adopted_planned_and_rotated_to_the_end() {
    let world = World::new().await;
    let file = adopted(&world).await;
    let plan = json!({"paths": ["app/db"], "dry_run": true});
    let plan = world.send("POST /v1/rotations", plan).await;
    assert_eq!(plan.status, 200);
    assert_eq!(
        plan.json()["groups"][0][0]["path"],
        "app/db",
        "{}",
        plan.text
    );

    let started = json!({"filter": {"prefix": "app/", "target": "app"}});
    let started = world.send("POST /v1/rotations", started).await;
    assert_eq!(started.status, 202, "{}", started.text);
    let id = started.json()["rotations"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let uri = format!("/v1/rotations/{id}");
    let ended: Value = until(|| async {
        let rotation = world.get(&uri).await.ok();
        (rotation["ended"] == true).then_some(rotation)
    })
    .await;
    assert_eq!(ended["step"], "done", "{ended}");
    let now = world.get("/v1/values/app/db").await.ok()["value"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_ne!(now, OLD);
    assert!(std::fs::read_to_string(file).unwrap().contains(&now));

    let batch = started.json()["batch"].as_str().unwrap().to_owned();
    let list = world
        .get(&format!("/v1/rotations?path=app/db&batch={batch}&limit=1"))
        .await
        .ok();
    assert_eq!(list["items"][0]["id"], id);
    assert_eq!(
        world.get("/v1/rotations?unfinished=true").await.ok()["items"],
        json!([])
    );
    let of = |query: &'static str| {
        let world = &world;
        async move { world.get(&format!("/v1/rotations?{query}")).await }
    };
    assert_eq!(of("step=done").await.ok()["items"][0]["id"], id);
    for none in [
        "step=diverged",
        "needs_person=true",
        "step=done&unfinished=true",
    ] {
        assert_eq!(of(none).await.ok()["items"], json!([]), "{none}");
    }
    for wrong in ["step=nonsense", "needs_person=true&step=done"] {
        assert_eq!(of(wrong).await.problem().0, 400, "{wrong}");
    }
    for act in ["pause", "resume", "cancel", "rollback"] {
        let late = world
            .call(&format!("POST {uri}/{act}"))
            .local()
            .send()
            .await;
        assert_eq!(late.problem().0, 409, "{act}: {}", late.text);
    }
    let resolve = world
        .send(&format!("POST {uri}/resolve"), json!({"how": "retry"}))
        .await;
    assert_eq!(resolve.problem().0, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_rotated_is_said_so() {
    let world = World::new().await;
    adopted(&world).await;
    for body in [
        json!({}),
        json!({"paths": []}),
        json!({"paths": ["app/db"], "filter": {}}),
        json!({"filter": {"prefix": "none/"}}),
    ] {
        let refused = world.send("POST /v1/rotations", body.clone()).await;
        assert_eq!(refused.problem().0, 400, "{body}");
    }
    let none = world
        .get("/v1/rotations/01890000-0000-7000-8000-000000000000")
        .await;
    assert_eq!(none.problem().0, 404);
    assert_eq!(world.get("/v1/rotations/zz").await.problem().0, 400);
    let wrong = json!({"value": "not-what-is-in-the-file",
                       "binding": {"target": "app", "account": "DB_PASSWORD"}});
    let wrong = world.send("POST /v1/adopt/app/other", wrong).await;
    assert_eq!(wrong.problem(), (502, "target".to_owned()));
    assert!(!wrong.text.contains("not-what-is-in-the-file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_are_listed_checked_and_not_removed_while_bound() {
    let world = World::new().await;
    adopted(&world).await;
    assert_eq!(
        world.get("/v1/targets").await.ok()["items"][0]["name"],
        "app"
    );
    assert_eq!(world.get("/v1/targets/app").await.ok()["system"], "envfile");
    let checked = world
        .call("POST /v1/targets/app/check")
        .local()
        .send()
        .await
        .ok();
    assert_eq!(checked["ready"], true, "{checked}");
    let bound = world.call("DELETE /v1/targets/app").local().send().await;
    assert_eq!(bound.problem().0, 409);
    let unknown = json!({"system": "abacus", "address": "x"});
    assert_eq!(
        world.send("PUT /v1/targets/x", unknown).await.problem().0,
        400
    );
    let systems = world.get("/v1/connectors").await.ok();
    assert!(
        systems["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["name"] == "postgresql")
    );
    let free = json!({"system": "envfile", "address": world.dir.path().join("free.env")});
    world.send("PUT /v1/targets/free", free).await.ok();
    assert_eq!(
        world
            .call("DELETE /v1/targets/free")
            .local()
            .send()
            .await
            .status,
        204
    );
    assert_eq!(world.get("/v1/targets/free").await.problem().0, 404);
}
