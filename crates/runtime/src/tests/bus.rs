//! Permission, push-back, order.

use std::{sync::Arc, time::Duration};

use tracing::{Instrument as _, Subscriber, span::Attributes};
use tracing_subscriber::{
    Layer, layer::Context as LayerContext, layer::SubscriberExt as _, registry::LookupSpan,
};

use super::*;
use crate::CallError;

#[tokio::test]
async fn a_call_is_answered_and_health_counts_it() {
    let bench = bench(options());
    assert_eq!(bench.ask(Ask::Echo(42)).await, Ok((42, 1)));
    let health = bench.health();
    assert_eq!(
        (health.accepted, health.handled, health.in_flight),
        (1, 1, 0)
    );
    let json = serde_json::to_string(&health).unwrap();
    assert!(json.contains(r#""state":"running""#), "{json}");
}

/// The names from each new span up to its root.
struct Ancestry(Arc<Mutex<Vec<Vec<&'static str>>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Ancestry {
    fn on_new_span(
        &self,
        _: &Attributes<'_>,
        id: &tracing::span::Id,
        context: LayerContext<'_, S>,
    ) {
        let scope = context.span_scope(id).into_iter().flatten();
        self.0.lock().push(scope.map(|span| span.name()).collect());
    }
}

#[tokio::test]
async fn a_handling_is_a_child_of_the_span_that_asked_across_agents_and_threads() {
    let seen = Arc::default();
    let subscriber = tracing_subscriber::registry().with(Ancestry(Arc::clone(&seen)));
    // The agents' threads too; no other test sets one.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let bench = bench(options());
    let asking = tracing::info_span!("asking");
    bench.ask(Ask::Forward).instrument(asking).await.unwrap();
    let seen = seen.lock();
    assert!(seen.contains(&vec!["handle", "asking"]), "{seen:?}");
    assert!(
        seen.contains(&vec!["handle", "handle", "asking"]),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_sender_asks_only_what_it_may() {
    let bench = bench(options());
    let refused = bench
        .other
        .from("stranger")
        .call(&context(), Priority::High, 1)
        .await;
    let expected = CallError::NotPermitted {
        from: "stranger".into(),
        agent: "other".into(),
    };
    assert_eq!(refused, Err(expected));
    assert_eq!(bench.other.call(&context(), Priority::High, 1).await, Ok(1));
    let health = bench.supervisor.health().remove(0);
    assert_eq!((health.refused_permission, health.accepted), (1, 1));
}

#[tokio::test]
async fn a_full_lane_pushes_back_and_what_it_accepted_is_done() {
    let bench = bench(Options {
        capacity: [2; 4],
        workers: 2..=2,
        ..options()
    });
    assert!(bench.supervisor.ready(Duration::from_secs(10)).await);
    let mut accepted = vec![bench.send(Priority::Normal, Ask::Gate)];
    until("one in flight", || bench.health().in_flight == 1).await;
    accepted.push(bench.send(Priority::Normal, Ask::Gate));
    accepted.push(bench.send(Priority::Normal, Ask::Gate));
    until("two queued", || bench.health().queued == [0, 0, 2, 0]).await;

    match bench.ask(Ask::Gate).await {
        Err(CallError::QueueFull { agent, retry_after }) => {
            assert_eq!(agent, "subject");
            assert!(retry_after >= Duration::from_millis(5));
        }
        other => panic!("{other:?}"),
    }
    // Another lane has room, and a worker for it.
    assert_eq!(
        bench
            .subject
            .call(&context(), Priority::Critical, Ask::Echo(1))
            .await,
        Ok((1, 1))
    );
    bench.world.open(3);
    for call in accepted {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(bench.health().refused_full, 1);
}

#[tokio::test]
async fn the_lanes_are_served_in_their_order() {
    let bench = bench(Options {
        workers: 2..=2,
        aging: Duration::from_secs(60),
        ..options()
    });
    assert!(bench.supervisor.ready(Duration::from_secs(10)).await);
    let held = bench.send(Priority::Normal, Ask::Gate);
    until("the worker is held", || bench.health().in_flight == 1).await;
    let mut calls = Vec::new();
    for (n, priority) in [
        Priority::Background,
        Priority::Normal,
        Priority::High,
        Priority::High,
    ]
    .iter()
    .enumerate()
    {
        calls.push(bench.send(*priority, Ask::Echo(n as u64)));
        until("queued", || {
            bench.health().queued.iter().sum::<usize>() == n + 1
        })
        .await;
    }
    bench.world.open(1);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    held.await.unwrap().unwrap();
    assert_eq!(*bench.world.order.lock(), [2, 3, 1, 0]);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_undo_what_was_accepted() {
    let bench = bench(options());
    let call = bench.send(Priority::Normal, Ask::Gate);
    until("in flight", || bench.health().in_flight == 1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    bench.world.open(1);
    until("done all the same", || {
        bench.world.effects.lock().len() == 1
    })
    .await;
}

#[tokio::test]
async fn an_address_works_over_any_transport() {
    struct Doubling;
    #[async_trait::async_trait]
    impl crate::Transport<Other> for Doubling {
        async fn send(&self, envelope: Envelope<u64>) -> Result<u64, CallError> {
            // As a transport between processes would: nothing but bytes goes over.
            let bytes = serde_json::to_vec(&envelope).unwrap();
            let envelope: Envelope<u64> = serde_json::from_slice(&bytes).unwrap();
            assert_eq!((envelope.from.as_str(), envelope.attempt), ("rotation", 1));
            Ok(envelope.body * 2)
        }
    }
    let address = Address::<Other>::over(
        Arc::new(Doubling),
        Arc::new(pentad_model::SystemClock),
        Arc::new(pentad_model::id::OsEntropy),
    );
    let reply = address
        .from("rotation")
        .call(&context(), Priority::Normal, 21)
        .await;
    assert_eq!(reply, Ok(42));
}
