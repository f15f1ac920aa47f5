//! A tcpSocket probe: healthy is who accepts a connection.

use std::time::Duration;

use k8s_openapi::api::core::v1::TCPSocketAction;

use super::Answer;
use super::place::{self, Refusal};
use crate::pods::launch::Order;

/// Connects, and hangs up.
pub(super) async fn ask(order: &Order, action: &TCPSocketAction, patience: Duration) -> Answer {
    let port = match place::port(&action.port, &order.container) {
        Ok(port) => port,
        Err(why) => return Answer::Unknown(why),
    };
    let host = place::host(action.host.as_deref(), order);
    match tokio::time::timeout(patience, place::connect(order, &host, port)).await {
        Ok(Ok(_connected)) => Answer::Healthy,
        Ok(Err(Refusal::NobodyListens(why))) => Answer::NobodyListens(why),
        Ok(Err(Refusal::Other(why))) => Answer::Unhealthy(why),
        Err(_) => Answer::Unhealthy(format!("dial tcp {}: i/o timeout", place::authority(&host, port))),
    }
}
