//! How long a connection may keep the server waiting, so that slow clients cost a connection and
//! nothing more.
//!
//! | the server waits for | at most | from |
//! |---|---|---|
//! | the first request | [`Limits::first`] | the connection, a TLS handshake included |
//! | the rest of a header | [`Limits::header`] | the header's first byte |
//! | the next request | [`Limits::idle`], up to twice while an answer is being written | the answer |
//! | the client to take an answer | [`Limits::write`] for each [`STRIDE`] bytes | the moment at which the socket is full |
//!
//! Then the connection is closed. How long a request itself may take, its body included, is the
//! API's to say; nothing here ends one under way.
//!
//! The HTTP library can time the header only, and restarts a timer for each request. Here a request
//! that comes in one piece costs no timer: one timer a connection is set when something is really
//! waited for, and looked at again when it fires.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use tower::Service;

/// A client that takes this much has shown that it reads.
const STRIDE: usize = 64 << 10;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) first: Duration,
    pub(super) header: Duration,
    pub(super) idle: Duration,
    pub(super) write: Duration,
}

/// What the stream has to know of the requests on it. Both are polled by one task.
#[derive(Default)]
pub(super) struct Requests {
    begun: AtomicU64,
    under_way: AtomicBool,
}

/// A connection's stream, with its patience.
pub(super) struct Patient<S> {
    stream: S,
    requests: Arc<Requests>,
    limits: Limits,
    /// What is waited for, as of request number `seen`.
    wait: Wait,
    seen: u64,
    /// Whether anything was written since the last look.
    wrote: bool,
    /// Since when the client takes nothing, and what it took nevertheless.
    full: Option<(Instant, usize)>,
    timer: Pin<Box<Sleep>>,
}

