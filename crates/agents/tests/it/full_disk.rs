//! Logins on a full disk: who gets the space that is kept back, and what all others see.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use pentad_agents::{Fault, operations::Login};
use pentad_model::{Secret, SystemClock, Tenant};
use pentad_store::{Change, StoreError, Writer};

use crate::world::World;

const PASSWORD: &str = "correct horse battery";

/// A store whose disk can be full. Counts what goes to its reserve.
struct Disk {
    store: Arc<dyn Writer>,
    gauge: Arc<Gauge>,
}

#[derive(Default)]
struct Gauge {
    full: AtomicBool,
    spent: AtomicUsize,
}

#[async_trait::async_trait]
impl Writer for Disk {
    async fn commit(&self, change: Change) -> Result<(), StoreError> {
        match self.gauge.full.load(SeqCst) {
            true => Err(StoreError::Full),
            false => self.store.commit(change).await,
        }
    }

    async fn commit_essential(&self, change: Change) -> Result<(), StoreError> {
        if self.gauge.full.load(SeqCst) {
            self.gauge.spent.fetch_add(1, SeqCst);
        }
        self.store.commit_essential(change).await
    }

    async fn clear_outbox(&self, through: u64) -> Result<(), StoreError> {
        self.store.clear_outbox(through).await
    }
}

/// A world with an administrator and a reader, on a disk that is full now.
async fn full() -> (World, Arc<Gauge>) {
    let gauge = Arc::<Gauge>::default();
    let seen = Arc::clone(&gauge);
    let world = World::with(Arc::new(SystemClock), |store| {
        Arc::new(Disk { store, gauge: seen })
    })
    .await;
    for (user, role) in [("root", "admin"), ("ann", "reader")] {
        let roles = vec![role.parse().unwrap()];
        let login = login(user, PASSWORD);
        world
            .pentad
            .put_user(&world.admin(), login, roles)
            .await
            .unwrap();
    }
    gauge.full.store(true, SeqCst);
    (world, gauge)
}

fn login(user: &str, password: &str) -> Login {
    Login {
        user: user.parse().unwrap(),
        password: Secret::new(password),
    }
}

/// How a login ends, and how long it takes.
async fn tried(world: &World, user: &str, password: &str) -> (Result<(), Fault>, Duration) {
    let begun = Instant::now();
    let correlation = world.pentad.correlation();
    let issued = world
        .pentad
        .login(
            login(user, password),
            &Tenant::default_tenant(),
            "x",
            correlation,
        )
        .await;
    (issued.map(drop), begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_logs_in_in_the_space_that_is_kept_back() {
    let (world, gauge) = full().await;
    for _ in 0..4 {
        assert!(tried(&world, "root", PASSWORD).await.0.is_ok());
    }
    assert_eq!(gauge.spent.load(SeqCst), 8, "two commits a login");
    // A slip of the finger is forgiven.
    let wrong = tried(&world, "root", "wrong wrong wrong").await.0;
    assert!(matches!(wrong, Err(Fault::Full)), "{wrong:?}");
    assert!(tried(&world, "root", PASSWORD).await.0.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_does_not_use_up_the_space_that_is_kept_back() {
    let (world, gauge) = full().await;
    for user in ["root", "ann", "nobody"] {
        for _ in 0..8 {
            let wrong = tried(&world, user, "wrong wrong wrong").await.0;
            assert!(matches!(wrong, Err(Fault::Full)), "{user}: {wrong:?}");
        }
    }
    assert_eq!(gauge.spent.load(SeqCst), 2);
    // With space again, what was not looked at was not counted either.
    gauge.full.store(false, SeqCst);
    for user in ["root", "ann"] {
        assert!(tried(&world, user, PASSWORD).await.0.is_ok(), "{user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_exists_is_refused_as_late_and_as_one_who_does_not() {
    let (world, _) = full().await;
    assert!(tried(&world, "nobody", PASSWORD).await.0.is_err());
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        for (user, times) in [("ann", &mut known), ("nobody", &mut unknown)] {
            let (refused, time) = tried(&world, user, PASSWORD).await;
            assert!(matches!(refused, Err(Fault::Full)), "{user}: {refused:?}");
            times.push(time);
        }
    }
    // The shortest of some: others use this machine too. A password that is not hashed takes a
    // hundredth of one that is.
    let (known, unknown) = (known.into_iter().min(), unknown.into_iter().min());
    let (known, unknown) = (known.unwrap(), unknown.unwrap());
    assert!(
        known * 4 > unknown && unknown * 4 > known,
        "{known:?} {unknown:?}"
    );
}
