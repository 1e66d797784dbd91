//! Brief requests, carried out on the asker's own thread.
//!
//! A change of thread and back costs more than what a brief request computes. So where an agent calls
//! a request [brief](crate::Agent::is_brief), nobody waits for the agent, and the asker runs on a
//! runtime with threads to spare, its task does the worker's work. All else is as ever: the envelope
//! is accepted and in flight, the supervisor watches over it, a panic is contained, and what a dead
//! incarnation did not answer goes to its successor.
//!
//! What always holds: of the threads of an asker's runtime one is never lent. A brief request that
//! blocks for ever, against what the agent said of it, costs the thread that it runs on; it is never
//! the last one, for then all go to the mailbox.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::{
    Agent,
    desk::{Desk, Task},
    health::Crash,
    panics,
    pool::{Pulse, handle},
};

/// How many threads are lent at this moment, to all agents of a supervisor together.
#[derive(Debug, Default)]
pub(crate) struct Lending {
    lent: AtomicUsize,
}

/// The right to lend the thread that one is on, one poll at a time.
pub(crate) struct Lender {
    lending: Arc<Lending>,
    most: usize,
}

impl Lending {
    /// `None` where no thread can be spared.
    pub(crate) fn lender(self: &Arc<Self>) -> Option<Lender> {
        let handle = Handle::try_current().ok()?;
        let most = match handle.runtime_flavor() {
            RuntimeFlavor::MultiThread => handle.metrics().num_workers().saturating_sub(1),
            _ => 0,
        };
        (self.lent.load(Ordering::Relaxed) < most).then(|| Lender {
            lending: Arc::clone(self),
            most,
        })
    }
}

impl Lender {
    /// Runs `work` on this thread; `None` if no thread can be spared just now.
    fn lend<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let lent = &self.lending.lent;
        if lent.fetch_add(1, Ordering::AcqRel) >= self.most {
            lent.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let done = work();
        lent.fetch_sub(1, Ordering::AcqRel);
        Some(done)
    }
}

/// An envelope that its asker carries out.
pub(crate) struct Lent<A: Agent> {
    lender: Lender,
    agent: Arc<A>,
    incarnation: u64,
    task: Task<A::Request>,
    pulse: Arc<Pulse>,
}

impl<A: Agent> Lent<A> {
    pub(crate) fn new(
        lender: Lender,
        agent: Arc<A>,
        incarnation: u64,
        task: Task<A::Request>,
    ) -> Self {
        Self {
            lender,
            agent,
            incarnation,
            task,
            pulse: Arc::default(),
        }
    }

    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Carries it out. When this returns, or is dropped, the envelope is answered or in the agent's
    /// hands.
    pub(crate) async fn carry_out(self, desk: &Desk<A>) {
        let Self {
            lender,
            agent,
            incarnation,
            task,
            pulse,
        } = &self;
        // Whoever stops waiting drops this half-way.
        let unfinished = Unfinished {
            desk,
            incarnation: *incarnation,
            order: task.order,
        };
        let reply = {
            let mut handled = pin!(handle(desk, &**agent, *incarnation, task));
            poll_fn(|cx| {
                let poll = || pulse.during(&*desk.clock, || handled.as_mut().poll(cx));
                let contained = || catch_unwind(AssertUnwindSafe(poll));
                match lender.lend(|| panics::as_agents(A::NAME, contained)) {
                    Some(Ok(Poll::Pending)) => Poll::Pending,
                    Some(Ok(Poll::Ready(reply))) => Poll::Ready(Some(reply)),
                    Some(Err(payload)) => {
                        std::mem::forget(payload); // its drop may panic, too
                        Poll::Ready(None)
                    }
                    // A moment later, and behind the other tasks of this thread.
                    None => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                }
            })
            .await
        };
        std::mem::forget(unfinished);
        match reply {
            Some(reply) => {
                if desk.finish(*incarnation, task.order, reply) {
                    agent.settled(task.envelope.id);
                }
            }
            None => {
                let place = panics::take_place();
                desk.crash(*incarnation, &[task.order], Crash::Panic { place });
            }
        }
    }
}

/// Gives the envelope back to the agent.
struct Unfinished<'a, A: Agent> {
    desk: &'a Desk<A>,
    incarnation: u64,
    order: u64,
}

impl<A: Agent> Drop for Unfinished<'_, A> {
    fn drop(&mut self) {
        self.desk.give_back(self.incarnation, self.order);
    }
}
