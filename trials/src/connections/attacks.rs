//! What a bad client does, and how soon it must be let go. Each comes again at once when it was.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::Result;
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    BAD, Scene,
    others::{self, Seen},
};
use crate::{gauge::ms, raw};

/// How much later than the configuration says a client may be let go, on a busy machine.
const LATE: Duration = Duration::from_secs(2);
/// How often a dripping client sends a byte.
const DRIP: Duration = Duration::from_millis(200);

/// Pages that one asks for and doesn't read: more than sockets hold.
const PAGES: usize = 60;

/// One way to behave badly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attack {
    /// A header, byte by byte.
    SlowHeader,
    /// A body, byte by byte, with a token.
    SlowBody,
    /// A login's body, byte by byte, by nobody.
    SlowLogin,
    /// A connection, and nothing on it.
    Silence,
    /// Large pages asked for, and none of them read.
    NeverReads,
    /// A header of a megabyte.
    HugeHeader,
    /// A body that is announced with 100 MB.
    HugeBody,
    /// A body in chunks that does not end.
    EndlessBody,
}

/// All of them.
pub const ALL: &[Attack] = &[
    Attack::SlowHeader,
    Attack::SlowBody,
    Attack::SlowLogin,
    Attack::Silence,
    Attack::NeverReads,
    Attack::HugeHeader,
    Attack::HugeBody,
    Attack::EndlessBody,
];

impl Attack {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::SlowHeader => "slow-header",
            Self::SlowBody => "slow-body",
            Self::SlowLogin => "slow-login",
            Self::Silence => "silence",
            Self::NeverReads => "never-reads",
            Self::HugeHeader => "huge-header",
            Self::HugeBody => "huge-body",
            Self::EndlessBody => "endless-body",
        }
    }

    /// Attackers at once. What costs them work is done by few: they share the processors with those
    /// whom they are not to harm.
    fn clients(self) -> usize {
        match self {
            Self::SlowHeader | Self::SlowBody | Self::SlowLogin | Self::Silence => 400,
            Self::NeverReads => 20,
            Self::HugeHeader | Self::HugeBody | Self::EndlessBody => 10,
        }
    }

    /// When the server must have closed, by its configuration in this campaign.
    fn bound(self) -> Duration {
        Duration::from_secs(match self {
            Self::SlowHeader | Self::Silence => 2,
            Self::SlowBody | Self::SlowLogin => 3,
            // Until the sockets are full, and three seconds.
            Self::NeverReads => 5,
            Self::HugeHeader | Self::HugeBody => 2,
            // As much as a batch may have, at this client's speed.
            Self::EndlessBody => 3,
        })
    }

    /// Does it once, until the server has closed the connection.
    async fn act(self, scene: &Scene) -> Result<()> {
        let mut stream = match self {
            Self::NeverReads => raw::connect_narrow(BAD, scene.server).await?,
            _ => raw::connect(BAD, scene.server).await?,
        };
        let bearer = format!("Bearer {}", scene.token);
        let json = ("Content-Type", "application/json");
        let head = |path: &str, length: (&str, &str)| {
            let method = if path == "/v1/login" { "POST" } else { "PUT" };
            raw::request(method, path, &[("Authorization", &bearer), json, length])
        };
        let path = "/v1/credentials/crowd/1";
        match self {
            Self::Silence => read_to_end(&mut stream).await,
            Self::SlowHeader => {
                stream
                    .write_all(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
                    .await?;
                drip(stream).await;
            }
            Self::SlowBody | Self::SlowLogin => {
                let path = if self == Self::SlowBody {
                    path
                } else {
                    "/v1/login"
                };
                let head = head(path, ("Content-Length", "10000"));
                stream.write_all(head.as_bytes()).await?;
                drip(stream).await;
            }
            Self::NeverReads => {
                // No work for the server, which is not what is tried here.
                let page = raw::request("GET", "/openapi.json", &[]).repeat(PAGES);
                stream.write_all(page.as_bytes()).await?;
                closed(&stream).await;
            }
            Self::HugeHeader => {
                let head = format!("GET /healthz HTTP/1.1\r\nX-Huge: {}", "x".repeat(1 << 20));
                let _ = stream.write_all(head.as_bytes()).await;
                read_to_end(&mut stream).await;
            }
            Self::HugeBody => {
                let head = head(path, ("Content-Length", "100000000"));
                stream.write_all(head.as_bytes()).await?;
                pour(&mut stream, b"[\"xxxxxxxx\"]").await;
                read_to_end(&mut stream).await;
            }
            Self::EndlessBody => {
                let head = head(path, ("Transfer-Encoding", "chunked"));
                stream.write_all(head.as_bytes()).await?;
                let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
                pour(&mut stream, chunk.as_bytes()).await;
                read_to_end(&mut stream).await;
            }
        }
        Ok(())
    }
}

