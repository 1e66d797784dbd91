//! The stop: nothing new from outside, nothing accepted lost.

use super::*;
use crate::{AgentState, CallError, Stopped};

#[tokio::test]
async fn a_stop_finishes_what_was_accepted_and_refuses_what_is_new() {
    let bench = bench(options());
    let mut calls: Vec<_> = (0..200)
        .map(|n| {
            bench.send(
                Priority::Normal,
                if n == 0 { Ask::Gate } else { Ask::Forward },
            )
        })
        .collect();
    calls.push(bench.send(Priority::Normal, Ask::PanicFirst(1)));
    until("all accepted", || bench.health().accepted == 201).await;
    let stop = bench.supervisor.stop(Duration::from_secs(10));
    let gate = async {
        until("stopping", || bench.health().state == AgentState::Stopping).await;
        let refused = bench.ask(Ask::Echo(1)).await;
        assert_eq!(
            refused,
            Err(CallError::Stopping {
                agent: "subject".into()
            })
        );
        let refused = bench.other.call(&context(), Priority::Critical, 1).await;
        assert_eq!(
            refused,
            Err(CallError::Stopping {
                agent: "other".into()
            })
        );
        bench.world.open(1);
    };
    let (stopped, ()) = futures::join!(stop, gate);
    assert_eq!(stopped, Stopped { unanswered: 0 });
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(
        bench
            .supervisor
            .health()
            .iter()
            .all(|agent| agent.state == AgentState::Stopped)
    );
}

#[tokio::test]
async fn who_is_not_answered_before_the_deadline_is_told_so() {
    let bench = bench(options());
    let call = bench.send(Priority::Normal, Ask::Gate);
    until("in flight", || bench.health().in_flight == 1).await;
    let stopped = bench.supervisor.stop(Duration::from_millis(50)).await;
    assert_eq!(stopped, Stopped { unanswered: 1 });
    assert!(matches!(
        call.await.unwrap(),
        Err(CallError::Unanswered { .. })
    ));
}

#[tokio::test]
async fn a_supervisor_that_is_dropped_leaves_no_caller_waiting() {
    let bench = bench(options());
    let call = bench.send(Priority::Normal, Ask::Gate);
    until("in flight", || bench.health().in_flight == 1).await;
    let subject = bench.subject.clone();
    drop(bench);
    assert!(matches!(
        call.await.unwrap(),
        Err(CallError::Unanswered { .. })
    ));
    let refused = subject
        .call(&context(), Priority::Normal, Ask::Echo(1))
        .await;
    assert_eq!(
        refused,
        Err(CallError::Stopping {
            agent: "subject".into()
        })
    );
}
