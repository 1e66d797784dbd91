//! Whether a login was a proof: the server asked for SCRAM.
//!
//! A client that is merely let in learns nothing: `trust` lets anybody in. With SCRAM the server
//! signs the exchange with a key that only the verifier of this very password yields (RFC 5802
//! section 3, `ServerSignature`), and the client library refuses a login whose signature is wrong or
//! missing once the server has begun with SCRAM. PostgreSQL keeps one verifier a role. So a login
//! that began with SCRAM and succeeded shows at once that the value works, that passwords are
//! checked, and that any other value is refused there.
//!
//! The library does not tell how a login began, so its first message is looked at as it comes by:
//! `R`, a length, and the number 10 are `AuthenticationSASL` (PostgreSQL's documentation, section
//! "Message Formats").

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// Type, length and number of an authentication message.
const HEAD: usize = 9;
/// `AuthenticationSASL`.
const SASL: [u8; 4] = 10i32.to_be_bytes();

/// What was seen of a login; shared with the stream that sees it.
#[derive(Clone, Default)]
pub(super) struct Witness(Arc<AtomicBool>);

impl Witness {
    /// Whether the server began with SCRAM.
    pub(super) fn saw_scram(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Looks at what `stream` receives. Over TLS it has to be what comes out of it.
    pub(super) fn of<S>(&self, stream: S) -> Witnessed<S> {
        Witnessed {
            stream,
            head: [0; HEAD],
            filled: 0,
            witness: self.clone(),
        }
    }
}

/// A stream whose first message is looked at.
pub(super) struct Witnessed<S> {
    stream: S,
    head: [u8; HEAD],
    filled: usize,
    witness: Witness,
}

impl<S> Witnessed<S> {
    fn look(&mut self, received: &[u8]) {
        let some = received.len().min(HEAD - self.filled);
        self.head[self.filled..self.filled + some].copy_from_slice(&received[..some]);
        self.filled += some;
        if self.filled == HEAD && self.head[0] == b'R' && self.head[5..] == SASL {
            self.witness.0.store(true, Ordering::Release);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Witnessed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if self.filled < HEAD {
            self.look(&buffer.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Witnessed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Witnessed<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

/// TLS, and then the witness.
pub(super) struct WitnessedTls<T> {
    pub(super) tls: T,
    pub(super) witness: Witness,
}

impl<S, T> TlsConnect<S> for WitnessedTls<T>
where
    T: TlsConnect<S>,
    T::Stream: Unpin,
    T::Future: Send + 'static,
{
    type Stream = Witnessed<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, T::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connecting = self.tls.connect(stream);
        Box::pin(async move { Ok(self.witness.of(connecting.await?)) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use tokio::io::AsyncReadExt as _;

    use super::*;

    async fn saw(messages: &[u8], piece: usize) -> bool {
        let witness = Witness::default();
        let pieces = Pieces(messages.to_vec(), piece);
        let mut read = Vec::new();
        witness.of(pieces).read_to_end(&mut read).await.unwrap();
        assert_eq!(read, messages);
        witness.saw_scram()
    }

    /// Gives out what it holds piece by piece, as a network does.
    struct Pieces(Vec<u8>, usize);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let some = self.0.len().min(self.1).min(buffer.remaining());
            let rest = self.0.split_off(some);
            buffer.put_slice(&std::mem::replace(&mut self.0, rest));
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn scram_is_seen_however_the_bytes_arrive() {
        let scram = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0R\0\0\0\x08\0\0\0\0";
        for piece in 1..=scram.len() {
            assert!(saw(scram, piece).await, "{piece}");
        }
    }

    #[tokio::test]
    async fn being_let_in_or_asked_in_another_way_is_no_proof() {
        let let_in = b"R\0\0\0\x08\0\0\0\0R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";
        let clear = b"R\0\0\0\x08\0\0\0\x03";
        let md5 = b"R\0\0\0\x0c\0\0\0\x05salt";
        let refused = b"E\0\0\0\x09\0\0\0\x0a";
        for other in [&let_in[..], clear, md5, refused, b"R\0\0", b""] {
            for piece in [1, 3, 9, 100] {
                assert!(!saw(other, piece).await);
            }
        }
    }
}
