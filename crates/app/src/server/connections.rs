//! Who may have a connection: so many at once in all, and so many for each peer.
//!
//! What is beyond that is refused before it costs anything: over plain HTTP with an answer that says
//! when to come back, over TLS by closing, since an answer would cost a handshake. The addresses of an
//! IPv6 /64 are one peer.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::{IpAddr, Ipv6Addr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum_server::{
    accept::Accept,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    TlsConfig,
    patience::{self, Patient, Watched},
};

/// Those that are told so at once; others are closed without a word.
const REFUSED_AT_ONCE: usize = 64;
/// How long the reading of a refusal is waited for.
const REFUSAL: Duration = Duration::from_secs(1);
/// How much of a request that is not read is taken nevertheless, so that the answer arrives.
const UNREAD: u64 = 64 << 10;

/// What is sent to who is refused over plain HTTP: a problem like the API's.
const PROBLEM: &str = concat!(
    r#"{"type":"https://pentad.dev/problems/queue-full","title":"Too busy","status":503,"#,
    r#""detail":"there are too many connections","#,
    r#""hint":"keep connections and use them again; server.max_connections and "#,
    r#"server.max_connections_per_peer are the limits","#,
    r#""correlation":"00000000-0000-0000-0000-000000000000","retry_after_seconds":1}"#,
);

fn refusal() -> String {
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
         Content-Length: {}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n{PROBLEM}",
        PROBLEM.len()
    )
}

/// See the module.
#[derive(Clone)]
pub(super) struct Admission(Arc<Shared>);

struct Shared {
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    per_peer: u32,
    peers: Mutex<HashMap<IpAddr, u32>>,
    patience: patience::Limits,
    tls: bool,
}

impl Admission {
    pub(super) fn new(most: u32, per_peer: u32, patience: patience::Limits, tls: bool) -> Self {
        let most = usize::try_from(most.max(1)).unwrap_or(usize::MAX);
        Self(Arc::new(Shared {
            places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            refusals: Arc::new(Semaphore::new(REFUSED_AT_ONCE)),
            per_peer: per_peer.max(1),
            peers: Mutex::default(),
            patience,
            tls,
        }))
    }

    /// A place, or nothing.
    fn place(&self, peer: IpAddr) -> Option<Place> {
        let permit = Arc::clone(&self.0.places).try_acquire_owned().ok()?;
        let mut peers = self.0.peers.lock();
        let count = peers.entry(peer).or_insert(0);
        if *count >= self.0.per_peer {
            return None;
        }
        *count += 1;
        drop(peers);
        Some(Place {
            admission: self.clone(),
            peer,
            _permit: permit,
        })
    }
}

/// A place, until it is dropped.
struct Place {
    admission: Admission,
    peer: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut peers = self.admission.0.peers.lock();
        if let Some(count) = peers.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

fn peer(stream: &TcpStream) -> io::Result<IpAddr> {
    Ok(match stream.peer_addr()?.ip().to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        ip => ip,
    })
}

/// TLS on top of it.
pub(super) fn over_tls(
    inner: Admission,
    config: TlsConfig,
    handshake: Duration,
) -> RustlsAcceptor<Admission> {
    RustlsAcceptor::new(RustlsConfig::from_config(config))
        .handshake_timeout(handshake)
        .acceptor(inner)
}

impl<S: Send + 'static> Accept<TcpStream, S> for Admission {
    type Stream = Admitted;
    type Service = Watched<S>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Admitted, Watched<S>)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let admission = self.clone();
        Box::pin(async move {
            let Some(place) = admission.place(peer(&stream)?) else {
                if !admission.0.tls
                    && let Ok(_turn) = admission.0.refusals.try_acquire()
                {
                    let _ = timeout(REFUSAL, refuse(stream)).await;
                }
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionRefused,
                    "too many connections",
                ));
            };
            stream.set_nodelay(true)?;
            let (stream, requests) = Patient::new(stream, admission.0.patience);
            let admitted = Admitted {
                stream,
                _place: place,
            };
            Ok((admitted, Watched::new(service, requests)))
        })
    }
}

/// Says so as soon as something was asked: clients take what comes before for an error. Then reads on
/// until the client has closed: closing with something unread would take the answer away from it.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    if stream.read(&mut [0; 4 << 10]).await? == 0 {
        return Ok(());
    }
    stream.write_all(refusal().as_bytes()).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(UNREAD), &mut tokio::io::sink()).await?;
    Ok(())
}

/// A connection that holds its place until it is closed.
pub(super) struct Admitted {
    stream: Patient<TcpStream>,
    _place: Place,
}

impl AsyncRead for Admitted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
