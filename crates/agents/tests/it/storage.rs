//! Somebody writes to the store's file, without a key, while the system runs.

use std::time::Duration;

use pentad_agents::{
    Caller, Fault,
    contract::{monitoring::AuditQuery, rotation::Start},
    operations::{Login, NewToken, Put, TokenIssued, Value},
};
use pentad_model::{
    Credential, Id, Kind, Secret, Stage, Tenant, Verb,
    access::{Effect, Role, Rule},
    rotation::Step,
    secret::Fingerprint,
};
use pentad_policy::CredentialPolicy;
use pentad_store::Op;
use rusqlite::{Connection, params};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use crate::world::{World, bind};

const PASSWORD: &str = "a long enough password";

/// The store's file, open in other hands.
struct Attacker(Connection);

impl Attacker {
    fn of(world: &World) -> Self {
        Self::at(world.dir.path())
    }

    fn at(dir: &std::path::Path) -> Self {
        let file = Connection::open(dir.join("store/pentad.db")).unwrap();
        file.busy_timeout(Duration::from_secs(5)).unwrap();
        Self(file)
    }

    /// A row's object, its seal included.
    fn row(&self, collection: &str, name: &str) -> Json {
        let text: String = self
            .0
            .query_row(
                "SELECT body FROM documents WHERE collection = ?1 AND name = ?2",
                params![collection, name],
                |row| row.get(0),
            )
            .unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Writes a row as the store would, checksum and columns included.
    fn write(&self, object: &Json) {
        let text = object.to_string();
        let column = |name: &str| object[name].as_str().unwrap().to_owned();
        let written = self.0.execute(
            "INSERT OR REPLACE INTO documents
                 (collection, tenant, name, revision, expires_at, body, sum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                column("collection"),
                column("tenant"),
                column("name"),
                object["revision"].as_i64(),
                object["expires_at"].as_i64(),
                text,
                crc32fast::hash(text.as_bytes()),
            ],
        );
        assert_eq!(written.unwrap(), 1);
    }

    /// Changes what a credential says of its binding.
    fn bind(&self, path: &str, change: impl FnOnce(&mut Json)) {
        self.row_of("credentials", path, |row| change(&mut row["binding"]));
    }

    /// Changes the row of a path in another table than the documents'.
    fn row_of(&self, table: &str, path: &str, change: impl FnOnce(&mut Json)) {
        let select = format!("SELECT body FROM {table} WHERE path = ?1");
        let text: String = self.0.query_row(&select, [path], |row| row.get(0)).unwrap();
        let mut object: Json = serde_json::from_str(&text).unwrap();
        change(&mut object);
        let text = object.to_string();
        let sum = crc32fast::hash(text.as_bytes());
        let update = format!("UPDATE {table} SET body = ?1, sum = ?2 WHERE path = ?3");
        assert_eq!(
            self.0.execute(&update, params![text, sum, path]).unwrap(),
            1
        );
    }

    /// Changes something in a row.
    fn alter(&self, collection: &str, name: &str, change: impl FnOnce(&mut Json)) {
        let mut object = self.row(collection, name);
        change(&mut object);
        self.write(&object);
    }
}

/// Damaged, with a message that names the row and says what to do.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Fault>, row: &str) {
    let Err(Fault::Damaged { message }) = &result else {
        panic!("{result:?}");
    };
    let told = message.contains(row) && message.contains("remove it and make it anew");
    assert!(told, "{message}");
}

async fn on_record(world: &World, detail: &str) -> bool {
    let query = AuditQuery {
        action: Some("document.refuse".to_owned()),
        limit: 100,
        ..AuditQuery::default()
    };
    let page = world.pentad.audit_page(&world.admin(), query).await;
    let records = page.unwrap().records;
    records
        .iter()
        .any(|(_, record)| record.detail.contains(detail))
}

async fn role(world: &World, name: &str, verbs: &[Verb]) {
    let role = Role {
        name: name.parse().unwrap(),
        description: String::new(),
        rules: vec![Rule {
            effect: Effect::Allow,
            paths: vec![format!("{name}/**")],
            verbs: verbs.to_vec(),
        }],
    };
    world.pentad.put_role(&world.admin(), role).await.unwrap();
}

