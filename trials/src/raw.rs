//! HTTP/1.1 by hand, over one connection from a chosen address: for clients that behave as no library
//! would.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// How long an answer may take before the server counts as hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// HTTP's.
    pub status: u16,
    /// `Retry-After`, if there is one.
    pub retry_after: Option<String>,
    /// Whether the server closes the connection.
    pub closes: bool,
}

/// A connection.
pub struct Connection {
    /// The socket, for what has no method here.
    pub stream: TcpStream,
    rest: Vec<u8>,
}

/// Connects from this address.
pub async fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// As [`connect`], with hardly any room for what comes back.
pub async fn connect_narrow(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4 << 10)?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// A request's header, with an empty body unless a length is among the `headers`.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: trial\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text + "\r\n"
}

impl Connection {
    /// A new connection from this address.
    pub async fn open(from: IpAddr, to: SocketAddr) -> Result<Self> {
        let opened = timeout(PATIENCE, connect(from, to)).await;
        Ok(Self {
            stream: opened.context("connecting hangs")??,
            rest: Vec::new(),
        })
    }

    /// Sends a whole request and reads the whole answer.
    pub async fn ask(&mut self, request: &str) -> Result<Answer> {
        let asked = timeout(PATIENCE, async {
            self.stream.write_all(request.as_bytes()).await?;
            self.answer().await
        });
        asked.await.context("there is no answer: it hangs")?
    }

    /// Reads one whole answer.
    pub async fn answer(&mut self) -> Result<Answer> {
        let end = loop {
            if let Some(end) = self.rest.windows(4).position(|at| at == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.rest[..end]).into_owned();
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines
                .find(|(field, _)| field.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim().to_owned())
        };
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
        let length = match field("content-length") {
            Some(length) => length.parse().context("its length is no number")?,
            None if field("transfer-encoding").is_some() => bail!("an answer in chunks"),
            None => 0,
        };
        while self.rest.len() < end + length {
            self.more().await?;
        }
        self.rest.drain(..end + length);
        Ok(Answer {
            status: status.context("it does not begin as HTTP does")?,
            retry_after: field("retry-after"),
            closes: field("connection").is_some_and(|it| it.eq_ignore_ascii_case("close")),
        })
    }

    async fn more(&mut self) -> Result<()> {
        let mut piece = [0; 16 << 10];
        match self.stream.read(&mut piece).await? {
            0 => bail!("the connection was closed in the middle of an answer"),
            read => self.rest.extend_from_slice(&piece[..read]),
        }
        Ok(())
    }
}
