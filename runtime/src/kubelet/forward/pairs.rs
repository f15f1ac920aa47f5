//! Ports over streams of SPDY: for each connection a client begins two, of the types `error` and `data`, with the same
//! `requestid`, and both with the `port`.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Rest, Target, port_of};
use crate::kubelet::streams::spdy::{Begun, Connection, Headers};
use crate::kubelet::streams::{LINGER, together};

/// How long the second stream of a pair may take to come: the kubelet's `streamCreationTimeout`.
const PAIR_WITHIN: Duration = Duration::from_secs(30);

/// How long to sleep while no pair is waited for.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) async fn serve<S>(connection: S, target: Target, ends: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite,
{
    let (spdy, mut streams, hold) = Connection::new(is_welcome);
    let work = async move {
        let _hold = hold;
        let mut halves = Halves::default();
        let mut forwards = JoinSet::new();
        loop {
            let patience = halves.first_deadline().unwrap_or_else(|| Instant::now() + LONG);
            tokio::select! {
                begun = streams.recv() => {
                    let Some(begun) = begun else { break };
                    if let Some(pair) = halves.join(begun, Instant::now()) {
                        forwards.spawn(forward(target.clone(), pair));
                    }
                }
                Some(_) = forwards.join_next() => {}
                () = sleep_until(patience) => {
                    for late in halves.take_late(Instant::now()) {
                        forwards.spawn(give_up(late));
                    }
                }
            }
        }
        // What the client has sent before it left still reaches the pod.
        while forwards.join_next().await.is_some() {}
    };
    together(work, spdy.carry(connection), ends, LINGER).await;
}

/// Whether a stream says what it is for.
fn is_welcome(headers: &Headers) -> bool {
    let kind = headers.get("streamtype");
    port(headers).is_some() && matches!(kind, Some("error" | "data"))
}

fn port(headers: &Headers) -> Option<u16> {
    port_of(headers.get("port")?).ok()
}

/// Both streams of a connection.
struct Pair {
    data: Begun,
    error: Begun,
}

/// Streams that wait for their other half.
#[derive(Default)]
struct Halves(BTreeMap<String, (Instant, Begun)>);

impl Halves {
    /// The pair that this stream completes.
    fn join(&mut self, begun: Begun, now: Instant) -> Option<Pair> {
        let is_data = |begun: &Begun| begun.headers.get("streamtype") == Some("data");
        // Old clients name no request: their streams are neighbours, the one for errors first.
        let named = begun.headers.get("requestid").filter(|id| !id.is_empty()).map(str::to_owned);
        let id = named.unwrap_or_else(|| begun.id.saturating_sub(if is_data(&begun) { 2 } else { 0 }).to_string());
        match self.0.remove(&id) {
            Some((_, half)) if is_data(&half) != is_data(&begun) => {
                let (data, error) = if is_data(&begun) { (begun, half) } else { (half, begun) };
                Some(Pair { data, error })
            }
            // A second one of the same type takes the place of the first.
            Some(_) | None => {
                self.0.insert(id, (now + PAIR_WITHIN, begun));
                None
            }
        }
    }

    fn first_deadline(&self) -> Option<Instant> {
        self.0.values().map(|(deadline, _)| *deadline).min()
    }

    /// Those that have waited for too long.
    fn take_late(&mut self, now: Instant) -> Vec<Begun> {
        let late: Vec<String> =
            self.0.iter().filter(|(_, (deadline, _))| *deadline <= now).map(|(id, _)| id.clone()).collect();
        late.iter().filter_map(|id| self.0.remove(id)).map(|(_, begun)| begun).collect()
    }
}

async fn forward(target: Target, mut pair: Pair) {
    let port = port(&pair.data.headers).unwrap_or_default();
    let Begun { inlet, outlet, .. } = &mut pair.data;
    if let Err(why) = target.forward(port, inlet, outlet, Rest::Carried).await {
        let _ = pair.error.outlet.write_all(why.as_bytes()).await;
    }
    // The client may be gone, and then nobody needs to know.
    let _ = pair.error.outlet.shutdown().await;
    let _ = pair.data.outlet.shutdown().await;
}

async fn give_up(mut begun: Begun) {
    if begun.headers.get("streamtype") == Some("error") {
        let _ = begun.outlet.write_all(b"timed out waiting for streams").await;
    }
    let _ = begun.outlet.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubelet::streams::spdy::begun;

    #[tokio::test(start_paused = true)]
    async fn streams_find_each_other_by_their_request() {
        let mut halves = Halves::default();
        let now = Instant::now();
        assert!(halves.join(begun(1, &[("streamtype", "error"), ("requestid", "7")]), now).is_none());
        assert!(halves.join(begun(3, &[("streamtype", "error"), ("requestid", "8")]), now).is_none());
        let pair = halves.join(begun(5, &[("streamtype", "data"), ("requestid", "7")]), now).unwrap();
        assert_eq!((pair.error.id, pair.data.id), (1, 5));
        assert_eq!(halves.first_deadline(), Some(now + PAIR_WITHIN));
        assert!(halves.take_late(now).is_empty());
        assert_eq!(halves.take_late(now + PAIR_WITHIN).len(), 1);
        assert_eq!(halves.first_deadline(), None);
    }

    #[tokio::test]
    async fn streams_of_old_clients_are_neighbours() {
        let mut halves = Halves::default();
        let now = Instant::now();
        assert!(halves.join(begun(1, &[("streamtype", "error")]), now).is_none());
        let pair = halves.join(begun(3, &[("streamtype", "data")]), now).unwrap();
        assert_eq!((pair.error.id, pair.data.id), (1, 3));
    }

    #[test]
    fn only_streams_that_say_what_they_are_for_are_taken() {
        let check = |pairs: &[(&str, &str)]| is_welcome(&Headers::of(pairs));
        assert!(check(&[("streamtype", "data"), ("port", "80")]));
        assert!(!check(&[("streamtype", "data")]));
        assert!(!check(&[("streamtype", "data"), ("port", "0")]));
        assert!(!check(&[("streamtype", "stdin"), ("port", "80")]));
    }
}