/// Sends a byte now and then, until that fails or the server has closed.
async fn drip(stream: TcpStream) {
    let (mut reads, mut writes) = stream.into_split();
    let drips = async {
        while writes.write_all(b"x").await.is_ok() {
            sleep(DRIP).await;
        }
    };
    let ends = async {
        let mut bytes = [0; 4096];
        while reads.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    };
    tokio::select! {
        () = drips => {}
        () = ends => {}
    }
}

/// Sends the same again and again, until the server takes no more.
async fn pour(stream: &mut TcpStream, piece: &[u8]) {
    while timeout(Duration::from_secs(1), stream.write_all(piece))
        .await
        .is_ok_and(|written| written.is_ok())
    {}
}

async fn read_to_end(stream: &mut TcpStream) {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}

/// Waits until the server has closed, without reading what it sent.
async fn closed(stream: &TcpStream) {
    // A write tells; a byte that can't be sent yet does not.
    loop {
        match stream.try_write(b" ") {
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// What came of an attack.
pub struct Ended {
    attack: Attack,
    /// How long each connection lasted that the server closed.
    lasted: Vec<Duration>,
    /// Connections that were still there when the bound had passed.
    left: usize,
}

/// Attacks while the well-behaved ones are watched, and until the server has let the last one go.
pub async fn beside(attack: Attack, scene: &Scene, watch: Duration) -> Result<(Ended, Seen)> {
    let lasted = Arc::<Mutex<Vec<Duration>>>::default();
    let end = Instant::now() + watch;
    let clients: Vec<JoinHandle<()>> = (0..attack.clients())
        .map(|_| {
            let (scene, lasted) = (scene.clone(), Arc::clone(&lasted));
            tokio::spawn(async move {
                while Instant::now() < end {
                    let begun = Instant::now();
                    if attack.act(&scene).await.is_ok() {
                        lasted.lock().push(begun.elapsed());
                    }
                    // Not a flood of connections: that is another campaign's.
                    sleep(Duration::from_millis(100)).await;
                }
            })
        })
        .collect();
    let seen = others::watch(scene, watch).await;
    sleep(attack.bound() + LATE).await;
    let left = clients
        .iter()
        .filter(|client| !client.is_finished())
        .count();
    clients.iter().for_each(JoinHandle::abort);
    join_all(clients).await;
    let lasted = std::mem::take(&mut *lasted.lock());
    Ok((
        Ended {
            attack,
            lasted,
            left,
        },
        seen?,
    ))
}

impl Ended {
    /// The attack's.
    pub fn name(&self) -> &'static str {
        self.attack.name()
    }

    fn longest(&self) -> Duration {
        self.lasted.iter().copied().max().unwrap_or_default()
    }

    /// What must not be.
    pub fn complaints(&self) -> Vec<String> {
        let (name, bound) = (self.name(), self.attack.bound() + LATE);
        let mut found = Vec::new();
        if self.left > 0 {
            found.push(format!(
                "{name}: {} were not let go within {bound:?}",
                self.left
            ));
        }
        if self.longest() > bound {
            found.push(format!(
                "{name}: one was let go after {:?} only",
                self.longest()
            ));
        }
        if self.lasted.is_empty() {
            found.push(format!("{name}: not one was let go"));
        }
        found
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} clients, {} connections let go, after {} ms at the latest",
            self.name(),
            self.attack.clients(),
            self.lasted.len(),
            ms(self.longest()),
        )
    }
}
