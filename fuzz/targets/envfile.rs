//! Any file as a `.env` target: a variable set in it reads back, and every other line is kept.
#![no_main]
use libfuzzer_sys::fuzz_target;
use pentad_connectors::{AccountChange, Admin, Outcome, registry};
use pentad_model::{
    Secret, Target, Tenant,
    rotation::{Login, Strategy},
    target::Tls,
};

fuzz_target!(|input: (&[u8], &str)| {
    let (bytes, value) = input;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("app.env");
    std::fs::write(&file, bytes).expect("a file");
    let target = Target {
        tenant: Tenant::default_tenant(),
        name: "app".parse().expect("a name"),
        system: "envfile".to_owned(),
        address: file.display().to_string(),
        admin_account: None,
        admin_credential: None,
        tls: Tls::default(),
        ca_pem: None,
        concurrency: 1,
        lockout_limit: None,
        options: Default::default(),
        revision: 0,
        created_at: Default::default(),
    };
    let connector = registry::by_name("envfile").expect("registered");
    let secret = Secret::new(value);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let admin = Admin { account: "", password: None };
        let Ok(mut session) = connector.open(&target, admin).await else { return };
        let change = AccountChange {
            account: "KEY",
            new: &secret,
            old: None,
            like: None,
            strategy: Strategy::InPlace,
        };
        if session.apply(&change).await == Outcome::Done {
            let login = connector.login(&target, "KEY", &secret).await.login;
            assert_eq!(login, Login::Works);
        }
    });
});
