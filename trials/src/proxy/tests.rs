#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{sleep, timeout},
};

use super::*;

const EFFECT: &[u8] = b"ALTER USER 'a'@'%' IDENTIFIED BY 'x'";
const SOON: Duration = Duration::from_millis(80);

/// A client, a proxy with one rule, and a server that the test plays.
struct Scene {
    proxy: Proxy,
    seen: mpsc::UnboundedReceiver<Sighting>,
    client: TcpStream,
    server: TcpStream,
    _upstream: TcpListener,
}

async fn scene(rule: Option<(Phase, Then)>) -> Scene {
    let upstream = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (sender, seen) = mpsc::unbounded_channel();
    let address = upstream.local_addr().unwrap().to_string();
    let proxy = Proxy::start(System::MariaDb, &address, sender)
        .await
        .unwrap();
    if let Some((phase, then)) = rule {
        let account = "a".to_owned();
        proxy.hold(Rule {
            account,
            skip: 0,
            phase,
            then,
        });
    }
    let client = TcpStream::connect(proxy.address).await.unwrap();
    let (server, _) = upstream.accept().await.unwrap();
    Scene {
        proxy,
        seen,
        client,
        server,
        _upstream: upstream,
    }
}

/// What arrives within a moment; empty if nothing does, `None` at the end of the connection.
async fn arrives(at: &mut TcpStream) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 1024];
    match timeout(SOON, at.read(&mut buffer)).await {
        Err(_) => Some(Vec::new()),
        Ok(Ok(0) | Err(_)) => None,
        Ok(Ok(count)) => {
            buffer.truncate(count);
            Some(buffer)
        }
    }
}

#[tokio::test]
async fn without_a_rule_everything_passes_and_an_effect_flies_until_its_reply() {
    let mut scene = scene(None).await;
    scene.client.write_all(b"hello").await.unwrap();
    assert_eq!(arrives(&mut scene.server).await.unwrap(), b"hello");
    assert!(scene.proxy.flying().is_empty());
    scene.client.write_all(EFFECT).await.unwrap();
    assert_eq!(arrives(&mut scene.server).await.unwrap(), EFFECT);
    assert_eq!(
        scene.proxy.flying(),
        [("a".to_owned(), Phase::AtServer)].as_slice()
    );
    scene.server.write_all(b"OK").await.unwrap();
    assert_eq!(arrives(&mut scene.client).await.unwrap(), b"OK");
    assert!(scene.proxy.flying().is_empty());
}

#[tokio::test]
async fn a_held_request_reaches_the_server_late_after_its_sender_is_gone() {
    let late = Then::Late(Duration::from_millis(120));
    let mut scene = scene(Some((Phase::Request, late))).await;
    scene.client.write_all(EFFECT).await.unwrap();
    assert_eq!(scene.seen.recv().await.unwrap().phase, Phase::Request);
    drop(scene.client);
    assert_eq!(arrives(&mut scene.server).await.unwrap(), b"");
    scene.proxy.killed();
    sleep(Duration::from_millis(20)).await;
    assert_eq!(scene.proxy.late(), 1);
    sleep(Duration::from_millis(150)).await;
    assert_eq!(arrives(&mut scene.server).await.unwrap(), EFFECT);
    assert_eq!(scene.proxy.late(), 0);
}

#[tokio::test]
async fn a_lost_request_never_arrives_and_its_connection_stays_for_a_while() {
    let mut scene = scene(Some((Phase::Request, Then::Lost))).await;
    scene.client.write_all(EFFECT).await.unwrap();
    scene.seen.recv().await.unwrap();
    drop(scene.client);
    scene.proxy.killed();
    assert_eq!(arrives(&mut scene.server).await.unwrap(), b"");
    assert_eq!(arrives(&mut scene.server).await.unwrap(), b"");
}

#[tokio::test]
async fn a_held_reply_is_seen_when_the_server_has_acted_and_can_be_released() {
    let mut scene = scene(Some((Phase::Reply, Then::Lost))).await;
    scene.client.write_all(EFFECT).await.unwrap();
    assert_eq!(arrives(&mut scene.server).await.unwrap(), EFFECT);
    assert!(scene.seen.try_recv().is_err(), "not done yet");
    scene.server.write_all(b"OK").await.unwrap();
    assert_eq!(scene.seen.recv().await.unwrap().phase, Phase::Reply);
    assert_eq!(arrives(&mut scene.client).await.unwrap(), b"");
    scene.proxy.release();
    assert_eq!(arrives(&mut scene.client).await.unwrap(), b"OK");
}

#[tokio::test]
async fn a_cut_breaks_only_what_holds_an_effect() {
    let mut scene = scene(Some((Phase::Request, Then::Lost))).await;
    scene.proxy.cut();
    assert_eq!(arrives(&mut scene.client).await.unwrap(), b"");
    scene.client.write_all(EFFECT).await.unwrap();
    scene.seen.recv().await.unwrap();
    scene.proxy.cut();
    assert_eq!(arrives(&mut scene.client).await, None);
    assert_eq!(arrives(&mut scene.server).await, None);
}

#[tokio::test]
async fn in_an_outage_new_connections_end_at_once() {
    let scene = scene(None).await;
    let over = scene.proxy.refuse(Duration::from_millis(100));
    let mut refused = TcpStream::connect(scene.proxy.address).await.unwrap();
    assert_eq!(arrives(&mut refused).await, None);
    over.await.unwrap();
    let mut again = TcpStream::connect(scene.proxy.address).await.unwrap();
    assert_eq!(arrives(&mut again).await.unwrap(), b"");
}
