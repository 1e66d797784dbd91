//! What only a file has: a mode, links, other lines, and no server.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use pentad_connectors::{AccountState, Admin, Outcome, registry};
use pentad_model::rotation::{Login, Strategy};

use crate::bench::{Bench as _, EnvFile, change, password};

#[tokio::test]
async fn mode_link_and_other_lines_are_kept() {
    let bench = EnvFile::default();
    let real = bench.path().with_file_name("real.env");
    let before = "# note\r\nOTHER='x y'\n\nexport DB = 'old' # why\nLAST=\"z";
    let text = format!("{before}\nmore\"\n");
    std::fs::write(&real, &text).unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&real, bench.path()).unwrap();

    let new = password();
    let mut session = bench.open().await;
    let outcome = session
        .apply(&change(Strategy::InPlace, "DB", &new, None))
        .await;
    assert_eq!(outcome, Outcome::Done);
    assert!(bench.path().is_symlink());
    let mode = std::fs::metadata(&real).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    let after = std::fs::read_to_string(&real).unwrap();
    let (head, tail) = text.split_once("'old'").unwrap();
    assert!(after.starts_with(head) && after.ends_with(tail));
    assert_eq!(bench.login("DB", &new).await, Login::Works);
    let left: Vec<_> = std::fs::read_dir(real.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 2, "nothing is left beside it");
}

#[tokio::test]
async fn a_new_file_is_its_owners_only() {
    let bench = EnvFile::default();
    let new = password();
    assert_eq!(bench.login("DB", &new).await, Login::CantTell);
    let mut session = bench.open().await;
    assert_eq!(session.account("DB").await, AccountState::Missing);
    let outcome = session
        .apply(&change(Strategy::InPlace, "DB", &new, None))
        .await;
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(bench.login("DB", &new).await, Login::Works);
    let mode = std::fs::metadata(bench.path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[tokio::test]
async fn writers_take_turns_and_none_is_lost() {
    let bench = EnvFile::default();
    let names: Vec<String> = (0..12).map(|i| format!("V{i}")).collect();
    let value = password();
    let writes = names.iter().map(|name| {
        let (bench, value) = (&bench, &value);
        async move {
            let mut session = bench.open().await;
            session
                .apply(&change(Strategy::InPlace, name, value, None))
                .await
        }
    });
    for outcome in futures::future::join_all(writes).await {
        assert_eq!(outcome, Outcome::Done);
    }
    for name in &names {
        assert_eq!(bench.login(name, &value).await, Login::Works);
    }
}

#[tokio::test]
async fn paths_that_are_not_plain_are_refused() {
    let envfile = registry::by_name("envfile").unwrap();
    let bench = EnvFile::default();
    let nobody = Admin {
        account: "",
        password: None,
    };
    for path in ["app.env", "/srv/../etc/app.env", "/"] {
        let mut target = bench.target();
        target.address = path.into();
        assert!(envfile.validate(&target).is_err(), "{path}");
        assert!(envfile.open(&target, nobody).await.is_err(), "{path}");
    }
}

#[tokio::test]
async fn a_directory_that_can_not_be_written_is_told_before_any_account_is_bound() {
    let good = EnvFile::default();
    assert_eq!(good.open().await.check_itself().await, []);
    // Nobody may make files there, whoever runs this.
    let mut target = good.target();
    target.address = "/proc/pentad.env".to_owned();
    let connector = registry::by_name("envfile").unwrap();
    let admin = Admin {
        account: "",
        password: None,
    };
    let mut session = connector.open(&target, admin).await.unwrap();
    let found = session.check_itself().await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].problem.contains("/proc can't be written"));
    assert!(found[0].remedy.contains("directory"));
}