#[derive(Clone, Copy)]
enum Wait {
    First(Instant),
    Header(Instant),
    Idle(Instant),
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, limits: Limits) -> (Self, Arc<Requests>) {
        let (now, requests) = (Instant::now(), Arc::<Requests>::default());
        let patient = Self {
            stream,
            requests: Arc::clone(&requests),
            limits,
            wait: Wait::First(now),
            seen: 0,
            wrote: false,
            full: None,
            timer: Box::pin(sleep_until(now + limits.first)),
        };
        (patient, requests)
    }

    /// Bytes came. Those of a request under way are its body.
    fn came(&mut self) {
        if self.requests.under_way.load(Ordering::Relaxed) {
            return;
        }
        let begun = self.requests.begun.load(Ordering::Relaxed);
        if begun != self.seen || matches!(self.wait, Wait::Idle(_)) {
            self.seen = begun;
            self.wait = Wait::Header(Instant::now());
        }
    }

    /// Nothing comes. Whether that has lasted too long.
    fn out_of_patience(&mut self, cx: &mut Context<'_>) -> bool {
        if self.requests.under_way.load(Ordering::Relaxed) {
            return false;
        }
        let begun = self.requests.begun.load(Ordering::Relaxed);
        if begun != self.seen {
            self.seen = begun;
            self.wait = Wait::Idle(Instant::now());
            self.wrote = false;
        }
        let until = match self.wait {
            Wait::First(since) => since + self.limits.first,
            Wait::Header(since) => since + self.limits.header,
            Wait::Idle(since) => since + self.limits.idle,
        };
        if !self.passed(until, cx) {
            return false;
        }
        // An answer may take long to write.
        if matches!(self.wait, Wait::Idle(_)) && std::mem::take(&mut self.wrote) {
            let now = Instant::now();
            self.wait = Wait::Idle(now);
            return self.passed(now + self.limits.idle, cx);
        }
        true
    }

    /// The client takes nothing. Whether that has lasted too long.
    fn full(&mut self, cx: &mut Context<'_>) -> bool {
        let (since, _) = *self.full.get_or_insert_with(|| (Instant::now(), 0));
        self.passed(since + self.limits.write, cx)
    }

    /// Whether it is later than that. If not, this task is woken when it is, or before.
    fn passed(&mut self, until: Instant, cx: &mut Context<'_>) -> bool {
        if self.timer.deadline() > until {
            self.timer.as_mut().reset(until);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= until {
                return true;
            }
            // It was set for something that was over by then.
            self.timer.as_mut().reset(until);
        }
        false
    }

    fn took(&mut self, bytes: usize) {
        self.wrote = true;
        if let Some((_, taken)) = &mut self.full {
            *taken += bytes;
            if *taken >= STRIDE {
                self.full = None;
            }
        }
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        match &read {
            Poll::Ready(Ok(())) if buf.filled().len() > before => this.came(),
            Poll::Pending if this.out_of_patience(cx) => {
                return Poll::Ready(Err(timed_out("the client sends no request")));
            }
            _ => {}
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Patient<S> {
    fn written(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => self.took(*bytes),
            Poll::Pending if self.full(cx) => {
                return Poll::Ready(Err(timed_out("the client does not take its answer")));
            }
            _ => {}
        }
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.written(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Whoever flushes has handed over all that there is.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        match &flushed {
            Poll::Ready(Ok(())) => this.full = None,
            Poll::Pending if this.full(cx) => {
                return Poll::Ready(Err(timed_out("the client does not take its answer")));
            }
            _ => {}
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// The service of one connection: tells the stream when a request is under way.
#[derive(Clone)]
pub(super) struct Watched<S> {
    service: S,
    requests: Arc<Requests>,
}

impl<S> Watched<S> {
    pub(super) fn new(service: S, requests: Arc<Requests>) -> Self {
        Self { service, requests }
    }
}

impl<R, S: Service<R>> Service<R> for Watched<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Answering<S::Future> {
        self.requests.begun.fetch_add(1, Ordering::Relaxed);
        self.requests.under_way.store(true, Ordering::Relaxed);
        Answering {
            answer: self.service.call(request),
            ends: Ends(Arc::clone(&self.requests)),
        }
    }
}

pin_project! {
    /// An answer that is being made. HTTP/1.1 has one at a time on a connection.
    pub(super) struct Answering<F> {
        #[pin]
        answer: F,
        ends: Ends,
    }
}

impl<F: Future> Future for Answering<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let answered = this.answer.poll(cx);
        if answered.is_ready() {
            this.ends.now();
        }
        answered
    }
}

/// The end of a request, also if it is given up.
struct Ends(Arc<Requests>);

impl Ends {
    fn now(&self) {
        self.0.under_way.store(false, Ordering::Relaxed);
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.now();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        time::sleep,
    };

    use super::*;

    /// Real time, since one that is advanced would be another build of the whole tree.
    const UNIT: Duration = Duration::from_millis(50);
    /// What a busy machine may add.
    const SLACK: Duration = Duration::from_secs(5);

    fn limits() -> Limits {
        Limits {
            first: UNIT * 4,
            header: UNIT * 2,
            idle: UNIT * 15,
            write: UNIT * 4,
        }
    }

    fn connection() -> (DuplexStream, Patient<DuplexStream>) {
        let (client, server) = duplex(1 << 10);
        (client, Patient::new(server, limits()).0)
    }

    fn lasted(took: Duration, units: u32) {
        let least = UNIT * units;
        assert!(
            took >= least && took < least + SLACK,
            "{took:?} and not {least:?}"
        );
    }

    /// How long the server reads until it gives up.
    async fn waits(patient: &mut Patient<DuplexStream>) -> Duration {
        let begun = Instant::now();
        let mut bytes = [0; 16];
        loop {
            match patient.read(&mut bytes).await {
                Ok(0) => panic!("the client is gone"),
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    return begun.elapsed();
                }
            }
        }
    }

    /// One that takes longer to answer than a header may take to come.
    async fn one_request(client: &mut DuplexStream, patient: &mut Patient<DuplexStream>) {
        client.write_all(b"GET").await.unwrap();
        patient.read_exact(&mut [0; 3]).await.unwrap();
        let service = tower::service_fn(|()| async {
            sleep(UNIT * 8).await;
            Ok::<_, ()>(())
        });
        let mut service = Watched::new(service, patient.requests.clone());
        // The server goes on looking at the connection meanwhile.
        let mut byte = [0; 1];
        tokio::select! {
            answer = service.call(()) => answer.unwrap(),
            _ = patient.read(&mut byte) => panic!("cut while it was answered"),
        }
    }

    /// A byte now and then, until nobody takes it.
    async fn drip(mut client: DuplexStream) {
        while client.write_all(b"x").await.is_ok() {
            sleep(UNIT / 2).await;
        }
    }

    #[tokio::test]
    async fn who_sends_nothing_is_let_go() {
        let (_client, mut patient) = connection();
        lasted(waits(&mut patient).await, 4);
    }

    #[tokio::test]
    async fn who_sends_a_header_byte_by_byte_is_let_go() {
        let (client, mut patient) = connection();
        tokio::spawn(drip(client));
        lasted(waits(&mut patient).await, 4);
    }

    #[tokio::test]
    async fn a_later_header_has_a_time_of_its_own() {
        let (mut client, mut patient) = connection();
        one_request(&mut client, &mut patient).await;
        tokio::spawn(async move {
            sleep(UNIT * 8).await;
            drip(client).await;
        });
        lasted(waits(&mut patient).await, 8 + 2);
    }

    #[tokio::test]
    async fn a_connection_is_kept_for_the_next_request() {
        let (mut client, mut patient) = connection();
        one_request(&mut client, &mut patient).await;
        one_request(&mut client, &mut patient).await;
        lasted(waits(&mut patient).await, 15);
    }

    #[tokio::test]
    async fn an_answer_that_is_still_being_written_is_not_idleness() {
        let (mut client, mut patient) = connection();
        one_request(&mut client, &mut patient).await;
        let begun = Instant::now();
        let (mut reads, mut writes) = tokio::io::split(patient);
        let writer = tokio::spawn(async move {
            for _ in 0..10 {
                sleep(UNIT).await;
                writes.write_all(b"x").await.unwrap();
            }
        });
        let error = reads.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        lasted(begun.elapsed(), 15 + 10);
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_is_not_under_way() {
        let requests = Arc::<Requests>::default();
        let never = tower::service_fn(|()| std::future::pending::<Result<(), ()>>());
        let answer = Watched::new(never, requests.clone()).call(());
        assert!(requests.under_way.load(Ordering::Relaxed));
        drop(answer);
        assert!(!requests.under_way.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn who_takes_no_answer_is_let_go() {
        let (_client, mut patient) = connection();
        let begun = Instant::now();
        let error = patient.write_all(&[0; 4 << 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        lasted(begun.elapsed(), 4);
    }

    #[tokio::test]
    async fn who_takes_an_answer_byte_by_byte_is_let_go() {
        let (mut client, mut patient) = connection();
        tokio::spawn(async move {
            while client.read_exact(&mut [0; 1]).await.is_ok() {
                sleep(UNIT / 5).await;
            }
        });
        let begun = Instant::now();
        patient.write_all(&[0; 1 << 20]).await.unwrap_err();
        lasted(begun.elapsed(), 4);
    }

    #[tokio::test]
    async fn who_reads_steadily_gets_a_long_answer_whole() {
        let (mut client, mut patient) = connection();
        let reads = tokio::spawn(async move {
            let (mut whole, mut piece) = (0, [0; 1 << 10]);
            while let Ok(read) = client.read(&mut piece).await
                && read > 0
            {
                whole += read;
                if whole % (32 << 10) == 0 {
                    sleep(UNIT).await;
                }
            }
            whole
        });
        let begun = Instant::now();
        patient.write_all(&vec![0; 512 << 10]).await.unwrap();
        patient.flush().await.unwrap();
        drop(patient);
        assert_eq!(reads.await.unwrap(), 512 << 10);
        assert!(begun.elapsed() > UNIT * 8, "longer than without a byte");
    }
}
