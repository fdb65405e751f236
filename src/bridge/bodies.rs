//! The bodies of requests and answers: on their way they tell the connection how far it is with its request
//! (see [`super::stages`]).

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::StatusCode,
    response::Response,
};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use super::line::Handle;

/// A request's body on its way: it has to be there within a time, and then the request is whole.
#[derive(Debug)]
pub struct Arriving {
    handle: Arc<Handle>,
    within: Duration,
}

impl Arriving {
    /// A head is whole.
    pub fn new(handle: Arc<Handle>, within: Duration) -> Self {
        handle.stages().begin();
        Self { handle, within }
    }

    pub fn of(self, incoming: Incoming) -> ArrivingBody {
        if incoming.is_end_stream() {
            self.handle.whole();
        }
        ArrivingBody { incoming, handle: self.handle, within: self.within, deadline: None }
    }
}

/// The body itself.
#[derive(Debug)]
pub struct ArrivingBody {
    incoming: Incoming,
    handle: Arc<Handle>,
    within: Duration,
    /// Made when the body has to be waited for.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl hyper::body::Body for ArrivingBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            if frame.is_none() || self.incoming.is_end_stream() {
                self.handle.whole();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        }
        let within = self.within;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(within)));
        if deadline.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.handle.stages().late = true;
        Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// An answer on its way: when it is gone, the connection waits for the next request.
#[derive(Debug)]
pub struct Answered {
    body: Body,
    /// Says so when it is dropped.
    _done: Done,
}

#[derive(Debug)]
struct Done(Arc<Handle>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.answered();
    }
}

impl Answered {
    pub fn response(response: Response, handle: Arc<Handle>) -> Response<Self> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            handle.upgraded();
        }
        response.map(|body| Self { body, _done: Done(handle) })
    }
}

impl hyper::body::Body for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
