//! Tokens, users, roles, tenants; refusals and limits.

use std::time::Duration;

use serde_json::json;

use crate::world::World;

const PASSWORD: &str = "correct horse battery staple";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_below_v1_answers_without_a_token() {
    let world = World::new().await;
    let document = pentad_api::openapi::document();
    let mut tried = 0;
    for (path, item) in document.paths.paths {
        if matches!(path.as_str(), "/healthz" | "/readyz" | "/v1/login") {
            continue;
        }
        let uri = path.replace(['{', '}'], "");
        for (method, operation) in [
            ("GET", item.get),
            ("PUT", item.put),
            ("POST", item.post),
            ("DELETE", item.delete),
        ] {
            if operation.is_none() {
                continue;
            }
            let answer = world.call(&format!("{method} {uri}")).send().await;
            assert_eq!(
                answer.problem(),
                (401, "unauthenticated".to_owned()),
                "{method} {uri}"
            );
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"pentad\"");
            tried += 1;
        }
    }
    assert!(tried > 40, "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_header_makes_a_local_user() {
    let world = World::new().await;
    for header in [
        "localuser",
        "x-local-user",
        "x-pentad-local-user",
        "x-pentad-user",
    ] {
        let answer = world
            .call("GET /v1/whoami")
            .header(header, "root")
            .send()
            .await;
        assert_eq!(answer.status, 401);
    }
    let local = world.get("/v1/whoami").await.ok();
    assert_eq!(
        (&local["principal"], &local["tenant"]),
        (&json!("local:tester"), &json!("default"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_logs_in_and_does_what_the_roles_allow() {
    let world = World::new().await;
    let user = json!({"password": PASSWORD, "roles": ["reader"]});
    assert_eq!(world.send("PUT /v1/users/ann", user).await.status, 204);
    let login = json!({"user": "ann", "password": PASSWORD});
    let issued = world
        .call("POST /v1/login")
        .from("10.1.1.1")
        .json(&login)
        .send()
        .await;
    let token = issued.ok()["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("pntd_"));

    let who = world
        .call("GET /v1/whoami")
        .from("10.1.1.1")
        .token(&token)
        .send()
        .await
        .ok();
    assert_eq!(
        (&who["principal"], &who["origin"]),
        (&json!("user:ann"), &json!("10.1.1.1"))
    );
    let denied = world
        .call("PUT /v1/credentials/a")
        .token(&token)
        .json(&json!({"generate": true}))
        .send()
        .await;
    assert_eq!(denied.problem(), (403, "denied".to_owned()));
    for uri in [
        "/v1/users",
        "/v1/tokens",
        "/v1/roles",
        "/v1/agents",
        "/metrics",
        "/v1/audit/records",
    ] {
        let denied = world.call(&format!("GET {uri}")).token(&token).send().await;
        assert_eq!(denied.problem().0, 403, "{uri}");
    }

    let users = world.get("/v1/users").await;
    assert_eq!(users.ok()["items"][0]["name"], "ann");
    assert!(!users.text.contains("argon2"));
    let gone = world.call("DELETE /v1/users/ann").local().send().await;
    assert_eq!(gone.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_lock_a_user_until_an_admin_unlocks() {
    let world = World::new().await;
    let user = json!({"password": PASSWORD, "roles": ["reader"]});
    world.send("PUT /v1/users/ann", user).await;
    let login = |peer: &'static str, password: &'static str| {
        let body = json!({"user": "ann", "password": password});
        world.call("POST /v1/login").from(peer).json(&body).send()
    };
    for _ in 0..5 {
        let wrong = login("10.1.1.2", "wrong wrong wrong").await;
        assert_eq!(wrong.problem(), (401, "unauthenticated".to_owned()));
    }
    let locked = login("10.1.1.3", PASSWORD).await;
    assert_eq!(locked.problem(), (429, "locked-out".to_owned()));
    let after: u64 = locked.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&after), "{after}");
    assert_eq!(locked.json()["retry_after_seconds"], after);
    assert_eq!(
        world
            .call("POST /v1/users/ann/unlock")
            .local()
            .send()
            .await
            .status,
        204
    );
    login("10.1.1.3", PASSWORD).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_ten_wrong_tokens_waits_and_others_do_not() {
    let world = World::new().await;
    let good = world.token("ci", &["reader"]).await;
    let call = |peer: &'static str, token: String| {
        world.call("GET /v1/kinds").from(peer).token(&token).send()
    };
    for n in 0..10 {
        assert_eq!(call("10.0.0.1", format!("pntd_{n}")).await.problem().0, 401);
    }
    let limited = call("10.0.0.1", good.clone()).await;
    assert_eq!(limited.problem(), (429, "too-many-failures".to_owned()));
    assert_eq!(limited.header("retry-after"), "6");
    call("10.0.0.2", good.clone()).await.ok();
    world.clock.advance(Duration::from_secs(6));
    call("10.0.0.1", good).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_can_be_revoked() {
    let world = World::new().await;
    let token = world.token("ci", &["reader"]).await;
    let second = json!({"name": "cd", "roles": ["auditor"], "ttl_seconds": 3600});
    let second = world.send("POST /v1/tokens", second).await.ok();
    assert!(second["expires_at"].is_string());

    let first = world.get("/v1/tokens?limit=1").await;
    assert!(!first.text.contains("pntd_"));
    assert_eq!(first.ok()["items"][0]["name"], "ci");
    let id = first.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let uri = format!(
        "/v1/tokens?after={}",
        first.json()["next"].as_str().unwrap()
    );
    let next = world.get(&uri).await.ok();
    assert_eq!(
        (&next["items"][0]["name"], &next["next"]),
        (&json!("cd"), &json!(null))
    );

    world.call("GET /v1/whoami").token(&token).send().await.ok();
    let revoked = world
        .call(&format!("DELETE /v1/tokens/{id}"))
        .local()
        .send()
        .await
        .ok();
    assert!(revoked["revoked_at"].is_string());
    assert_eq!(
        world
            .call("GET /v1/whoami")
            .token(&token)
            .send()
            .await
            .status,
        401
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_ones_own_decides_and_explains_itself() {
    let world = World::new().await;
    let role = json!({"description": "web", "rules": [
        {"paths": ["web/**"], "verbs": ["read", "list"]},
        {"effect": "deny", "paths": ["web/admin/**"], "verbs": ["read"]},
    ]});
    assert_eq!(
        world.send("PUT /v1/roles/web", role.clone()).await.status,
        204
    );
    assert_eq!(
        world.send("PUT /v1/roles/admin", role).await.problem().0,
        400
    );
    world.put("web/a", "a-value-of-web-0123456789").await;
    world.put("db/a", "a-value-of-db-0123456789").await;
    let token = world.token("w", &["web"]).await;
    world
        .call("GET /v1/values/web/a")
        .token(&token)
        .send()
        .await
        .ok();
    assert_eq!(
        world
            .call("GET /v1/values/db/a")
            .token(&token)
            .send()
            .await
            .problem()
            .0,
        403
    );
    let list = world
        .call("GET /v1/credentials")
        .token(&token)
        .send()
        .await
        .ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);

    let ask = json!({"roles": ["web"], "verb": "read", "path": "web/admin/x"});
    let told = world.send("POST /v1/roles/explain", ask).await.ok();
    assert_eq!(told["allowed"], false);
    assert!(told["because"].as_str().unwrap().contains("web"), "{told}");
    let roles = world.get("/v1/roles").await.ok();
    let names: Vec<&str> = roles["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"admin") && names.contains(&"web"),
        "{names:?}"
    );
    assert_eq!(
        world
            .call("DELETE /v1/roles/web")
            .local()
            .send()
            .await
            .status,
        204
    );
    assert_eq!(
        world
            .call("GET /v1/values/web/a")
            .token(&token)
            .send()
            .await
            .problem()
            .0,
        403
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_nothing_to_each_other() {
    let world = World::new().await;
    world.put("a", "value-of-the-default-tenant").await;
    let made = world.call("PUT /v1/tenants/acme").local().send().await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(
        world.get("/v1/tenants").await.ok()["items"],
        json!(["acme"])
    );
    let there = |line: &str| world.call(line).local().header("x-pentad-tenant", "acme");
    assert_eq!(there("GET /v1/values/a").send().await.problem().0, 404);
    let body = json!({"value": "value-of-acme-0123456789", "accept_weak": true});
    there("PUT /v1/credentials/a").json(&body).send().await.ok();
    let read = there("GET /v1/values/a").send().await.ok();
    assert_eq!(read["value"], "value-of-acme-0123456789");
    let token = world.token("ci", &["reader"]).await;
    let foreign = world
        .call("GET /v1/values/a")
        .token(&token)
        .header("x-pentad-tenant", "acme");
    assert_eq!(foreign.send().await.status, 401);
    let bad = world
        .call("GET /v1/whoami")
        .local()
        .header("x-pentad-tenant", "a/b")
        .send()
        .await;
    assert_eq!(bad.problem().0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_made_listed_obeyed_and_removed() {
    let world = World::new().await;
    let content = json!({"min_length": 40, "require_numbers": true});
    let made = world
        .call("PUT /v1/policies/long")
        .local()
        .json(&content)
        .send()
        .await;
    assert_eq!(made.status, 204, "{}", made.text);
    let listed = world.call("GET /v1/policies").local().send().await.json();
    assert_eq!(listed["items"][0]["name"], "long");
    assert_eq!(listed["items"][0]["min_length"], 40);
    assert_eq!(listed["items"][0]["history"], 24);
    let short = json!({"kind": "secret", "policy": "long", "value": "Kw8-vR3_tY6.qZ1-mN4x"});
    let refused = world
        .call("PUT /v1/credentials/a")
        .local()
        .json(&short)
        .send()
        .await;
    assert_eq!(refused.problem(), (422, "refused".to_owned()));
    let unknown = world
        .call("PUT /v1/policies/x")
        .local()
        .json(&json!({"min_lenght": 3}))
        .send()
        .await;
    assert_eq!(unknown.status, 400);
    let gone = world.call("DELETE /v1/policies/long").local().send().await;
    assert_eq!(gone.status, 204);
}
