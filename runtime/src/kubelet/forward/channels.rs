//! Ports over the channels of a WebSocket: the bytes of the n-th on channel 2n, what goes wrong with it on 2n + 1. On
//! both the port is sent first, as two bytes, the lower one first.
//!
//! Each port carries one connection. The session ends when all have ended.

use futures::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::{Rest, Target};
use crate::kubelet::streams::channels::{Channels, Codec};
use crate::kubelet::streams::pipe::{Inlet, Outlet};
use crate::kubelet::streams::{LINGER, together};

pub(super) async fn serve<S>(
    connection: S,
    protocol: &str,
    ports: Vec<u16>,
    target: Target,
    ends: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let codec = if protocol.contains("base64") { Codec::Base64 } else { Codec::Binary };
    let mut channels = Channels::new(codec);
    let mut forwarded = Vec::new();
    // There are fewer than half as many ports as channels.
    for (port, data) in ports.into_iter().zip((0..u8::MAX).step_by(2)) {
        let (inlet, outlet, error) = (channels.inlet(data), channels.outlet(data), channels.outlet(data + 1));
        forwarded.push(forward(&target, port, inlet, outlet, error));
    }
    let work = async {
        join_all(forwarded).await;
    };
    together(work, channels.carry(connection), ends, LINGER).await;
}

async fn forward(target: &Target, port: u16, mut inlet: Inlet, mut outlet: Outlet, mut error: Outlet) {
    // A client that is gone does not hear it, and need not.
    let _ = outlet.write_all(&port.to_le_bytes()).await;
    let _ = error.write_all(&port.to_le_bytes()).await;
    if let Err(why) = target.forward(port, &mut inlet, &mut outlet, Rest::Dropped).await {
        let _ = error.write_all(why.as_bytes()).await;
    }
}
