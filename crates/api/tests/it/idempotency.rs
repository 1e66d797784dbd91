//! Requests with a key are carried out once.

use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_gets_the_kept_answer_and_nothing_happens_twice() {
    let world = World::new().await;
    let token = world.token("ci", &["operator"]).await;
    let put = |path: &str, value: &str| {
        let body = json!({"value": value, "accept_weak": true});
        world
            .call(&format!("PUT /v1/credentials/{path}"))
            .token(&token)
            .header("idempotency-key", "k1")
            .json(&body)
            .send()
    };
    let first = put("a", "value-number-one-0123").await;
    assert_eq!(
        (first.status.as_u16(), first.header("etag")),
        (201, "\"1\"")
    );
    let second = put("a", "value-number-one-0123").await;
    assert_eq!(
        (second.status.as_u16(), second.header("etag")),
        (201, "\"1\"")
    );
    assert_eq!(
        (second.header("idempotency-replayed"), &second.text),
        ("true", &first.text)
    );
    assert_eq!(world.get("/v1/credentials/a").await.ok()["latest"], 1);

    for other in [
        put("a", "value-number-two-0123").await,
        put("b", "value-number-one-0123").await,
    ] {
        assert_eq!(other.problem(), (422, "idempotency-key-reused".to_owned()));
    }
    // Another caller's key of the same name is another key.
    let token = world.token("cd", &["operator"]).await;
    let body = json!({"value": "value-number-six-0123", "accept_weak": true});
    let other = world
        .call("PUT /v1/credentials/c")
        .token(&token)
        .header("idempotency-key", "k1");
    assert_eq!(other.json(&body).send().await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_under_one_key_are_carried_out_once() {
    let world = World::new().await;
    let token = world.token("ci", &["operator"]).await;
    let put = || {
        let body = json!({"generate": true, "kind": "secret"});
        world
            .call("PUT /v1/credentials/a")
            .token(&token)
            .header("idempotency-key", "k1")
            .json(&body)
            .send()
    };
    let answers = futures::future::join_all((0..8).map(|_| put())).await;
    for answer in &answers {
        match answer.status.as_u16() {
            201 => {}
            _ => assert_eq!(answer.problem(), (409, "request-in-progress".to_owned())),
        }
    }
    assert!(answers.iter().any(|answer| answer.status == 201));
    assert_eq!(world.get("/v1/credentials/a").await.ok()["latest"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_held_a_secret_is_not_kept() {
    let world = World::new().await;
    let admin = world.token("root", &["admin"]).await;
    let make = || {
        world
            .call("POST /v1/tokens")
            .token(&admin)
            .header("idempotency-key", "k1")
            .json(&json!({"name": "ci", "roles": ["reader"]}))
            .send()
    };
    assert_eq!(make().await.status, 201);
    assert_eq!(make().await.problem(), (409, "answer-not-kept".to_owned()));
    assert_eq!(
        world.get("/v1/tokens").await.ok()["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_changed_nothing_gives_the_key_back() {
    let world = World::new().await;
    let token = world.token("ci", &["reader"]).await;
    let put = || {
        world
            .call("PUT /v1/credentials/a")
            .token(&token)
            .header("idempotency-key", "k1")
            .json(&json!({"generate": true}))
            .send()
    };
    for _ in 0..2 {
        let denied = put().await;
        assert_eq!(denied.problem().0, 403);
        assert_eq!(denied.header("idempotency-replayed"), "");
    }
    let local = world
        .call("PUT /v1/credentials/a")
        .local()
        .header("idempotency-key", "k");
    assert_eq!(
        local
            .json(&json!({"generate": true}))
            .send()
            .await
            .problem()
            .0,
        400
    );
}
