//! Serves the router on a listener.

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::line::{Lines, Peer};

/// Serves until `stop`, then until the requests that were begun are answered. Open sockets hold that up: close
/// [`super::Realtime`] first.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> anyhow::Result<()> {
    let service = router.into_make_service_with_connect_info::<Peer>();
    axum::serve(Lines(listener), service).with_graceful_shutdown(stop.cancelled_owned()).await.map_err(Into::into)
}
