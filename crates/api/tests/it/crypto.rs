//! Work with stored keys, checked by an implementation that is not ours: the `openssl` command.

use std::{path::PathBuf, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::world::World;

const MESSAGE: &str = "pay 100 to canary-in-the-message";

/// `openssl`, in the world's directory.
fn openssl(world: &World, arguments: &[&str]) -> Option<Vec<u8>> {
    let out = Command::new("openssl")
        .args(arguments)
        .current_dir(world.dir.path())
        .output()
        .expect("the `openssl` command is needed: apt-get install openssl");
    out.status.success().then_some(out.stdout)
}

fn file(world: &World, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = world.dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// The bytes in a text of ours.
fn raw(made: &Value, version: u32) -> Vec<u8> {
    let text = made.as_str().unwrap();
    let base64 = text.strip_prefix(&format!("pentad:v{version}:"));
    STANDARD.decode(base64.expect(text)).unwrap()
}

async fn key(world: &World, path: &str, generator: Value) {
    let body = json!({"kind": "signing_key", "generate": true, "generator": generator});
    let line = format!("PUT /v1/credentials/{path}");
    world.send(&line, body).await.ok();
}

async fn work(world: &World, operation: &str, path: &str, items: Value) -> Value {
    let line = format!("POST /v1/crypto/{operation}/{path}");
    world.send(&line, json!({"items": items})).await.ok()
}

async fn publish(world: &World, path: &str) -> Value {
    let found = world
        .get(&format!("/v1/crypto/public-key/{path}"))
        .await
        .ok();
    file(world, "public.pem", found["public_key"].as_str().unwrap());
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_accepts_a_signature_of_each_kind_of_key_and_no_other() {
    let world = World::new().await;
    let dgst = |hash: &'static str| vec!["dgst", hash, "-verify", "public.pem"];
    let pss = [
        "-sigopt",
        "rsa_padding_mode:pss",
        "-sigopt",
        "rsa_pss_saltlen:32",
    ];
    for (generator, algorithm, verify) in [
        (
            json!({"type": "ed25519"}),
            "ed25519",
            vec![
                "pkeyutl",
                "-verify",
                "-pubin",
                "-inkey",
                "public.pem",
                "-rawin",
            ],
        ),
        (
            json!({"type": "ecdsa", "curve": "p256"}),
            "ecdsa_p256_sha256",
            dgst("-sha256"),
        ),
        (
            json!({"type": "ecdsa", "curve": "p384"}),
            "ecdsa_p384_sha384",
            dgst("-sha384"),
        ),
        (
            json!({"type": "rsa", "bits": 2048}),
            "rsa_pss_sha256",
            [dgst("-sha256"), pss.to_vec()].concat(),
        ),
    ] {
        let path = format!("sign/{algorithm}");
        key(&world, &path, generator).await;
        let answer = work(&world, "sign", &path, json!([{"value": MESSAGE}])).await;
        let signature = &answer["results"][0]["signature"];
        assert_eq!(publish(&world, &path).await["algorithm"], algorithm);
        file(&world, "signature", raw(signature, 1));
        file(&world, "message", MESSAGE);
        file(&world, "other", "another message");
        let accepts = |message: &'static str| {
            let end: &[&str] = match verify[0] {
                "dgst" => &["-signature", "signature", message],
                _ => &["-sigfile", "signature", "-in", message],
            };
            openssl(&world, &[&verify, end].concat()).is_some()
        };
        assert!(accepts("message"), "{algorithm}");
        assert!(!accepts("other"), "{algorithm}");
        let items = json!([
            {"value": MESSAGE, "signature": signature},
            {"value_base64": STANDARD.encode(MESSAGE), "signature": signature},
            {"value": "another message", "signature": signature},
        ]);
        let answer = work(&world, "verify", &path, items).await;
        let valid: Vec<_> = [0, 1, 2]
            .map(|n| answer["results"][n]["valid"].clone())
            .into();
        assert_eq!(valid, [true, true, false], "{algorithm}");
        assert_eq!(answer["failed"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_opens_what_is_encrypted_and_encrypts_what_is_opened() {
    let world = World::new().await;
    key(&world, "seal/rsa", json!({"type": "rsa", "bits": 2048})).await;
    publish(&world, "seal/rsa").await;
    let oaep = [
        "-pkeyopt",
        "rsa_padding_mode:oaep",
        "-pkeyopt",
        "rsa_oaep_md:sha256",
        "-pkeyopt",
        "rsa_mgf1_md:sha256",
    ];
    file(&world, "message", MESSAGE);
    let head = [
        "pkeyutl",
        "-encrypt",
        "-pubin",
        "-inkey",
        "public.pem",
        "-in",
        "message",
    ];
    let theirs = openssl(&world, &[&head[..], &oaep].concat()).unwrap();
    let theirs = format!("pentad:v1:{}", STANDARD.encode(theirs));
    let answer = work(
        &world,
        "decrypt",
        "seal/rsa",
        json!([{"ciphertext": theirs}]),
    )
    .await;
    assert_eq!(answer["results"][0]["value"], MESSAGE);

    let items = json!([{"value": MESSAGE}, {"value_base64": "/wA="}]);
    let answer = work(&world, "encrypt", "seal/rsa", items).await;
    let ours = &answer["results"][0]["ciphertext"];
    file(&world, "ciphertext", raw(ours, 1));
    let private = world.get("/v1/values/seal/rsa").await.ok();
    file(&world, "private.pem", private["value"].as_str().unwrap());
    let head = [
        "pkeyutl",
        "-decrypt",
        "-inkey",
        "private.pem",
        "-in",
        "ciphertext",
    ];
    let opened = openssl(&world, &[&head[..], &oaep].concat()).unwrap();
    assert_eq!(opened, MESSAGE.as_bytes());
    let binary = json!([{"ciphertext": answer["results"][1]["ciphertext"]}]);
    let answer = work(&world, "decrypt", "seal/rsa", binary).await;
    assert_eq!(answer["results"][0]["value_base64"], "/wA=");
}

#[tokio::test(flavor = "multi_thread")]
async fn older_versions_verify_and_decrypt_until_they_are_destroyed() {
    let world = World::new().await;
    let rsa = json!({"type": "rsa", "bits": 2048});
    key(&world, "k", rsa.clone()).await;
    let signed = work(&world, "sign", "k", json!([{"value": MESSAGE}])).await;
    let sealed = work(&world, "encrypt", "k", json!([{"value": MESSAGE}])).await;
    let signature = signed["results"][0]["signature"].clone();
    let ciphertext = sealed["results"][0]["ciphertext"].clone();
    key(&world, "k", rsa).await;
    let again = work(&world, "sign", "k", json!([{"value": MESSAGE}])).await;
    assert_eq!(again["results"][0]["version"], 2);
    let newer = again["results"][0]["signature"].clone();

    let items = json!([
        {"value": MESSAGE, "signature": signature},
        {"value": MESSAGE, "signature": newer},
        {"value": MESSAGE, "signature": newer.as_str().unwrap().replace(":v2:", ":v1:")},
        {"value": MESSAGE, "signature": newer.as_str().unwrap().replace(":v2:", ":v7:")},
    ]);
    let verified = work(&world, "verify", "k", items.clone()).await;
    assert_eq!(verified["failed"], 1, "{verified}");
    let valid = |n: usize| verified["results"][n]["valid"].clone();
    assert_eq!([valid(0), valid(1), valid(2)], [true, true, false]);
    let missing = &verified["results"][3]["problem"];
    assert_eq!(missing["status"], 404);
    let opened = work(&world, "decrypt", "k", json!([{"ciphertext": ciphertext}])).await;
    assert_eq!(opened["results"][0]["value"], MESSAGE);

    let gone = world.call("DELETE /v1/versions/1/k").local().send().await;
    assert_eq!(gone.status, 204);
    let verified = work(&world, "verify", "k", items).await;
    assert_eq!(verified["results"][1]["valid"], true);
    let opened = work(&world, "decrypt", "k", json!([{"ciphertext": ciphertext}])).await;
    for result in [&verified["results"][0], &opened["results"][0]] {
        let detail = result["problem"]["detail"].as_str().unwrap();
        assert!(detail.contains("version 1 (destroyed)"), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_is_done_apart_and_in_order() {
    let world = World::new().await;
    key(&world, "k", json!({"type": "rsa", "bits": 2048})).await;
    let items: Vec<_> = (0..100)
        .map(|n| match n {
            41 => json!({"value": "x".repeat(191)}),
            42 => json!({"signature": "pentad:v1:YQ=="}),
            _ => json!({"value": format!("item {n}")}),
        })
        .collect();
    let sealed = work(&world, "encrypt", "k", json!(items)).await;
    assert_eq!(sealed["failed"], 2);
    let detail = sealed["results"][41]["problem"]["detail"].as_str().unwrap();
    assert!(detail.contains("at most 190 bytes"), "{detail}");
    assert_eq!(sealed["results"][42]["problem"]["status"], 400);
    let items: Vec<_> = (0..100)
        .filter(|n| !matches!(n, 41 | 42))
        .map(|n| json!({"ciphertext": sealed["results"][n]["ciphertext"]}))
        .collect();
    let opened = work(&world, "decrypt", "k", json!(items)).await;
    assert_eq!(
        (&opened["failed"], &opened["results"][97]["value"]),
        (&json!(0), &json!("item 99"))
    );
    assert_eq!(opened["results"][41]["value"], "item 43");
    for count in [0, 1001] {
        let items: Vec<_> = (0..count).map(|_| json!({"value": ""})).collect();
        let body = json!({"items": items});
        let refused = world.send("POST /v1/crypto/sign/k", body).await;
        assert_eq!(refused.problem().0, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_use_a_key_can_t_read_it_and_who_may_read_it_can_t_use_it() {
    let world = World::new().await;
    key(&world, "prod/key", json!({"type": "ed25519"})).await;
    let (signer, reader) = (
        world.token("app", &["signer"]).await,
        world.token("human", &["reader"]).await,
    );
    let sign = |token: String| {
        let call = world.call("POST /v1/crypto/sign/prod/key").token(&token);
        call.json(&json!({"items": [{"value": MESSAGE}]})).send()
    };
    let signed = sign(signer.clone()).await;
    assert_eq!(signed.status, 200, "{}", signed.text);
    assert!(!signed.text.contains("PRIVATE"));
    let value = world
        .call("GET /v1/values/prod/key")
        .token(&signer)
        .send()
        .await;
    assert_eq!(value.problem(), (403, "denied".to_owned()));
    assert_eq!(
        sign(reader.clone()).await.problem(),
        (403, "denied".to_owned())
    );
    // The public half is for whoever may list the key.
    let public = world.call("GET /v1/crypto/public-key/prod/key");
    assert_eq!(public.token(&reader).send().await.status, 200);
    let item = json!({"value": MESSAGE, "signature": signed.ok()["results"][0]["signature"]});
    let verified = world.call("POST /v1/crypto/verify/prod/key").token(&reader);
    let verified = verified.json(&json!({"items": [item]})).send().await.ok();
    assert_eq!(verified["results"][0]["valid"], true);

    // Each use is on record, with a keyed digest and no message.
    let id = signed.header("x-correlation-id").to_owned();
    let records = world
        .get(&format!("/v1/audit/records?correlation={id}"))
        .await;
    assert!(
        !records.text.contains("canary-in-the-message"),
        "{}",
        records.text
    );
    let record = &records.ok()["items"][0];
    assert_eq!(
        (&record["action"], &record["outcome"]),
        (&json!("key.sign"), &json!("done"))
    );
    assert_eq!(record["version"], 1);
    assert!(record["value_mac"].is_string(), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_done_says_why_and_nothing_of_the_value() {
    let world = World::new().await;
    world.put("prod/password", "hunter2-hunter2-hunter2").await;
    key(&world, "prod/ed", json!({"type": "ed25519"})).await;
    for (operation, path, item, says) in [
        (
            "sign",
            "prod/password",
            json!({"value": MESSAGE}),
            "not a PKCS#8 PEM private key",
        ),
        (
            "encrypt",
            "prod/ed",
            json!({"value": MESSAGE}),
            "no RSA key",
        ),
        (
            "decrypt",
            "prod/ed",
            json!({"ciphertext": "pentad:v1:YQ=="}),
            "no RSA key",
        ),
        (
            "decrypt",
            "prod/ed",
            json!({"ciphertext": "vault:v1:YQ=="}),
            "pentad:v1:",
        ),
        (
            "decrypt",
            "prod/ed",
            json!({"value": MESSAGE}),
            "`ciphertext`",
        ),
        (
            "verify",
            "prod/ed",
            json!({"value": MESSAGE}),
            "`signature`",
        ),
        (
            "sign",
            "prod/ed",
            json!({"value": "a", "value_base64": "YQ=="}),
            "not both",
        ),
    ] {
        let answer = work(&world, operation, path, json!([item])).await;
        let text = answer.to_string();
        assert_eq!(answer["failed"], 1, "{text}");
        let detail = answer["results"][0]["problem"]["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{detail}");
        assert!(
            !text.contains("hunter2") && !text.contains("canary"),
            "{text}"
        );
    }
    let body = json!({"items": [{"value": MESSAGE}]});
    let missing = world.send("POST /v1/crypto/sign/prod/edd", body).await;
    assert_eq!(missing.problem(), (404, "missing".to_owned()));
    assert_eq!(missing.json()["nearest"], "prod/ed");
}
