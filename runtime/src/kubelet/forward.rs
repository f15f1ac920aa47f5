//! `portForward`: connections to a pod's ports, as from within the pod.
//!
//! Three ways lead here: streams of SPDY in pairs, one for the bytes and one for what goes wrong; the same within a
//! WebSocket; and channels of a WebSocket, two for each port. A port that nobody listens on is told, and the session
//! goes on.

mod channels;
mod pairs;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use coracle_api::meet::{Attachment, ConnectError, Protocol};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, copy_buf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::streams::negotiate::{Agreed, Offer, Transport, agree};
use super::streams::pipe::{Inlet, Outlet, PIECE_BYTES_MAX};
use super::streams::tunnel::Tunnel;
use super::streams::{Refusal, bad_request};
use crate::pods::{Attached, in_words};

const PROTOCOL: &str = "portforward.k8s.io";

const OFFER: Offer = Offer {
    websocket: &["v4.channel.k8s.io", "v4.base64.channel.k8s.io", ""],
    spdy: &[PROTOCOL],
    tunnelled: &[PROTOCOL],
};

/// How many ports one WebSocket can name: two channels each, by a number of one byte.
const PORTS_MAX: usize = 127;

/// What was agreed on with a client: a protocol, and the ports if they stand in the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) agreed: Agreed,
    ports: Vec<u16>,
}

impl Asked {
    /// Reads the headers and the query. The latter names ports for the channels of a WebSocket only.
    ///
    /// # Errors
    /// The kubelet's words.
    pub(super) fn read(headers: &HeaderMap, query: &str) -> Result<Self, Refusal> {
        let agreed = agree(headers, OFFER)?;
        let ports = match agreed.transport {
            Transport::WebSocket => ports(query).map_err(|text| bad_request(&text))?,
            Transport::Spdy | Transport::Tunnel => Vec::new(),
        };
        Ok(Self { agreed, ports })
    }
}

fn ports(query: &str) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    for (_, listed) in form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "port") {
        if listed.is_empty() {
            return Err(r#"query parameter "port" cannot be empty"#.to_owned());
        }
        for port in listed.split(',') {
            ports.push(port_of(port)?);
        }
    }
    match ports.len() {
        0 => Err(r#"query parameter "port" is required"#.to_owned()),
        1..=PORTS_MAX => Ok(ports),
        many => Err(format!("at most {PORTS_MAX} ports can be forwarded by one WebSocket, not {many}")),
    }
}

/// A port of this text.
fn port_of(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) => Err(format!("port {text:?} must be > 0")),
        Ok(port) => Ok(port),
        Err(_) => Err(format!("unable to parse {text:?} as a port")),
    }
}

/// Serves a session to its end: that of the client, of the pod or of the node.
pub(super) async fn serve<S>(connection: S, asked: Asked, attached: Attached, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let target = Target { attachment: attached.attachment, uid: attached.uid };
    let ends = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = attached.gone.cancelled() => {}
        }
    };
    match asked.agreed.transport {
        Transport::WebSocket => channels::serve(connection, asked.agreed.protocol, asked.ports, target, ends).await,
        Transport::Spdy => pairs::serve(connection, target, ends).await,
        Transport::Tunnel => pairs::serve(Tunnel::new(connection).await, target, ends).await,
    }
}

/// The pod.
#[derive(Clone)]
struct Target {
    attachment: Arc<dyn Attachment>,
    uid: String,
}

/// What becomes of the client's half of a connection when the pod has said all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// The client is told, and may go on.
    Carried,
    /// It cannot be told but by the end of all.
    Dropped,
}

impl Target {
    /// Forwards one connection until both sides have said all.
    ///
    /// # Errors
    /// A sentence for the client, if there is no connection.
    async fn forward(&self, port: u16, inlet: &mut Inlet, outlet: &mut Outlet, rest: Rest) -> Result<(), String> {
        let connected = self.connect(port).await.map_err(|why| {
            // The words that people search for.
            format!(
                "error forwarding port {port} to pod {}, uid : failed to connect to localhost:{port}: {why}",
                self.uid
            )
        })?;
        let (pod_says, mut pod_hears) = connected.into_split();
        let up = async {
            let mut from = BufReader::with_capacity(PIECE_BYTES_MAX, inlet);
            let copied = copy_buf(&mut from, &mut pod_hears).await;
            let _ = pod_hears.shutdown().await;
            // A client that threw the stream away waits for nothing any more: that error is ours, and has words. A pod
            // that reads no more may still write: that one is the system's, and has a number.
            match copied {
                Err(error) if error.get_ref().is_some() => Err(()),
                Ok(_) | Err(_) => Ok(()),
            }
        };
        let down = async {
            let mut from = BufReader::with_capacity(PIECE_BYTES_MAX, pod_says);
            // A pod that breaks off has said all, as one that ends.
            let _ = copy_buf(&mut from, outlet).await;
            let _ = outlet.shutdown().await;
            if rest == Rest::Dropped { Err(()) } else { Ok(()) }
        };
        let _ = tokio::try_join!(up, down);
        Ok(())
    }

    /// Connects as a process in the pod would.
    async fn connect(&self, port: u16) -> Result<TcpStream, String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let refused = || format!("dial tcp4 {address}: connect: connection refused");
        let real = self.attachment.connect(Protocol::Tcp, address).map_err(|error| match error {
            ConnectError::Refused => refused(),
            ConnectError::Denied => format!("dial tcp4 {address}: {error}"),
        })?;
        let connected = TcpStream::connect(real).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => refused(),
            _ => format!("dial tcp4 {address}: connect: {}", in_words(&error)),
        })?;
        // What a person types shall not wait for more.
        let _ = connected.set_nodelay(true);
        Ok(connected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_the_query() {
        assert_eq!(ports("port=80&port=81%2C82&x=1"), Ok(vec![80, 81, 82]));
        assert_eq!(ports("x=1"), Err(r#"query parameter "port" is required"#.to_owned()));
        assert_eq!(ports("port="), Err(r#"query parameter "port" cannot be empty"#.to_owned()));
        assert_eq!(ports("port=0"), Err(r#"port "0" must be > 0"#.to_owned()));
        assert_eq!(ports("port=65536"), Err(r#"unable to parse "65536" as a port"#.to_owned()));
        assert!(ports(&"port=1&".repeat(128)).is_err());
    }
}
