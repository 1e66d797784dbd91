//! The server: the router behind TCP and TLS, from the first connection to a shutdown in good order.
//!
//! What always holds:
//!
//! * Beyond loopback it speaks TLS only, 1.3 unless told otherwise.
//! * A client that sends slowly, takes no answers or opens many connections keeps nobody else out:
//!   bounds on connections in all and for each peer ([`connections`]), on how long one may keep the
//!   server waiting ([`patience`]), on a header's size; in the API a time for a body and for a
//!   request, and bounds on what is under way.
//! * On SIGTERM or SIGINT: no new connections, requests under way are finished, then the agents
//!   stop. A second signal ends it at once; the store survives that too.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs as _},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use axum_server::Handle;
use pentad_agents::Pentad;
use pentad_api::trace::Traces;
use tokio::{
    net::TcpSocket,
    signal::unix::{SignalKind, signal},
};

use crate::{
    config,
    failure::{Exit, Failure},
    output::Output,
    wiring::Place,
};

mod connections;
mod descriptors;
mod patience;
mod tls;

use connections::Admission;
use tls::Identity;

/// Connections that wait to be accepted; the kernel takes the lesser of this and `somaxconn`.
const BACKLOG: u32 = 4096;
/// What the HTTP library reads ahead on a connection, and so the largest header: at least what it
/// demands, and little enough for thousands of connections.
const READ_AHEAD: RangeInclusive<usize> = 8 << 10..=256 << 10;

/// What the kernel keeps of a connection that is not read from: what is sent after a refusal, or faster
/// than it is taken. Left to itself it goes up to several megabytes each, which are copied to be thrown
/// away; this is enough for 20 MB a second over 10 ms.
const UNREAD: u32 = 256 << 10;

/// Binds, says where, serves, and returns when it was told to stop.
pub(crate) async fn serve(
    pentad: Pentad,
    place: &Place,
    settings: &config::Server,
    traces: Option<Arc<dyn Traces>>,
    output: Output,
) -> Result<(), Failure> {
    let listener = bind(&settings.listen)?;
    let bound = listener
        .local_addr()
        .map_err(|e| Failure::file(&settings.listen, &e))?;
    let identity = Identity::choose(place, settings, bound)?;
    let seconds = |given: u32| Duration::from_secs(u64::from(given.max(1)));
    let mebibytes = |given: u32| usize::try_from(given.max(1)).map_or(usize::MAX, |it| it << 20);

    let options = pentad_api::Options {
        tls: identity.is_some(),
        timeout: seconds(settings.request_timeout),
        body_timeout: seconds(settings.body_timeout),
        body_budget: mebibytes(settings.body_budget),
        traces,
        ..pentad_api::Options::default()
    };
    let service =
        pentad_api::router(pentad, options).into_make_service_with_connect_info::<SocketAddr>();
    let handle = Handle::new();
    let header = seconds(settings.header_timeout);
    let patience = patience::Limits {
        // A handshake comes before, which has as long.
        first: header * if identity.is_some() { 2 } else { 1 },
        header,
        idle: seconds(settings.idle_timeout),
        write: seconds(settings.write_timeout),
    };
    let admission = Admission::new(
        descriptors::enough_for(settings.max_connections),
        settings.max_connections_per_peer,
        patience,
        identity.is_some(),
    );
    let mut server = axum_server::from_tcp(listener)
        .map_err(|e| Failure::file(&settings.listen, &e))?
        .handle(handle.clone())
        .http1_only()
        .acceptor(admission);
    let read_ahead = usize::try_from(settings.max_header_bytes).unwrap_or(usize::MAX);
    let read_ahead = read_ahead.clamp(*READ_AHEAD.start(), *READ_AHEAD.end());
    server.http_builder().http1().max_buf_size(read_ahead);

    let address = match &identity {
        None => format!("http://{bound}"),
        Some(_) => format!("https://{bound}"),
    };
    // The listener is bound: a connection made from now on is answered.
    let announced = Announced::write(place, &address)?;
    if let Some(remark) = identity.as_ref().and_then(Identity::remark) {
        output.note(remark);
    }
    output.line(format!("pentad listens at {address}"))?;
    tracing::info!(address, "ready");

    let grace = seconds(settings.shutdown_timeout);
    let stopper = tokio::spawn(stop_on_signal(handle, grace)?);
    let served = match identity {
        None => server.serve(service).await,
        Some(identity) => {
            let config = identity.config(settings.tls12)?;
            server
                .map(|inner| connections::over_tls(inner, config, header))
                .serve(service)
                .await
        }
    };
    stopper.abort();
    drop(announced);
    served.map_err(|error| Failure::file(&settings.listen, &error))
}

fn bind(listen: &str) -> Result<TcpListener, Failure> {
    let wrong = || {
        Failure::usage(format!("`{listen}` is no address to listen at"))
            .hint("say host and port: 127.0.0.1:8277, [::1]:8277, 0.0.0.0:8277")
    };
    let address = listen
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next())
        .ok_or_else(wrong)?;
    let listener = listen_at(address).map_err(|error| {
        let failure = Failure::unavailable(format!("{address}: {error}"));
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                failure.hint("something listens there already; choose another --listen")
            }
            io::ErrorKind::PermissionDenied => Failure {
                exit: Exit::Denied,
                ..failure
            }
            .hint("ports below 1024 need a right"),
            _ => failure,
        }
    })?;
    Ok(listener)
}

/// The standard library has room for 128 connections that are not accepted yet: of a crowd, the others
/// would be dropped by the kernel and come again a second later.
fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As the standard library does: or a restart would have to wait for old connections' ends.
    socket.set_reuseaddr(true)?;
    // Connections inherit it.
    socket.set_recv_buffer_size(UNREAD)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// What `pentad` on the same directory is told when the store is in use.
struct Announced(std::path::PathBuf);

impl Announced {
    fn write(place: &Place, address: &str) -> Result<Self, Failure> {
        let path = place.address();
        // Renamed into place: who reads it sees a whole address or none.
        let new = path.with_extension("new");
        let written =
            fs::write(&new, format!("{address}\n")).and_then(|()| fs::rename(&new, &path));
        let Err(error) = written else {
            return Ok(Self(path));
        };
        let _ = fs::remove_file(&new);
        match error.kind() {
            // Whoever is to free space must be able to log in: a hint for others is less.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                // One of a server that was killed would send them to nobody.
                let _ = fs::remove_file(&path);
                tracing::warn!(%error, "the file `address` could not be written");
                Ok(Self(path))
            }
            _ => Err(Failure::file(path.display(), &error)),
        }
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Waits for a signal, then lets the server finish.
fn stop_on_signal(
    handle: Handle<SocketAddr>,
    grace: Duration,
) -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| signal(kind).map_err(|e| Failure::file("signals", &e));
    let (mut terminate, mut interrupt) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    );
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: requests under way are finished");
        handle.graceful_shutdown(Some(grace));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("stopping at once");
        handle.shutdown();
    })
}

/// TLS settings, shared by all connections.
type TlsConfig = Arc<rustls::ServerConfig>;
