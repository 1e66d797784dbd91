//! A collector of traces that keeps every byte that the server sends it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tokio::{
    fs,
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// More than any batch of spans.
const LONGEST: usize = 64 << 20;

/// Starts one on loopback; its address. What it gets goes to the end of `file`, as it came.
pub(super) async fn start(file: &Path) -> Result<String> {
    fs::write(file, "").await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let file = file.to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = tokio::spawn(take(stream, file.clone())).await;
        }
    });
    Ok(endpoint)
}

/// One request, and the connection is closed: the next batch makes another.
async fn take(stream: TcpStream, file: PathBuf) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_until(b'\n', &mut request).await? == 0 {
            bail!("a request's head was cut short");
        }
    }
    let head = String::from_utf8_lossy(&request).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.context("no length")?.trim().parse()?;
    let mut body = vec![0; length.min(LONGEST)];
    stream.read_exact(&mut body).await?;
    request.extend(body);
    let mut kept = fs::OpenOptions::new().append(true).open(&file).await?;
    kept.write_all(&request).await?;
    kept.flush().await?;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(answer).await?;
    Ok(())
}
