//! A request to an HTTP program of this process: handed to its server as it is, without a socket between them.
//!
//! Invariant: the two guests cannot tell. What a connection would have done is done here: bodies that a method does
//! not have are left out, a server that is stopping is as good as gone, bytes are counted on both sides.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use coracle_api::meet::ConnectionHandler;
use http::{Method, Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, WasiBody};

use super::timed::Timed;
use super::{Limits, Sent};
use crate::serve::{Front, Unserved};
use crate::sockets::Pod;
use crate::traffic::Counters;

/// The server that takes connections there, if it is one of ours.
pub(super) fn front(handler: Arc<dyn ConnectionHandler>) -> Option<Arc<Front>> {
    let handler: Arc<dyn Any + Send + Sync> = handler;
    handler.downcast().ok()
}

/// Why there is no answer.
pub(super) enum Failure {
    /// The server is stopping. Nothing of the request was used: another may be asked.
    Untaken(Box<Request<WasiBody>>),
    /// The guest is told.
    Failed(Error),
}

/// Asks the server behind `front`.
pub(super) async fn ask(pod: &Pod, front: &Front, request: Request<WasiBody>, limits: Limits) -> Result<Sent, Failure> {
    let method = request.method().clone();
    let (ours, theirs) = (pod.counters(), front.counters());
    let request = request.map(|body| Handed::new(body, ours, theirs));
    let response = match timeout(limits.first_byte, front.ask(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(Unserved::Untaken(request))) => {
            return Err(Failure::Untaken(Box::new(request.map(|handed| handed.body))));
        }
        Ok(Err(Unserved::BrokeOff)) => return Err(Failure::Failed(Error::ConnectionTerminated)),
        Err(_) => return Err(Failure::Failed(Error::ConnectionReadTimeout)),
    };
    let response = if has_no_body(&method, response.status()) {
        response.map(|_| Empty::new().map_err(|never| match never {}).boxed_unsync())
    } else {
        response.map(|body| Timed::new(Handed::new(body, theirs, ours), limits.between_bytes).boxed_unsync())
    };
    Ok((response, Box::new(std::future::ready(Ok(())))))
}

fn has_no_body(method: &Method, status: StatusCode) -> bool {
    method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// A body on its way from one container to another.
struct Handed<B> {
    body: B,
    from: Arc<Counters>,
    to: Arc<Counters>,
}

impl<B> Handed<B> {
    fn new(body: B, from: &Arc<Counters>, to: &Arc<Counters>) -> Self {
        Self { body, from: from.clone(), to: to.clone() }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Handed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let poll = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &poll
            && let Some(data) = frame.data_ref()
        {
            self.from.sent(data.len());
            self.to.received(data.len());
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
