//! TCP connections that can be cut, and that count what they took. Socket.io has no way to end a connection whose buffer is full but to say so through
//! that buffer, and a client that is told to go does not come back by itself; one whose connection breaks does.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A handle on a connection; it does not keep the connection.
#[derive(Debug, Clone)]
pub struct Line(Weak<Handle>);

/// What a connection shares with those who watch it.
#[derive(Debug, Default)]
struct Handle {
    cut: CancellationToken,
    /// How many bytes the system has taken for the other end.
    written: AtomicU64,
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
}

impl Cuttable {
    fn new(stream: TcpStream, handle: Arc<Handle>) -> Self {
        let cut = [(); 2].map(|()| Box::pin(handle.cut.clone().cancelled_owned()));
        Self { stream, cut, handle }
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.handle.written.fetch_add(u64::try_from(*bytes).unwrap_or(0), Relaxed);
        }
        written
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
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(1, context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(1, context)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
