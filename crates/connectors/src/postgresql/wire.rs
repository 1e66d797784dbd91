//! PostgreSQL's messages over a byte stream, as far as a login needs them (PostgreSQL's documentation,
//! chapter "Frontend/Backend Protocol").
//!
//! A server that sends what no login has, or more of it than any has, is an error after a bounded
//! number of bytes; how long it may take is its user's bound.

use std::io;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend::{ErrorResponseBody, Header, Message};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroize as _;

/// The longest message that is waited for. Parameters and errors are the longest that a login has.
const MESSAGE: usize = 64 << 10;
/// All that a server may send before it is ready.
const LOGIN: usize = 1 << 20;
/// What is kept of a server's words.
const WORDS: usize = 1000;

/// The server refused: an `ErrorResponse`, whatever its severity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    /// Its SQLSTATE.
    pub(super) code: String,
    /// Its words.
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn of(body: &ErrorResponseBody) -> Self {
        let (mut code, mut message) = (String::new(), String::new());
        let mut fields = body.fields();
        while let Ok(Some(field)) = fields.next() {
            let text = || String::from_utf8_lossy(field.value_bytes());
            match field.type_() {
                b'C' => code = text().chars().take(5).collect(),
                b'M' => message = text().chars().take(WORDS).collect(),
                _ => {}
            }
        }
        Self { code, message }
    }
}

/// A stream of messages.
pub(super) struct Wire<S> {
    pub(super) stream: S,
    received: BytesMut,
    /// How many bytes the server may still send.
    left: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            received: BytesMut::new(),
            left: LOGIN,
        }
    }

    /// Sends what `write` makes. It may hold a password, so it is wiped.
    pub(super) async fn send(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> io::Result<()> {
        // Large enough for every message here, so that no copy is left behind by growing.
        let mut message = BytesMut::with_capacity(4096);
        let written = write(&mut message);
        let sent = match written {
            Ok(()) => self.stream.write_all(&message).await,
            Err(error) => Err(error),
        };
        message.zeroize();
        sent?;
        self.stream.flush().await
    }

    /// The next message.
    pub(super) async fn next(&mut self) -> io::Result<Message> {
        loop {
            if let Some(header) = Header::parse(&self.received)? {
                let length = usize::try_from(header.len()).unwrap_or(usize::MAX);
                if length > MESSAGE {
                    return Err(too_much());
                }
                if let Some(message) = Message::parse(&mut self.received)? {
                    return Ok(message);
                }
            }
            let received = self.stream.read_buf(&mut self.received).await?;
            if received == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server closed the connection",
                ));
            }
            self.left = self.left.checked_sub(received).ok_or_else(too_much)?;
        }
    }
}

fn too_much() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the server sends more than a login has",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    /// Reads all messages of what a server sends, in pieces as a network gives them out.
    async fn read(bytes: Vec<u8>, piece: usize) -> (usize, io::Error) {
        let (client, mut server) = tokio::io::duplex(piece);
        let sending = async move {
            let _ = server.write_all(&bytes).await;
        };
        let reading = async move {
            let mut wire = Wire::new(client);
            let mut messages = 0;
            loop {
                match wire.next().await {
                    Ok(_) => messages += 1,
                    Err(error) => return (messages, error),
                }
            }
        };
        tokio::join!(sending, reading).1
    }

    #[tokio::test]
    async fn messages_are_read_however_they_are_cut() {
        let bytes = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x01\0\0\0\x02Z\0\0\0\x05I";
        for piece in [1, 2, 5, 100] {
            let (messages, error) = read(bytes.to_vec(), piece).await;
            assert_eq!(messages, 3, "{piece}");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test]
    async fn more_than_a_login_has_is_refused_and_not_kept() {
        let (messages, error) = read(b"E\x7f\xff\xff\xff".to_vec(), 100).await;
        assert_eq!((messages, error.kind()), (0, io::ErrorKind::InvalidData));
        let notice = [b"N\0\0\x10\x04".to_vec(), vec![0; 4096]].concat();
        let (messages, error) = read(notice.repeat(1000), 1 << 16).await;
        assert!(messages < 300, "{messages}");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn what_is_sent_is_what_was_written() {
        let (client, mut server) = tokio::io::duplex(100);
        let mut wire = Wire::new(client);
        wire.send(|buffer| {
            buffer.extend_from_slice(b"secret");
            Ok(())
        })
        .await
        .unwrap();
        drop(wire);
        let mut sent = Vec::new();
        server.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent, b"secret");
    }

    proptest! {
        #[test]
        fn whatever_a_server_sends_ends_in_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            piece in 1usize..64,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(read(bytes, piece));
        }

        #[test]
        fn whatever_is_in_a_message_of_its_own_ends_in_an_error(
            tag in prop::sample::select(b"RESKNZv".to_vec()),
            body in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            let mut bytes = BytesMut::from(&[&[tag][..], &length, &body].concat()[..]);
            if let Ok(Some(Message::ErrorResponse(body))) = Message::parse(&mut bytes) {
                let refusal = Refusal::of(&body);
                prop_assert!(refusal.code.chars().count() <= 5);
            }
        }
    }
}
