//! Many bodies at once, over real connections.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use pentad_api::Options;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::world::World;

/// Of the budget below there is room for one such body, not for two.
const LARGE: usize = 2 << 20;

struct Server {
    world: World,
    address: SocketAddr,
    token: String,
}

impl Server {
    async fn new() -> Self {
        let world = World::with(Options {
            body_budget: 4 << 20,
            ..Options::default()
        })
        .await;
        let token = world.token("writer", &["admin"]).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = world
            .router
            .clone()
            .into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self {
            world,
            address,
            token,
        }
    }

    /// A connection on which a put of so many bytes was announced.
    async fn announce(&self, length: usize) -> TcpStream {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "PUT /v1/credentials/a/b HTTP/1.1\r\nhost: pentad\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n",
            self.token
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        connection
    }

    async fn put(&self, body: &[u8]) -> String {
        let mut connection = self.announce(body.len()).await;
        // Whoever is refused may not be heard to the end.
        let _ = connection.write_all(body).await;
        answer(&mut connection).await
    }
}

async fn answer(connection: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = connection.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

const SMALL: &[u8] = br#"{"kind": "secret", "value": "a-small-one", "accept_weak": true}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unfinished_bodies_is_refused_and_small_ones_pass_beside_it() {
    let server = Server::new().await;
    let mut flood = JoinSet::new();
    for _ in 0..6 {
        let mut connection = server.announce(LARGE).await;
        flood.spawn(async move {
            let _ = connection.write_all(&vec![b' '; LARGE - 1]).await;
            let mut first = [0];
            let read = connection.read_exact(&mut first).await;
            let rest = answer(&mut connection).await;
            read.map(|_| format!("{}{rest}", char::from(first[0])))
        });
    }
    for _ in 0..5 {
        let refused = flood.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(status(&refused), "503", "{refused}");
        assert!(refused.contains("/problems/queue-full"), "{refused}");
        assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
    }
    // The sixth has its place, and waits for its last byte.
    assert_eq!(status(&server.put(&vec![b' '; LARGE]).await), "503");
    let small = server.put(SMALL).await;
    assert_eq!(status(&small), "201", "{small}");
    assert_eq!(server.world.get("/v1/values/a/b").await.status, 200);

    // Whoever breaks off gives back what was held.
    flood.abort_all();
    crate::world::until(|| async {
        let heard = server.put(&vec![b' '; LARGE]).await;
        (status(&heard) == "400").then_some(())
    })
    .await;
}

/// A client that comes again at once would keep the processors busy with what is thrown away.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_end_is_refused_with_its_problem_and_not_at_once() {
    let server = Server::new().await;
    let connection = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "PUT /v1/credentials/a/b HTTP/1.1\r\nhost: pentad\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        server.token
    );
    let (mut reads, mut writes) = connection.into_split();
    let begun = Instant::now();
    let pours = tokio::spawn(async move {
        writes.write_all(head.as_bytes()).await.unwrap();
        let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
        while writes.write_all(chunk.as_bytes()).await.is_ok() {}
    });
    let mut heard = Vec::new();
    let _ = reads.read_to_end(&mut heard).await;
    let heard = String::from_utf8(heard).unwrap();
    assert_eq!(status(&heard), "413", "{heard}");
    assert!(heard.contains("/problems/too-large"), "{heard}");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    pours.await.unwrap();

    // Whoever says beforehand how much it would be is told at once.
    let begun = Instant::now();
    let told = answer(&mut server.announce(LARGE + 1).await).await;
    assert_eq!(status(&told), "413", "{told}");
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_for_a_body_is_given_back_with_its_answer() {
    let server = Server::new().await;
    let body = vec![b' '; LARGE];
    for _ in 0..4 {
        let heard = server.put(&body).await;
        assert_eq!(status(&heard), "400", "{heard}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_known_yet_sends_little() {
    let world = World::new().await;
    let login = |length: usize| {
        let call = world.call("POST /v1/login");
        call.raw(vec![b' '; length]).send()
    };
    assert_eq!(login(16 << 10).await.problem().0, 400);
    assert_eq!(login((16 << 10) + 1).await.problem().0, 413);
}
