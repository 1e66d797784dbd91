//! Batches without an end: a line is an operation, and a line is its result.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::Request,
};
use futures::{SinkExt as _, StreamExt as _, channel::mpsc};
use pentad_api::{LocalUser, Options};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::world::World;

const STRONG: &str = "vQ8#kd02!mZx-77_pLq";
const SOON: Duration = Duration::from_secs(20);

/// Sends lines at once; the results by their line, and the last line.
async fn streamed(world: &World, body: impl Into<Vec<u8>>) -> (Vec<Value>, Value) {
    let answer = world
        .call("POST /v1/batch")
        .local()
        .header("content-type", "application/x-ndjson")
        .bytes(body)
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let mut lines: Vec<Value> = answer
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let end = lines.pop().unwrap();
    lines.sort_by_key(|line| line["line"].as_u64());
    (lines, end)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_line_is_an_error_for_that_line_and_for_no_other() {
    let world = World::new().await;
    let body = [
        json!({"op": "put", "path": "a", "value": STRONG}).to_string(),
        "{\"op\": \"put\", \"path\": \"b\", \"value\": \"cAnArY".to_owned(),
        String::new(),
        json!({"op": "eat", "path": "c"}).to_string(),
        json!({"op": "get", "path": "none"}).to_string(),
        "  \r".to_owned(),
        json!({"op": "put", "path": "weak", "kind": "password", "value": "password1"}).to_string(),
        // The last line needs no end.
        json!({"op": "put", "path": "d", "generate": true, "kind": "secret"}).to_string(),
    ]
    .join("\n");
    let (lines, end) = streamed(&world, body).await;
    let told: Vec<(u64, u64)> = lines
        .iter()
        .map(|line| {
            (
                line["line"].as_u64().unwrap(),
                line["status"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [(1, 201), (2, 400), (4, 400), (5, 404), (7, 422), (8, 201)]
    );
    assert_eq!(end, json!({"lines": 6, "failed": 4}));
    assert_eq!(lines[0]["path"], "a");
    assert!(lines[1].get("path").is_none());
    assert!(!lines[1].to_string().contains("cAnArY"));
    assert_eq!(lines[4]["problem"]["assessment"]["accepted"], false);
    assert_eq!(
        world.get("/v1/values/a").await.ok()["value"],
        STRONG,
        "what was answered is stored"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_too_long_is_passed_over() {
    let world = World::with(Options {
        body_limit: 4096,
        ..Options::default()
    })
    .await;
    world.put("a", STRONG).await;
    let long = json!({"op": "put", "path": "long", "value": "x".repeat(5000)});
    let get = json!({"op": "get", "path": "a"});
    let (lines, end) = streamed(&world, format!("{get}\n{long}\n{get}\n{long}")).await;
    let told: Vec<&Value> = lines.iter().map(|line| &line["status"]).collect();
    assert_eq!(told, [200, 413, 200, 413]);
    assert_eq!(end["failed"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_come_while_lines_are_still_sent() {
    let world = World::new().await;
    let (mut send, lines) = mpsc::channel::<Result<Bytes, Infallible>>(8);
    let mut request = Request::post("/v1/batch")
        .header("content-type", "application/x-ndjson; charset=utf-8")
        .body(Body::from_stream(lines))
        .unwrap();
    request
        .extensions_mut()
        .insert(LocalUser("tester".to_owned()));
    let response = world.router.clone().oneshot(request).await.unwrap();
    let mut answer = response.into_body().into_data_stream();
    let within = Duration::from_secs(20);
    for n in 0..3 {
        let line = json!({"op": "put", "path": format!("a/{n}"), "generate": true}).to_string();
        // In two pieces: a line is where its end is, not where a packet is.
        let (head, tail) = line.split_at(9);
        for piece in [head.to_owned(), format!("{tail}\n")] {
            send.send(Ok(Bytes::from(piece))).await.unwrap();
        }
        let result = tokio::time::timeout(within, answer.next()).await.unwrap();
        let result: Value = serde_json::from_slice(&result.unwrap().unwrap()).unwrap();
        assert_eq!(
            (&result["line"], &result["status"]),
            (&json!(n + 1), &json!(201))
        );
    }
    drop(send);
    let end = tokio::time::timeout(within, answer.next()).await.unwrap();
    let end: Value = serde_json::from_slice(&end.unwrap().unwrap()).unwrap();
    assert_eq!(end, json!({"lines": 3, "failed": 0}));
    assert!(answer.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_revoked_in_the_middle_is_refused_from_the_next_line_on() {
    let world = World::new().await;
    world.put("a", STRONG).await;
    let token = world.token("reader", &["reader"]).await;
    let (mut send, lines) = mpsc::channel::<Result<Bytes, Infallible>>(8);
    let request = Request::post("/v1/batch")
        .header("content-type", "application/x-ndjson")
        .header("authorization", format!("Bearer {token}"))
        .body(Body::from_stream(lines))
        .unwrap();
    let response = world.router.clone().oneshot(request).await.unwrap();
    let mut answer = response.into_body().into_data_stream();
    let get = format!("{}\n", json!({"op": "get", "path": "a"}));
    let mut next = async || {
        send.send(Ok(Bytes::from(get.clone()))).await.unwrap();
        let result = answer.next().await.unwrap().unwrap();
        serde_json::from_slice::<Value>(&result).unwrap()["status"].clone()
    };
    assert_eq!(next().await, 200);
    world.revoke("reader").await;
    assert_eq!(next().await, 401);
    // Nobody asks again and again, past the limit that failed authentications have.
    let end = json!({"lines": 2, "failed": 1});
    let told = timeout(SOON, answer.next()).await.unwrap();
    let told = told.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&told).unwrap(), end);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_revoked_while_the_body_comes_is_refused() {
    let world = World::new().await;
    let token = world.token("writer", &["admin"]).await;
    let (mut send, parts) = mpsc::channel::<Result<Bytes, Infallible>>(8);
    let request = Request::put("/v1/credentials/a")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {token}"))
        .body(Body::from_stream(parts))
        .unwrap();
    let body = json!({"kind": "secret", "value": STRONG}).to_string();
    let (first, last) = body.split_at(10);
    send.send(Ok(Bytes::from(first.to_owned()))).await.unwrap();
    let answer = tokio::spawn(world.router.clone().oneshot(request));
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.revoke("writer").await;
    send.send(Ok(Bytes::from(last.to_owned()))).await.unwrap();
    drop(send);
    assert_eq!(answer.await.unwrap().unwrap().status(), 401);
    assert_eq!(world.get("/v1/credentials/a").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_one_answer_have_room_or_are_refused() {
    let world = World::with(Options {
        // Room for two of them, besides what small results have.
        body_budget: 256 << 10,
        ..Options::default()
    })
    .await;
    let put = json!({"kind": "secret", "value": "x".repeat(90 << 10), "accept_weak": true});
    world.send("PUT /v1/credentials/large", put).await.ok();
    let operations: Vec<Value> = (0..9)
        .map(|_| json!({"op": "get", "path": "large"}))
        .collect();
    let answer = world.send("POST /v1/batch", json!({"operations": operations}));
    let answer = answer.await.ok();
    let results = answer["results"].as_array().unwrap();
    let with = |status| results.iter().filter(move |it| it["status"] == status);
    assert!(
        (1..=2).contains(&with(200).count()),
        "{}",
        with(200).count()
    );
    assert_eq!(with(503).count() + with(200).count(), 9);
    assert_eq!(answer["failed"], with(503).count());
    // All has been taken, so all is given back.
    let alone = json!({"operations": [{"op": "get", "path": "large"}]});
    assert_eq!(world.send("POST /v1/batch", alone).await.ok()["failed"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_lines_go_through_little_memory() {
    let world = World::with(Options {
        // Room for a few lines, not for all.
        body_budget: 256 << 10,
        ..Options::default()
    })
    .await;
    let lines = (0..150).map(|n| {
        let text = json!({"op": "put", "path": format!("many/{n:03}"), "kind": "secret",
                          "value": "x".repeat(2000), "accept_weak": true});
        Ok::<_, Infallible>(Bytes::from(format!("{text}\n")))
    });
    let mut request = Request::post("/v1/batch")
        .header("content-type", "application/x-ndjson")
        .body(Body::from_stream(futures::stream::iter(lines)))
        .unwrap();
    request
        .extensions_mut()
        .insert(LocalUser("tester".to_owned()));
    let response = world.router.clone().oneshot(request).await.unwrap();
    // As a connection does: what was taken gives its room back.
    let (mut answer, mut text) = (response.into_body().into_data_stream(), Vec::new());
    while let Some(bytes) = answer.next().await {
        text.extend_from_slice(&bytes.unwrap());
    }
    let text = String::from_utf8(text).unwrap();
    let end: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(end, json!({"lines": 150, "failed": 0}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_goes_with_no_stream() {
    let world = World::new().await;
    let token = world.token("writer", &["admin"]).await;
    let answer = world
        .call("POST /v1/batch")
        .token(&token)
        .header("content-type", "application/x-ndjson")
        .header("idempotency-key", "k-1")
        .send()
        .await;
    assert_eq!(answer.problem().0, 400);
}
