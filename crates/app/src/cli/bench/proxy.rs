//! A TCP proxy that makes a server on this machine look far away.
//!
//! Each direction takes half of the round trip. Opening a connection takes one round trip more, as
//! the handshake of a far server would: the client's own handshake ends at the proxy, so what it
//! sends first is held back that much longer. Throughput is not limited, and order is kept.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// Pieces under way in one direction of one connection.
const UNDER_WAY: usize = 64;
/// The largest piece, in bytes.
const PIECE: usize = 16 * 1024;

/// A running proxy; it and its connections end when it is dropped.
pub(super) struct Proxy {
    port: u16,
    _task: JoinSet<()>,
}

impl Proxy {
    /// Listens on a loopback port of its own and forwards to `server`, `round_trip` away.
    pub(super) async fn start(server: (String, u16), round_trip: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        // A failed accept (no more descriptors) fails one client, not the proxy.
                        let Ok((client, _)) = accepted else { continue };
                        connections.spawn(serve(client, server.clone(), round_trip));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { port, _task: task })
    }

    /// Where it listens, at 127.0.0.1.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

async fn serve(client: TcpStream, server: (String, u16), round_trip: Duration) {
    let opened = Instant::now() + round_trip;
    let Ok(server) = TcpStream::connect((server.0.as_str(), server.1)).await else {
        return;
    };
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let one_way = round_trip / 2;
    tokio::join!(
        carry(from_client, to_server, one_way, opened),
        carry(from_server, to_client, one_way, opened),
    );
}

/// One direction: what is read is written `one_way` later, and so is the end.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    one_way: Duration,
    opened: Instant,
) {
    let (pieces, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let read = async move {
        let mut buffer = vec![0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let due = Instant::now().max(opened) + one_way;
            if pieces.send((due, buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = arriving.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        sleep_until(Instant::now() + one_way).await;
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(40);

    /// An echo server behind a proxy, and a client connected to it.
    async fn echo() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut server, _) = listener.accept().await.unwrap();
            let (mut from, mut to) = server.split();
            tokio::io::copy(&mut from, &mut to).await.unwrap();
        });
        let proxy = Proxy::start(("127.0.0.1".to_owned(), port), ROUND_TRIP)
            .await
            .unwrap();
        let client = TcpStream::connect(("127.0.0.1", proxy.port()))
            .await
            .unwrap();
        (proxy, client)
    }

    #[tokio::test]
    async fn an_exchange_takes_a_round_trip_and_the_first_one_also_the_handshake() {
        let (_proxy, mut client) = echo().await;
        let mut answer = [0; 4];
        for round_trips in [2, 1] {
            let start = Instant::now();
            client.write_all(b"ping").await.unwrap();
            client.read_exact(&mut answer).await.unwrap();
            let took = start.elapsed();
            assert_eq!(&answer, b"ping");
            // Connecting took a moment of the handshake; a busy machine may add any time.
            assert!(
                took >= ROUND_TRIP * round_trips - Duration::from_millis(5),
                "{took:?}"
            );
        }
    }

    #[tokio::test]
    async fn everything_arrives_in_order_and_the_end_does_too() {
        let (_proxy, mut client) = echo().await;
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut received = Vec::new();
        let (mut from, mut to) = client.split();
        let send = async {
            to.write_all(&sent).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let (_, read) = tokio::join!(send, from.read_to_end(&mut received));
        read.unwrap();
        assert_eq!(received, sent);
    }
}
