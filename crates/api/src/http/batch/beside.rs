//! Operations of a batch on tasks of their own: so they compute side by side, and not one after the
//! other on the task that sends the answer.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::task::JoinHandle;
use tracing::Instrument as _;

/// Work that goes on by itself, in the present span. Whoever stops waiting for it ends it.
pub(super) struct Beside<T>(JoinHandle<T>);

impl<T: Send + 'static> Beside<T> {
    pub(super) fn of(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work.in_current_span()))
    }
}

impl<T> Future for Beside<T> {
    /// `None` if it panicked.
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(Result::ok)
    }
}

impl<T> Drop for Beside<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_is_ended_and_a_panic_is_told() {
        let held = Arc::new(());
        let mine = Arc::clone(&held);
        drop(Beside::of(async move {
            std::future::pending::<()>().await;
            drop(mine);
        }));
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(Beside::of(async { 7 }).await, Some(7));
        let broken = Beside::of(async { panic!("on purpose") });
        assert_eq!(broken.await, None::<()>);
    }
}
