//! Clients that keep the server waiting, with the time-outs set short: each is let go, and told why
//! where it can hear it.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::world::World;

/// What a busy machine may add to a time-out.
const SLACK: Duration = Duration::from_secs(8);

struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server with these settings of `[server]`.
fn serve(world: &World, listen: &str, settings: &[(&str, &str)]) -> Server {
    let mut command = world.command(&["server", "--listen", listen]);
    for (name, value) in settings {
        command.env(format!("PENTAD_SERVER_{name}"), value);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 200];
    let read = child.stdout.as_mut().unwrap().read(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said[..read]).into_owned();
    let (_, port) = said.trim().rsplit_once(':').unwrap();
    let address = format!("127.0.0.1:{port}");
    Server { child, address }
}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(SLACK)).unwrap();
        stream
    }
}

fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
}

/// Everything until the server closes; a reset is a way to close.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection was not closed: {error}"),
    }
    bytes
}

/// One answer of a kept connection.
fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0; 1];
    while !text.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "closed instead");
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).unwrap().to_ascii_lowercase();
    let (_, length) = head.split_once("content-length: ").unwrap();
    let length = length.lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

const LIVES: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn who_drips_a_body_is_told_and_let_go() {
    let world = World::new();
    let server = serve(&world, "127.0.0.1:0", &[("BODY_TIMEOUT", "1")]);
    for (request, token) in [
        ("POST /v1/login", ""),
        ("PUT /v1/credentials/a", &*world.token),
    ] {
        let mut slow = server.connect();
        let begun = Instant::now();
        send(
            &mut slow,
            &format!(
                "{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
                 Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
            ),
        );
        let told = String::from_utf8(rest(&mut slow)).unwrap();
        assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
        assert!(told.contains("/body-too-slow"), "{told}");
        assert!(begun.elapsed() >= Duration::from_secs(1));
    }
}

#[test]
fn a_kept_connection_outlives_the_time_of_a_header_and_not_that_of_idleness() {
    let world = World::new();
    let times = [("HEADER_TIMEOUT", "1"), ("IDLE_TIMEOUT", "4")];
    let server = serve(&world, "127.0.0.1:0", &times);
    let mut kept = server.connect();
    send(&mut kept, LIVES);
    assert!(answer(&mut kept).starts_with("http/1.1 200 "));
    std::thread::sleep(Duration::from_secs(2));
    send(&mut kept, LIVES);
    assert!(answer(&mut kept).starts_with("http/1.1 200 "));
    let begun = Instant::now();
    assert!(rest(&mut kept).is_empty());
    assert!(begun.elapsed() >= Duration::from_secs(4));
    // And a header that begins on a kept connection has its own, short time.
    let mut drips = server.connect();
    send(&mut drips, LIVES);
    answer(&mut drips);
    let begun = Instant::now();
    send(&mut drips, "GET /healthz HTTP/1.1\r\n");
    assert!(rest(&mut drips).is_empty());
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn who_takes_no_answer_is_let_go() {
    let world = World::new();
    let server = serve(&world, "127.0.0.1:0", &[("WRITE_TIMEOUT", "1")]);
    let describe = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut one = server.connect();
    send(&mut one, describe);
    let size = answer(&mut one).len();
    // More than sockets hold on both sides.
    let asked = (64 << 20) / size;
    let mut mute = server.connect();
    let _ = mute.write_all(describe.repeat(asked).as_bytes());
    std::thread::sleep(Duration::from_secs(4));
    let got = rest(&mut mute).len();
    assert!(got < asked * size, "{got} bytes, all of them");
}

#[test]
fn beyond_a_peers_share_it_is_told_when_to_come_back() {
    let world = World::new();
    let share = [("MAX_CONNECTIONS_PER_PEER", "2")];
    let server = serve(&world, "127.0.0.1:0", &share);
    let mut held: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for one in &mut held {
        send(one, LIVES);
        answer(one);
    }
    let mut third = server.connect();
    send(&mut third, LIVES);
    let told = String::from_utf8(rest(&mut third)).unwrap();
    assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
    assert!(told.contains("\r\nRetry-After: 1\r\n"), "{told}");
    let (_, body) = told.split_once("\r\n\r\n").unwrap();
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["status"], 503);
    // The command line shows it as it shows the API's own.
    let mut command = world.command(&["whoami"]);
    command
        .env("PENTAD_ADDR", format!("http://{}", server.address))
        .env("PENTAD_TOKEN", &world.token);
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("too many connections"), "{said}");
    // A place that is given back is somebody else's.
    drop(held);
    let begun = Instant::now();
    loop {
        let mut next = server.connect();
        send(&mut next, LIVES);
        if answer(&mut next).starts_with("http/1.1 200 ") {
            break;
        }
        assert!(begun.elapsed() < SLACK, "no place is given back");
    }
}

#[test]
fn a_header_that_is_too_large_is_refused() {
    let world = World::new();
    let server = serve(&world, "127.0.0.1:0", &[("MAX_HEADER_BYTES", "8192")]);
    let mut large = server.connect();
    let header = format!(
        "GET /healthz HTTP/1.1\r\nX-Large: {}\r\n\r\n",
        "x".repeat(9000)
    );
    send(&mut large, &header);
    let told = String::from_utf8(rest(&mut large)).unwrap();
    assert!(told.starts_with("HTTP/1.1 431 "), "{told}");
}

#[test]
fn who_makes_no_tls_connection_is_let_go() {
    let world = World::new();
    let server = serve(&world, "0.0.0.0:0", &[("HEADER_TIMEOUT", "1")]);
    let mut silent = server.connect();
    let begun = Instant::now();
    rest(&mut silent);
    assert!(begun.elapsed() >= Duration::from_secs(1));
}
