//! The committed description is what the handlers say.

use std::path::Path;

use crate::world::World;

#[test]
fn openapi_json_is_what_the_handlers_say() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let said = pentad_api::openapi::text();
    if std::env::var_os("PENTAD_GENERATE").is_some() {
        std::fs::write(&file, &said).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == said,
        "openapi.json is out of date; write it anew with `./dev generate`"
    );
}

#[test]
fn every_operation_is_described() {
    let document = serde_json::to_value(pentad_api::openapi::document()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        assert!(!path.contains('*'), "{path}");
        for (method, operation) in item.as_object().unwrap() {
            assert!(
                operation["summary"].is_string(),
                "{method} {path} has no summary"
            );
            assert!(
                operation["tags"][0].is_string(),
                "{method} {path} has no tag"
            );
            assert!(operation["responses"]["400"].is_object(), "{method} {path}");
            let id = operation["operationId"].as_str().unwrap();
            assert!(
                ids.insert(id.to_owned()),
                "operation id `{id}` twice ({method} {path})"
            );
            let named: Vec<&str> = operation["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|p| p["in"] == "path")
                .map(|p| p["name"].as_str().unwrap())
                .collect();
            for name in named {
                assert!(
                    path.contains(&format!("{{{name}}}")),
                    "{method} {path}: {name}"
                );
            }
        }
    }
    assert!(document["components"]["securitySchemes"]["bearer"].is_object());
    // Every reference leads somewhere.
    let text = document.to_string();
    for (at, _) in text.match_indices("\"$ref\":\"#") {
        let rest = &text[at + 9..];
        let pointer = &rest[..rest.find('"').unwrap()];
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_served_without_a_token() {
    let world = World::new().await;
    let served = world.call("GET /openapi.json").send().await;
    assert_eq!(served.text, pentad_api::openapi::text());
}
