//! Storing, reading, listing, deleting; preconditions, pages, batches and their errors.

use serde_json::{Value, json};

use crate::world::World;

const STRONG: &str = "9vK-tq7ZbX2_mR4w.LpD8~sJhC5+nYgE";

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_put_is_read_back_with_its_metadata() {
    let world = World::new().await;
    let body = json!({
        "kind": "password", "value": STRONG, "description": "orders", "tags": {"team": "a"},
        "owner": "ann", "provider": "hand", "expires_at": "2030-01-01T01:00:00+01:00",
    });
    let made = world.send("PUT /v1/credentials/prod/orders/db", body).await;
    assert_eq!(
        (made.status.as_u16(), made.header("etag")),
        (201, "\"1\""),
        "{}",
        made.text
    );
    let json = made.json();
    assert_eq!(json["credential"]["expires_at"], "2030-01-01T00:00:00.000Z");
    assert_eq!(json["assessment"]["accepted"], true);

    let read = world.get("/v1/values/prod/orders/db").await;
    assert_eq!(read.header("cache-control"), "no-store");
    let read = read.ok();
    assert_eq!(
        (&read["value"], &read["version"]),
        (&json!(STRONG), &json!(1))
    );
    assert_eq!(
        (&read["kind"], &read["stage"]),
        (&json!("password"), &json!("current"))
    );
    let read = world.get("/v1/credentials/prod/orders/db").await;
    assert_eq!(read.header("etag"), "\"1\"");
    assert_eq!(read.ok()["tags"]["team"], "a");

    // Metadata alone leaves the value; another value is another version.
    let described = world
        .send(
            "PUT /v1/credentials/prod/orders/db",
            json!({"owner": "bob"}),
        )
        .await;
    assert_eq!(
        (described.status.as_u16(), described.header("etag")),
        (200, "\"2\"")
    );
    assert_eq!(described.json()["assessment"], Value::Null);
    let body = json!({"generate": true});
    world
        .send("PUT /v1/credentials/prod/orders/db", body)
        .await
        .ok();
    let old = world.get("/v1/values/prod/orders/db?version=1").await.ok();
    assert_eq!(
        (&old["value"], &old["stage"]),
        (&json!(STRONG), &json!("retired"))
    );

    let history = world.get("/v1/history/prod/orders/db?limit=1").await.ok();
    assert_eq!(
        (&history["items"][0]["number"], &history["next"]),
        (&json!(2), &json!("2"))
    );
    let history = world.get("/v1/history/prod/orders/db?before=2").await.ok();
    assert_eq!(
        (&history["items"][0]["number"], &history["next"]),
        (&json!(1), &Value::Null)
    );
    for hidden in ["sealed", "stage_mac", "fingerprint"] {
        assert_eq!(history["items"][0][hidden], Value::Null);
    }

    let gone = world
        .call("DELETE /v1/versions/1/prod/orders/db")
        .local()
        .send()
        .await;
    assert_eq!(gone.status, 204);
    let read = world.get("/v1/values/prod/orders/db?version=1").await;
    assert_eq!(read.problem(), (404, "missing".to_owned()));
    let current = world
        .call("DELETE /v1/versions/2/prod/orders/db")
        .local()
        .send()
        .await;
    assert!(current.status.is_client_error() || current.status.is_server_error());
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_text_go_in_and_out_as_base64() {
    let world = World::new().await;
    let body = json!({"value_base64": "/wD+", "accept_weak": true});
    world.send("PUT /v1/credentials/raw", body).await.ok();
    let read = world.get("/v1/values/raw").await.ok();
    assert_eq!(
        (&read["value_base64"], &read["value"]),
        (&json!("/wD+"), &Value::Null)
    );
    let both = json!({"value_base64": "/wD+", "generate": true});
    let refused = world.send("PUT /v1/credentials/raw", both).await;
    assert_eq!(refused.problem(), (400, "invalid".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_credential_is_gone_until_it_is_restored() {
    let world = World::new().await;
    world.put("a/b", STRONG).await;
    world
        .call("DELETE /v1/credentials/a/b")
        .local()
        .send()
        .await
        .ok();
    assert_eq!(world.get("/v1/values/a/b").await.problem().0, 404);
    assert_eq!(world.get("/v1/credentials").await.ok()["items"], json!([]));
    let deleted = world.get("/v1/credentials?deleted=true").await.ok();
    assert_eq!(deleted["items"][0]["path"], "a/b");
    let again = world
        .call("DELETE /v1/credentials/a/b")
        .local()
        .send()
        .await;
    assert_eq!(again.problem(), (409, "conflict".to_owned()));
    world.call("POST /v1/restore/a/b").local().send().await.ok();
    assert_eq!(world.get("/v1/values/a/b").await.ok()["value"], STRONG);
}

#[tokio::test(flavor = "multi_thread")]
async fn preconditions_protect_from_lost_updates() {
    let world = World::new().await;
    let put = |header: &'static str, value: &'static str| {
        let body = json!({"value": STRONG, "accept_weak": true});
        world
            .call("PUT /v1/credentials/a")
            .local()
            .header(header, value)
            .json(&body)
            .send()
    };
    assert_eq!(put("if-none-match", "*").await.status, 201);
    assert_eq!(
        put("if-none-match", "*").await.problem(),
        (412, "conflict".to_owned())
    );
    assert_eq!(
        put("if-match", "\"9\"").await.problem(),
        (412, "conflict".to_owned())
    );
    assert_eq!(
        put("if-match", "9").await.problem(),
        (400, "invalid".to_owned())
    );
    assert_eq!(put("if-match", "\"1\"").await.status, 200);
    let delete = world
        .call("DELETE /v1/credentials/a")
        .local()
        .header("if-match", "\"1\"");
    assert_eq!(delete.send().await.problem().0, 412);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_the_place_and_the_next_step() {
    let world = World::new().await;
    world.put("prod/orders/db", STRONG).await;

    let near = world.get("/v1/values/prod/orders/bd").await;
    assert_eq!(near.problem(), (404, "missing".to_owned()));
    assert_eq!(near.json()["nearest"], "prod/orders/db");
    assert!(
        near.json()["hint"]
            .as_str()
            .unwrap()
            .contains("did you mean")
    );

    let weak = json!({"kind": "password", "value": "password1"});
    let weak = world.send("PUT /v1/credentials/weak", weak).await;
    assert_eq!(weak.problem(), (422, "refused".to_owned()));
    assert_eq!(weak.json()["assessment"]["accepted"], false);
    assert!(
        !weak.json()["assessment"]["findings"]
            .as_array()
            .unwrap()
            .is_empty()
    );

    let broken = world
        .call("PUT /v1/credentials/x")
        .local()
        .raw("{\n \"value\": ")
        .send()
        .await;
    assert_eq!(broken.problem(), (400, "invalid".to_owned()));
    assert!(
        broken.json()["detail"].as_str().unwrap().contains("line 2"),
        "{}",
        broken.text
    );
    let unknown = world
        .send("PUT /v1/credentials/x", json!({"valeu": "x"}))
        .await;
    let detail = unknown.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("`valeu`") && detail.contains("`value`"),
        "{detail}"
    );

    let plain = world.call("PUT /v1/credentials/x").local().send().await;
    assert_eq!(plain.problem(), (415, "not-json".to_owned()));
    assert_eq!(world.get("/v1/values/a//b").await.problem().0, 400);
    assert_eq!(world.get("/v1/credentials?perfix=a").await.problem().0, 400);
    assert_eq!(world.get("/v1/credentials?limit=0").await.problem().0, 400);
    assert_eq!(
        world.get("/v2/nothing").await.problem(),
        (404, "no-such-route".to_owned())
    );
    let method = world.call("POST /v1/kinds").local().send().await;
    assert_eq!(method.problem(), (405, "no-such-method".to_owned()));
    let large = vec![b' '; (2 << 20) + 1];
    let large = world
        .call("PUT /v1/credentials/x")
        .local()
        .raw(large)
        .send()
        .await;
    assert_eq!(large.problem(), (413, "too-large".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_lead_to_the_end_and_filters_narrow() {
    let world = World::new().await;
    let operations: Vec<Value> = (0..25)
        .map(|n| {
            let tags = json!({"even": (n % 2 == 0).to_string()});
            json!({"op": "put", "path": format!("p/{n:02}"), "generate": true,
                   "kind": "secret", "tags": tags})
        })
        .collect();
    let batch = world
        .send("POST /v1/batch", json!({"operations": operations}))
        .await
        .ok();
    assert_eq!(batch["failed"], 0, "{batch}");

    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = world
            .get(&format!("/v1/credentials?limit=10{after}"))
            .await
            .ok();
        let items = page["items"].as_array().unwrap();
        seen.extend(
            items
                .iter()
                .map(|item| item["path"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let all: Vec<String> = (0..25).map(|n| format!("p/{n:02}")).collect();
    assert_eq!(seen, all);
    let even = world.get("/v1/credentials?tag=even%3Dtrue").await.ok();
    assert_eq!(even["items"].as_array().unwrap().len(), 13);
    let tagged = world
        .get("/v1/credentials?tag=even&prefix=p/1&kind=secret")
        .await
        .ok();
    assert_eq!(tagged["items"].as_array().unwrap().len(), 10);
    let checks = world.get("/v1/checks?limit=20").await.ok();
    assert_eq!(checks["items"].as_array().unwrap().len(), 20);
    assert_eq!(checks["next"], "p/19");
    assert!(checks["items"][0]["assessment"]["score"].as_u64().unwrap() > 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failure_of_a_batch_takes_no_other_with_it() {
    let world = World::new().await;
    world.put("a", STRONG).await;
    let operations = json!({"operations": [
        {"op": "get", "path": "a"},
        {"op": "get", "path": "none"},
        {"op": "put", "path": "weak", "kind": "password", "value": "password1"},
        {"op": "put", "path": "b", "value": STRONG, "accept_weak": true},
        {"op": "put", "path": "a", "expect": 0, "value": STRONG},
        {"op": "check", "path": "a"},
        {"op": "delete", "path": "a", "expect": 9},
    ]});
    let answer = world.send("POST /v1/batch", operations).await.ok();
    let results = answer["results"].as_array().unwrap();
    let statuses: Vec<u64> = results
        .iter()
        .map(|r| r["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [200, 404, 422, 201, 412, 200, 412], "{answer}");
    assert_eq!(answer["failed"], 4);
    assert_eq!(results[0]["body"]["value"], STRONG);
    assert_eq!(results[2]["problem"]["assessment"]["accepted"], false);
    let empty = world
        .send("POST /v1/batch", json!({"operations": []}))
        .await;
    assert_eq!(empty.problem().0, 400);
    let wrong = world.send(
        "POST /v1/batch",
        json!({"operations": [{"op": "eat", "path": "a"}]}),
    );
    let wrong = wrong.await.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        wrong.contains("operations[0].op") && wrong.contains("`check`"),
        "{wrong}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_tells_strength_without_the_value() {
    let world = World::new().await;
    world.put("a", STRONG).await;
    let checked = world.get("/v1/checks/a").await;
    assert!(checked.ok()["assessment"]["score"].as_u64().unwrap() > 0);
    assert!(!checked.text.contains(STRONG));
}