async fn token(world: &World, role: &str) -> TokenIssued {
    let new = NewToken {
        name: "ci".parse().unwrap(),
        roles: vec![role.parse().unwrap()],
        ttl: None,
    };
    let issued = world.pentad.create_token(&world.admin(), new).await;
    issued.unwrap()
}

async fn authenticate(world: &World, token: &Secret) -> Result<(), Fault> {
    seen(world, token).await.map(drop)
}

async fn seen(world: &World, token: &Secret) -> Result<Caller, Fault> {
    let (tenant, id) = (Tenant::default_tenant(), world.pentad.correlation());
    let pentad = &world.pentad;
    pentad.authenticate(token, &tenant, "127.0.0.1", id).await
}

fn name_of(token: &Secret) -> String {
    hex::encode(Sha256::digest(token.expose()))
}

async fn log_in(world: &World) -> Result<TokenIssued, Fault> {
    let login = Login {
        user: "ann".parse().unwrap(),
        password: Secret::new(PASSWORD),
    };
    let (tenant, id) = (Tenant::default_tenant(), world.pentad.correlation());
    world.pentad.login(login, &tenant, "127.0.0.1", id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inserted_admin_token_is_refused_and_others_go_on() {
    let world = World::new().await;
    let real = token(&world, "reader").await;
    let attacker = Attacker::of(&world);
    let mine = Secret::new("pntd_the-attackers-own");
    let mut forged = attacker.row("token", &name_of(&real.secret));
    forged["name"] = json!(name_of(&mine));
    forged["body"]["roles"] = json!(["admin"]);
    let row = format!("token `{}`", name_of(&mine));

    // With the seal of another row, and with none.
    attacker.write(&forged);
    refused(authenticate(&world, &mine).await, &row);
    forged.as_object_mut().unwrap().remove("seal");
    attacker.write(&forged);
    refused(authenticate(&world, &mine).await, &row);
    assert!(on_record(&world, &row).await);
    authenticate(&world, &real.secret).await.unwrap();

    // It bears the id of the real one: to revoke that is to be rid of this.
    let (admin, id) = (world.admin(), real.token.id);
    let revoked = world.pentad.revoke_token(&admin, id).await.unwrap();
    assert!(revoked.revoked_at.is_some());
    for gone in [&mine, &real.secret] {
        let result = authenticate(&world, gone).await;
        assert!(
            matches!(result, Err(Fault::Unauthenticated { .. })),
            "{result:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_token_or_role_raises_nobody_under_a_running_system() {
    let world = World::new().await;
    role(&world, "team", &[Verb::Read]).await;
    role(&world, "crew", &[Verb::Read]).await;
    let (team, crew) = (token(&world, "team").await, token(&world, "crew").await);
    let late = token(&world, "team").await;
    authenticate(&world, &team.secret).await.unwrap();

    let attacker = Attacker::of(&world);
    let row = attacker.row("role", "team");
    attacker.alter("role", "team", |row| {
        row["body"]["rules"][0]["paths"] = json!(["**"]);
        row["body"]["rules"][0]["verbs"] = json!(["read", "admin"]);
    });
    // Who was seen before is known still, as they were; who comes anew is refused.
    let known = seen(&world, &team.secret).await.unwrap();
    assert!(!known.rights.access.decide_system(Verb::Admin).allowed);
    refused(authenticate(&world, &late.secret).await, "role `team`");
    assert!(on_record(&world, "role `team`").await);
    authenticate(&world, &crew.secret).await.unwrap();
    attacker.write(&row);
    authenticate(&world, &late.secret).await.unwrap();

    let name = name_of(&team.secret);
    attacker.alter("token", &name, |row| {
        row["body"]["roles"] = json!(["admin"])
    });
    let known = seen(&world, &team.secret).await.unwrap();
    assert!(!known.rights.access.decide_system(Verb::Admin).allowed);
    // Looked at anew, since the role that it rests on was written.
    role(&world, "team", &[Verb::Read, Verb::List]).await;
    refused(authenticate(&world, &team.secret).await, &name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_life_and_an_old_content_are_refused() {
    let world = World::new().await;
    role(&world, "team", &[Verb::Read, Verb::Write]).await;
    let attacker = Attacker::of(&world);
    let generous = attacker.row("role", "team");
    role(&world, "team", &[Verb::Read]).await;
    let team = token(&world, "team").await;
    attacker.alter("role", "team", |row| row["body"] = generous["body"].clone());
    refused(authenticate(&world, &team.secret).await, "role `team`");
    attacker.alter("role", "team", |row| row["seal"] = generous["seal"].clone());
    refused(authenticate(&world, &team.secret).await, "role `team`");

    let name = name_of(&team.secret);
    attacker.alter("token", &name, |row| row["expires_at"] = json!(i64::MAX));
    refused(authenticate(&world, &team.secret).await, &name);
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_rows_and_a_deleted_seal_are_refused() {
    let world = World::new().await;
    role(&world, "team", &[Verb::Read]).await;
    role(&world, "crew", &[Verb::Destroy]).await;
    let (team, crew) = (token(&world, "team").await, token(&world, "crew").await);
    let attacker = Attacker::of(&world);
    let (mut one, mut two) = (attacker.row("role", "team"), attacker.row("role", "crew"));
    (one["name"], two["name"]) = (json!("crew"), json!("team"));
    attacker.write(&one);
    attacker.write(&two);
    refused(authenticate(&world, &team.secret).await, "role `team`");
    refused(authenticate(&world, &crew.secret).await, "role `crew`");

    let free = token(&world, "reader").await;
    attacker.alter("token", &name_of(&free.secret), |row| {
        row.as_object_mut().unwrap().remove("seal");
    });
    refused(authenticate(&world, &free.secret).await, "token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_user_does_not_log_in_and_is_healed_by_being_made_anew() {
    let world = World::new().await;
    let make = || async {
        let login = Login {
            user: "ann".parse().unwrap(),
            password: Secret::new(PASSWORD),
        };
        let roles = vec!["reader".parse().unwrap()];
        world.pentad.put_user(&world.admin(), login, roles).await
    };
    make().await.unwrap();
    let session = log_in(&world).await.unwrap();
    let attacker = Attacker::of(&world);
    attacker.alter("user", "ann", |row| row["body"]["roles"] = json!(["admin"]));
    refused(log_in(&world).await, "user `ann`");
    refused(authenticate(&world, &session.secret).await, "user `ann`");
    // Counting the attempt, or letting the user try again, would have given it a seal.
    let (admin, ann) = (world.admin(), "ann".parse().unwrap());
    refused(world.pentad.unlock_user(&admin, &ann).await, "user `ann`");
    refused(log_in(&world).await, "user `ann`");
    make().await.unwrap();
    log_in(&world).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repointed_target_gets_no_value() {
    let world = World::new().await;
    let file = world.env_file(&[("A", "old-value-000A")]).await;
    let trap = world.dir.path().join("trap.env");
    std::fs::write(&trap, "A=old-value-000A\n").unwrap();
    let attacker = Attacker::of(&world);
    attacker.alter("target", "app", |row| {
        row["body"]["address"] = json!(trap.display().to_string());
    });
    let start = || Start {
        paths: vec!["app/A".parse().unwrap()],
        strategy: None,
    };
    let started = world.pentad.rotate(&world.admin(), start()).await.unwrap();
    assert!(started.rotations.is_empty());
    assert!(
        started.refused[0].reason.contains("target `app`"),
        "{started:?}"
    );
    assert!(on_record(&world, "target `app`").await);
    let name = "app".parse().unwrap();
    refused(
        world.pentad.target(&world.admin(), &name).await,
        "target `app`",
    );
    let checked = world.pentad.check_target(&world.admin(), &name).await;
    refused(checked, "target `app`");
    for untouched in [&file, &trap] {
        let text = std::fs::read_to_string(untouched).unwrap();
        assert_eq!(text, "A=old-value-000A\n");
    }

    // Putting it again heals it, though something is bound to it.
    let again = world
        .pentad
        .targets(&world.admin(), None, 10)
        .await
        .unwrap();
    let mut again = again.items[0].clone();
    again.address = file.display().to_string();
    world
        .pentad
        .put_target(&world.admin(), again)
        .await
        .unwrap();
    let started = world.pentad.rotate(&world.admin(), start()).await.unwrap();
    world.ended(started.rotations[0].1).await;
    assert!(
        !std::fs::read_to_string(&file)
            .unwrap()
            .contains("old-value")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_bound_elsewhere_sends_nothing_and_is_healed_by_binding_it_again() {
    let world = World::new().await;
    let file = world
        .env_file(&[("A", "old-value-000A"), ("B", "old-value-000B")])
        .await;
    let out = world.dir.path().join("out");
    let attacker = Attacker::of(&world);
    let sealed = attacker.row("binding", "app/A");
    let path: pentad_model::Path = "app/A".parse().unwrap();
    let start = || Start {
        paths: vec![path.clone()],
        strategy: None,
    };
    // The credential's own word, the sealed document's, and another credential's document.
    let other = attacker.row("binding", "app/B");
    let forged: [&dyn Fn(); 4] = [
        &|| {
            attacker.bind("app/A", |binding| {
                binding["deliver_to"] = json!([out.display().to_string()])
            })
        },
        &|| attacker.bind("app/A", |binding| binding["account"] = json!("B")),
        &|| {
            attacker.alter("binding", "app/A", |row| {
                row["body"]["account"] = json!("B")
            })
        },
        &|| {
            attacker.alter("binding", "app/A", |row| {
                row["body"] = other["body"].clone();
                row["seal"] = other["seal"].clone();
            });
        },
    ];
    for forge in forged {
        forge();
        let started = world.pentad.rotate(&world.admin(), start()).await.unwrap();
        assert!(started.rotations.is_empty());
        let reason = &started.refused[0].reason;
        assert!(
            reason.contains("binding `app/A`") && reason.contains("bind `app/A`"),
            "{reason}"
        );
        // No value is taken for an account that is not known, nor tried at a target.
        let put = || Put {
            value: Some(Value::Given(Secret::new("old-value-000A"))),
            ..Put::default()
        };
        let admin = world.admin();
        let adopted = world.pentad.adopt(&admin, &path, put()).await;
        assert!(matches!(adopted, Err(Fault::Damaged { .. })), "{adopted:?}");
        let stored = world.pentad.put(&admin, &path, put()).await;
        assert!(matches!(stored, Err(Fault::Damaged { .. })), "{stored:?}");
        let again = Put {
            binding: Some(bind("A")),
            ..Put::default()
        };
        world.pentad.put(&admin, &path, again).await.unwrap();
        assert_ne!(attacker.row("binding", "app/A"), sealed);
        assert!(
            world
                .pentad
                .plan(&admin, start())
                .await
                .unwrap()
                .refused
                .is_empty()
        );
    }
    assert!(!out.exists());
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, "A=old-value-000A\nB=old-value-000B\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_goes_where_its_credential_is_bound_whatever_its_row_says() {
    let world = World::new().await;
    let file = world
        .env_file(&[("A", "old-value-000A"), ("B", "old-value-000B")])
        .await;
    std::fs::rename(&file, file.with_extension("hidden")).unwrap();
    let start = Start {
        paths: vec!["app/A".parse().unwrap()],
        strategy: None,
    };
    let started = world.pentad.rotate(&world.admin(), start).await.unwrap();
    let id = started.rotations[0].1;
    let world = world
        .restarted_after(|dir| {
            Attacker::at(dir).row_of("rotations", "app/A", |rotation| {
                rotation["from_account"] = json!("B");
                rotation["to_account"] = json!("B");
                rotation["overwrite"] = json!(true);
            });
        })
        .await;
    std::fs::rename(file.with_extension("hidden"), &file).unwrap();
    taken_up_again(&world, id).await;
    let rotation = world.pentad.rotation(&world.admin(), id).await.unwrap();
    assert_eq!(rotation.progress.step, Step::Planned);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, "A=old-value-000A\nB=old-value-000B\n");
}

/// Waits until a rotation was taken up twice more, or has ended: whatever it would do is done.
async fn taken_up_again(world: &World, id: Id) {
    let look = || async {
        let rotation = world.pentad.rotation(&world.admin(), id).await.unwrap();
        (rotation.lease.epoch, rotation.progress.step.is_final())
    };
    let (first, _) = look().await;
    for _ in 0..1000 {
        let (epoch, ended) = look().await;
        if ended || epoch >= first + 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody takes it up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_value_is_not_applied_again_whatever_a_rotations_row_says() {
    let world = World::new().await;
    let file = world.env_file(&[("A", "leaked-value-000A")]).await;
    std::fs::write(&file, "A=value-of-today-22B\n").unwrap();
    let path: pentad_model::Path = "app/A".parse().unwrap();
    let today = Put {
        value: Some(Value::Given(Secret::new("value-of-today-22B"))),
        ..Put::default()
    };
    world
        .pentad
        .adopt(&world.admin(), &path, today)
        .await
        .unwrap();
    std::fs::rename(&file, file.with_extension("hidden")).unwrap();
    let start = Start {
        paths: vec![path],
        strategy: None,
    };
    let started = world.pentad.rotate(&world.admin(), start).await.unwrap();
    let id = started.rotations[0].1;
    let world = world
        .restarted_after(|dir| {
            Attacker::at(dir).row_of("rotations", "app/A", |rotation| {
                rotation["to"] = json!(1);
                rotation["progress"] = json!({"step": "probing", "attempt": 1, "promoted": false});
            });
        })
        .await;
    std::fs::rename(file.with_extension("hidden"), &file).unwrap();
    taken_up_again(&world, id).await;
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, "A=value-of-today-22B\n");
    assert_eq!(world.get("app/A").await, "value-of-today-22B");
}

/// A put would keep it as what the target may still hold, under a label of ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_retired_value_that_somebody_made_current_is_not_kept_to_be_tried() {
    let world = World::new().await;
    let file = world.env_file(&[("A", "leaked-value-000A")]).await;
    std::fs::write(&file, "A=value-of-today-22B\n").unwrap();
    let path: pentad_model::Path = "app/A".parse().unwrap();
    let given = |value: &str| Put {
        value: Some(Value::Given(Secret::new(value))),
        ..Put::default()
    };
    let adopt = async |world: &World| {
        let today = given("value-of-today-22B");
        world.pentad.adopt(&world.admin(), &path, today).await
    };
    let before = adopt(&world).await.unwrap().credential;
    let credential = Credential {
        current: Some(1),
        revision: before.revision + 1,
        ..before.clone()
    };
    let moved = |number, from, to| Op::SetStage {
        tenant: before.tenant.clone(),
        path: path.clone(),
        number,
        from,
        to,
        mac: Fingerprint([7; 32]),
        at: before.updated_at,
    };
    let forged = vec![
        moved(2, Stage::Current, Stage::Retired),
        moved(1, Stage::Retired, Stage::Current),
        Op::UpdateCredential {
            credential,
            expect: before.revision,
        },
    ];
    let world = world.tampered_with(forged).await;
    let put = async || {
        let tomorrow = given("vQ8#kd02!mZx-77_pLq");
        world.pentad.put(&world.admin(), &path, tomorrow).await
    };
    assert!(matches!(put().await, Err(Fault::Damaged { .. })));
    let versions = world.pentad.history(&world.admin(), &path, None, 10).await;
    let stages: Vec<Stage> = versions.unwrap().items.iter().map(|it| it.stage).collect();
    assert_eq!(stages, [Stage::Retired, Stage::Current]);
    // What was seen to work leaves nothing to be tried.
    adopt(&world).await.unwrap();
    assert_eq!(world.get("app/A").await, "value-of-today-22B");
    put().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weakened_policy_judges_nothing() {
    let world = World::new().await;
    let strict = CredentialPolicy {
        name: "strict".parse().unwrap(),
        min_length: 30,
        ..CredentialPolicy::builtin(Kind::Password)
    };
    world
        .pentad
        .put_policy(&world.admin(), strict)
        .await
        .unwrap();
    let attacker = Attacker::of(&world);
    attacker.alter("policy", "strict", |row| {
        row["body"]["min_length"] = json!(1);
    });
    let put = Put {
        kind: Some(Kind::Password),
        value: Some(Value::Given(Secret::new("Short-but-odd-77q"))),
        policy: Some("strict".parse().unwrap()),
        ..Put::default()
    };
    let path = "a".parse().unwrap();
    let stored = world.pentad.put(&world.admin(), &path, put).await;
    refused(stored.map(drop), "policy `strict`");
    assert!(on_record(&world, "policy `strict`").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_forged_is_listed_and_can_be_removed() {
    let world = World::new().await;
    role(&world, "team", &[Verb::Read]).await;
    role(&world, "crew", &[Verb::Read]).await;
    let attacker = Attacker::of(&world);
    attacker.alter("role", "team", |row| row["body"]["rules"] = json!([]));
    let roles = world
        .pentad
        .roles(&world.admin(), Some(""), 10)
        .await
        .unwrap();
    assert_eq!(roles.items.len(), 2);
    assert!(on_record(&world, "role `team`").await);
    let name = "team".parse().unwrap();
    world
        .pentad
        .remove_role(&world.admin(), &name)
        .await
        .unwrap();
    role(&world, "team", &[Verb::Read]).await;
    let team = token(&world, "team").await;
    authenticate(&world, &team.secret).await.unwrap();
}

/// A row's object as another row's: the columns say one place, the object and its good seal another.
fn copied(attacker: &Attacker, collection: &str, from: &str, to: &str) {
    let copy = "INSERT OR REPLACE INTO documents
                    (collection, tenant, name, revision, expires_at, body, sum)
                SELECT collection, tenant, ?3, revision, expires_at, body, sum
                FROM documents WHERE collection = ?1 AND name = ?2";
    let written = attacker.0.execute(copy, params![collection, from, to]);
    assert_eq!(written.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_seal_is_good_at_its_own_place_only() {
    let world = World::new().await;
    let attacker = Attacker::of(&world);
    // An admin's token, where the hash of one that the attacker made up is looked for.
    let admins = token(&world, "admin").await;
    let own = Secret::new("pntd_the-attackers-own");
    copied(&attacker, "token", &name_of(&admins.secret), &name_of(&own));
    refused(authenticate(&world, &own).await, &name_of(&own));
    authenticate(&world, &admins.secret).await.unwrap();
    // A strong role in a weak one's place.
    role(&world, "weak", &[Verb::List]).await;
    role(&world, "strong", &[Verb::Read]).await;
    let weak = token(&world, "weak").await;
    copied(&attacker, "role", "strong", "weak");
    refused(authenticate(&world, &weak.secret).await, "weak");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_is_not_brought_back_by_a_column() {
    let world = World::new().await;
    let attacker = Attacker::of(&world);
    let issued = token(&world, "admin").await;
    for column in ["expires_at = 9999999999999", "revision = revision + 1"] {
        let change = format!("UPDATE documents SET {column} WHERE collection = 'token'");
        attacker.0.execute(&change, []).unwrap();
        refused(
            authenticate(&world, &issued.secret).await,
            &name_of(&issued.secret),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_tenants_neither_stop_nor_trap_a_walk_over_all() {
    let world = World::new().await;
    let attacker = Attacker::of(&world);
    for number in 0..150 {
        attacker.write(&json!({
            "collection": "tenant", "tenant": "default", "name": format!("forged-{number:03}"),
            "revision": 1, "expires_at": null, "body": if number % 2 == 0 { json!({}) } else { json!({"name": "a"}) },
        }));
    }
    let real = "zeta".parse().unwrap();
    world
        .pentad
        .create_tenant(&world.admin(), &real)
        .await
        .unwrap();
    let listed = world
        .pentad
        .tenants(&world.admin(), None, 100)
        .await
        .unwrap();
    assert_eq!((listed.items, listed.more), (vec![real], false));
    world.sweep().await.unwrap();
}
