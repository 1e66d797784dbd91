//! A TCP proxy that records what the client sends, and can cut the connection right after it has
//! forwarded a certain statement, so that the server acts and its answer is lost.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

pub(crate) struct Proxy {
    pub(crate) address: String,
    sent: Arc<Mutex<Vec<u8>>>,
    cut: Arc<Mutex<Option<Vec<u8>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(upstream: &str, listen: [u8; 4]) -> Self {
        let listener = TcpListener::bind((IpAddr::from(listen), 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sent, cut) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::default());
        let task = tokio::spawn({
            let (upstream, sent, cut) = (upstream.to_owned(), sent.clone(), Arc::clone(&cut));
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let server = TcpStream::connect(&upstream).await.unwrap();
                    tokio::spawn(pump(client, server, sent.clone(), Arc::clone(&cut)));
                }
            }
        });
        Self {
            address,
            sent,
            cut,
            task,
        }
    }

    /// From now on, loses the connection after forwarding a message that holds `text`.
    pub(crate) fn cut_after(&self, text: &str) {
        *self.cut.lock().unwrap() = Some(text.as_bytes().to_vec());
    }

    /// Whether the client has sent `bytes`.
    pub(crate) fn saw(&self, bytes: &[u8]) -> bool {
        contains(&self.sent.lock().unwrap(), bytes)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

async fn pump(
    client: TcpStream,
    server: TcpStream,
    sent: Arc<Mutex<Vec<u8>>>,
    cut: Arc<Mutex<Option<Vec<u8>>>>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
        let chunk = &buffer[..count];
        sent.lock().unwrap().extend_from_slice(chunk);
        let cuts = cut
            .lock()
            .unwrap()
            .as_ref()
            .is_some_and(|text| contains(chunk, text));
        if cuts {
            back.abort(); // before the server can answer
        }
        if to_server.write_all(chunk).await.is_err() {
            break;
        }
        if cuts {
            // The server reads what it got, then the end. What it answers goes nowhere.
            let _ = to_server.shutdown().await;
            return;
        }
    }
    let _ = to_server.shutdown().await;
}
