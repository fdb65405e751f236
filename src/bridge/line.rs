//! TCP connections that can be cut, that count what they took, and that have a place. Socket.io has no way to end a
//! connection whose buffer is full but to say so through that buffer, and a client that is told to go does not come back by
//! itself; one whose connection breaks does. What hyper answers by itself gets its body here (see [`super::bare_answer`]).

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

use bytes::{Buf as _, Bytes};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{bare_answer, stages::Stages};
use crate::{
    auth::holder::Holder,
    domain::{places::Place, pool::Standing},
};

/// How much requests may hold together until they are answered, in bytes, before strangers who send long ones are cut; and
/// what each may have in any case.
const UNANSWERED: (usize, usize) = (16 * 1024 * 1024, 16 * 1024);

/// A handle on a connection; it does not keep the connection.
#[derive(Debug, Clone)]
pub struct Line(Weak<Handle>);

/// What a connection shares with those who watch it.
#[derive(Debug)]
pub struct Handle {
    pub cut: CancellationToken,
    /// How many bytes the system has taken for the other end.
    written: AtomicU64,
    stages: Mutex<Stages>,
    /// Among the HTTP connections, until it is no HTTP connection any more.
    place: Mutex<Option<(Place<Holder>, OwnedSemaphorePermit)>>,
    /// What requests of all connections hold that are not answered yet.
    unanswered: Arc<AtomicUsize>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let own = self.stages().take_unanswered();
        self.unanswered.fetch_sub(own, Relaxed);
    }
}

impl Handle {
    /// `unanswered` is shared by all connections.
    pub fn new(unanswered: Arc<AtomicUsize>) -> Self {
        Self {
            cut: CancellationToken::new(),
            written: AtomicU64::new(0),
            stages: Mutex::default(),
            place: Mutex::default(),
            unanswered,
        }
    }

    /// Bytes have come.
    ///
    /// # Errors
    /// When there is no room for a stranger's long request.
    fn read(&self, count: usize) -> io::Result<()> {
        let own = {
            let mut stages = self.stages();
            if !stages.read(count) {
                return Ok(());
            }
            stages.unanswered()
        };
        let all = self.unanswered.fetch_add(count, Relaxed) + count;
        let is_stranger = || self.place.lock().as_ref().is_some_and(|(place, _)| !place.is_known());
        if all > UNANSWERED.0 && own > UNANSWERED.1 && is_stranger() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    pub fn line(self: &Arc<Self>) -> Line {
        Line(Arc::downgrade(self))
    }

    pub fn take_place(&self, place: Place<Holder>, permit: OwnedSemaphorePermit) {
        *self.place.lock() = Some((place, permit));
    }

    pub fn stages(&self) -> MutexGuard<'_, Stages> {
        self.stages.lock()
    }

    fn with_place(&self, act: impl FnOnce(&Place<Holder>)) {
        if let Some((place, _)) = &*self.place.lock() {
            act(place);
        }
    }

    /// A request is there, whole.
    pub fn whole(&self) {
        self.with_place(Place::busy);
    }

    /// A request was answered.
    pub fn answered(&self) {
        let own = self.stages().answered();
        self.unanswered.fetch_sub(own, Relaxed);
        self.with_place(Place::waits);
    }

    /// The connection is a socket's, of which the same is known as before.
    pub fn upgraded(&self) {
        let own = self.stages().upgraded();
        self.unanswered.fetch_sub(own, Relaxed);
        self.with_place(Place::waits);
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

    /// Whether the connection is still there.
    pub fn is_there(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Somebody has shown a credential of this standing by it. It stays a stranger's where there is no room for more people
    /// who are known.
    pub fn known(&self, standing: Standing) {
        if let Some(handle) = self.0.upgrade() {
            handle.with_place(|place| {
                let _ = place.known(standing);
            });
        }
    }

    /// Whether the body of its request did not arrive in time; asked once.
    pub fn was_late(&self) -> bool {
        self.0.upgrade().is_some_and(|handle| std::mem::take(&mut handle.stages().late))
    }

    /// It counts among other connections from now on.
    pub fn leave_place(&self) {
        if let Some(handle) = self.0.upgrade() {
            let place = handle.place.lock().take();
            drop(place);
        }
    }
}

/// Who is at the other end of a connection, be it a proxy, and a handle on it.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    pub line: Line,
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
    pub fn new(stream: TcpStream, handle: Arc<Handle>) -> Self {
        let cut = [(); 2].map(|()| Box::pin(handle.cut.clone().cancelled_owned()));
        Self { stream, cut, handle, is_whole: true, substitute: Bytes::new() }
    }

    pub fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Waits until something has come, or the other end has gone.
    ///
    /// # Errors
    /// The socket's own.
    pub async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    fn count(&mut self, written: Poll<io::Result<usize>>, wanted: usize) -> Poll<io::Result<usize>> {
        self.handle.stages().wrote(written.is_pending());
        if let Poll::Ready(Ok(bytes)) = &written {
            self.handle.written.fetch_add(u64::try_from(*bytes).unwrap_or(0), Relaxed);
            self.is_whole = *bytes == wanted;
        }
        written
    }

    /// Whether these bytes are an answer of hyper's own; then another is sent for it.
    fn is_substituted(&mut self, bytes: &[u8]) -> bool {
        let may_be = self.is_whole && bytes.starts_with(b"HTTP/1.") && self.handle.stages().is_between_requests();
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
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        let count = into.filled().len() - before;
        if count > 0 {
            self.handle.read(count)?;
        }
        read
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
