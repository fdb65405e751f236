//! TCP connections that can be cut, and that count what they took. Socket.io has no way to end a connection whose buffer
//! is full but to say so through that buffer, and a client that is told to go does not come back by itself; one whose
//! connection breaks does. What hyper answers by itself gets its body here (see [`super::bare_answer`]).

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use bytes::{Buf as _, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::bare_answer;

/// A handle on a connection; it does not keep the connection.
#[derive(Debug, Clone)]
pub struct Line(Weak<Handle>);

/// What a connection shares with those who watch it.
#[derive(Debug, Default)]
struct Handle {
    cut: CancellationToken,
    /// How many bytes the system has taken for the other end.
    written: AtomicU64,
    /// How many answers of the routes are not wholly handed over yet.
    answering: AtomicUsize,
}

/// Held while an answer of the routes is being made and handed over: what goes out meanwhile is no answer of hyper's own.
#[derive(Debug)]
pub struct Answering(Option<Arc<Handle>>);

impl Answering {
    /// The connection speaks something else than HTTP from now on.
    pub fn for_ever(mut self) {
        self.0 = None;
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.answering.fetch_sub(1, Relaxed);
        }
    }
}

impl Line {
    /// Cuts the connection: its reader and its writer fail at once.
    pub fn cut(&self) {
        if let Some(handle) = self.0.upgrade() {
            handle.cut.cancel();
        }
    }

    /// How many bytes have gone out by it. What the other end does not read stands still here, but for what the system
    /// keeps for it.
    pub fn written(&self) -> u64 {
        self.0.upgrade().map_or(0, |handle| handle.written.load(Relaxed))
    }

    /// An answer of the routes is begun.
    pub fn answering(&self) -> Answering {
        let handle = self.0.upgrade();
        if let Some(handle) = &handle {
            handle.answering.fetch_add(1, Relaxed);
        }
        Answering(handle)
    }

    /// Whether the connection is still there.
    pub fn is_there(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// Who is at the other end of a connection, be it a proxy, and a handle on it.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    pub line: Line,
}

impl Connected<IncomingStream<'_, Lines>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.remote_addr().clone()
    }
}

/// A listener whose connections can be cut.
#[derive(Debug)]
pub struct Lines(pub TcpListener);

impl Listener for Lines {
    type Io = Cuttable;
    type Addr = Peer;

    async fn accept(&mut self) -> (Cuttable, Peer) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Events are small and are to be seen at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, "TCP_NODELAY: {error}");
        }
        let handle = Arc::new(Handle::default());
        let line = Line(Arc::downgrade(&handle));
        (Cuttable::new(stream, handle), Peer { address, line })
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { address: self.0.local_addr()?, line: Line(Weak::new()) })
    }
}

/// A connection that can be cut.
#[derive(Debug)]
pub struct Cuttable {
    stream: TcpStream,
    /// One for the reader and one for the writer, which may be different tasks: each wakes one.
    cut: [Pin<Box<WaitForCancellationFutureOwned>>; 2],
    handle: Arc<Handle>,
    /// Whether all that was to be written last has been: what comes next is not the rest of it.
    is_whole: bool,
    /// What goes out in the place of an answer of hyper's own.
    substitute: Bytes,
}

impl Cuttable {
    fn new(stream: TcpStream, handle: Arc<Handle>) -> Self {
        let cut = [(); 2].map(|()| Box::pin(handle.cut.clone().cancelled_owned()));
        Self { stream, cut, handle, is_whole: true, substitute: Bytes::new() }
    }

    fn count(&mut self, written: Poll<io::Result<usize>>, wanted: usize) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.handle.written.fetch_add(u64::try_from(*bytes).unwrap_or(0), Relaxed);
            self.is_whole = *bytes == wanted;
        }
        written
    }

    /// Whether these bytes are an answer of hyper's own; then another is sent for it.
    fn is_substituted(&mut self, bytes: &[u8]) -> bool {
        let may_be = self.is_whole && bytes.starts_with(b"HTTP/1.") && self.handle.answering.load(Relaxed) == 0;
        if may_be && let Some(answer) = bare_answer::in_place_of(bytes) {
            self.substitute = answer;
            return true;
        }
        false
    }

    /// Sends what is left of the substitute.
    fn send_substitute(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.substitute.has_remaining() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.substitute))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.substitute.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn check(&mut self, side: usize, context: &mut Context<'_>) -> io::Result<()> {
        match self.cut[side].as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Cuttable {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(0, context)?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(1, context)?;
        ready!(self.send_substitute(context))?;
        if self.is_substituted(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(written, bytes.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(1, context)?;
        ready!(self.send_substitute(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send_substitute(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(1, context)?;
        ready!(self.send_substitute(context))?;
        let wanted = bytes.iter().map(|slice| slice.len()).sum();
        if let [slice] = bytes
            && self.is_substituted(slice)
        {
            return Poll::Ready(Ok(wanted));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.count(written, wanted)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
