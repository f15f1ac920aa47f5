//! `exec` and `attach`: a command's streams to and from a client.
//!
//! Five streams at most: stdin, stdout, stderr, one on which the end is told, and one that brings the sizes of the
//! client's terminal. A client that leaves ends the command.

use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::channels::{Channels, Codec};
use super::negotiate::{Agreed, Offer, Transport};
use super::pipe::{Inlet, Outlet};
use super::spdy::{Begun, Connection};
use super::status::{self, Form};
use super::{Refusal, bad_request, together};
use crate::kubelet::session::{self, Command, Exit, Place, Sessions, Size, Streams};

/// What the node speaks: each version adds to the one before. The fifth can tell the end of stdin over a WebSocket, the
/// fourth tells the exit code, the third the size of the terminal.
pub(in crate::kubelet) const OFFER: Offer = Offer {
    websocket: &[
        "v5.channel.k8s.io",
        "v4.channel.k8s.io",
        "v4.base64.channel.k8s.io",
        "v3.channel.k8s.io",
        "v2.channel.k8s.io",
        "channel.k8s.io",
        "base64.channel.k8s.io",
        "",
    ],
    spdy: &["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"],
    tunnelled: &[],
};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// How long a client may take to begin its streams: the kubelet's `streamCreationTimeout`.
const STREAMS_WITHIN: Duration = Duration::from_secs(30);

/// How many sizes may wait: only the last one matters, and a person drags a window slowly.
const SIZES_MAX: usize = 8;

/// The longest text of sizes that is looked at, in bytes: one is some thirty.
const SIZE_BYTES_MAX: usize = 4096;

/// What is done to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kubelet) enum Kind {
    /// A command runs in it.
    Exec(Vec<String>),
    /// Its own streams are joined.
    Attach,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kubelet) struct Asked {
    pub(in crate::kubelet) place: Place,
    pub(in crate::kubelet) kind: Kind,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Asked {
    /// Reads the query: `input`, `output`, `error` and `tty` are `1` if wanted, `command` stands once for each word.
    ///
    /// # Errors
    /// The kubelet's words if no stream is wanted.
    pub(in crate::kubelet) fn read(place: Place, exec: bool, query: &str) -> Result<Self, Refusal> {
        let pairs = || form_urlencoded::parse(query.as_bytes());
        let wanted = |name: &str| pairs().find(|(key, _)| key == name).is_some_and(|(_, value)| value == "1");
        let command = || pairs().filter(|(key, _)| key == "command").map(|(_, word)| word.into_owned()).collect();
        let tty = wanted("tty");
        let asked = Self {
            place,
            kind: if exec { Kind::Exec(command()) } else { Kind::Attach },
            stdin: wanted("input"),
            stdout: wanted("output"),
            // A terminal has one output.
            stderr: wanted("error") && !tty,
            tty,
        };
        if !asked.stdin && !asked.stdout && !asked.stderr {
            return Err(bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        if asked.kind == Kind::Exec(Vec::new()) {
            return Err(bad_request("you must specify a command"));
        }
        Ok(asked)
    }
}

/// A client's streams, as they arrived by whatever protocol.
pub(super) struct Joined {
    pub(super) stdin: Option<Inlet>,
    pub(super) stdout: Option<Outlet>,
    pub(super) stderr: Option<Outlet>,
    pub(super) error: Outlet,
    pub(super) resize: Option<Inlet>,
    pub(super) form: Form,
}

/// Serves a session to its end.
pub(super) async fn serve<S>(connection: S, agreed: &Agreed, asked: Asked, sessions: Sessions, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match agreed.transport {
        Transport::WebSocket => over_websocket(connection, agreed.protocol, asked, sessions, stop).await,
        Transport::Spdy | Transport::Tunnel => over_spdy(connection, agreed.protocol, asked, sessions, stop).await,
    }
}

/// Over the channels of a WebSocket.
async fn over_websocket<S>(connection: S, protocol: &str, asked: Asked, sessions: Sessions, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let codec = if protocol.contains("base64") { Codec::Base64 } else { Codec::Binary };
    let mut channels = Channels::new(codec);
    channels.greet(if asked.stdout {
        STDOUT
    } else if asked.stderr {
        STDERR
    } else {
        ERROR
    });
    let joined = Joined {
        stdin: asked.stdin.then(|| channels.inlet(STDIN)),
        stdout: asked.stdout.then(|| channels.outlet(STDOUT)),
        stderr: asked.stderr.then(|| channels.outlet(STDERR)),
        error: channels.outlet(ERROR),
        resize: asked.tty.then(|| channels.inlet(RESIZE)),
        form: form(protocol),
    };
    together(work(asked, joined, sessions), channels.carry(connection), stop.cancelled(), Duration::ZERO).await;
}

/// Over streams of SPDY, which the client begins one by one, each with its type in a header.
async fn over_spdy<S>(connection: S, protocol: &str, asked: Asked, sessions: Sessions, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite,
{
    let (spdy, mut streams, hold) = Connection::new(|headers| {
        matches!(headers.get("streamtype"), Some("stdin" | "stdout" | "stderr" | "error" | "resize"))
    });
    let work = async move {
        let hold = hold;
        let joined = timeout(STREAMS_WITHIN, join(&mut streams, &asked, protocol)).await;
        // No more streams are taken on, and those there are keep the connection open.
        drop((streams, hold));
        match joined {
            Ok(Some(joined)) => work(asked, joined, sessions).await,
            Ok(None) => {}
            Err(_) => tracing::debug!("timed out waiting for client to create streams"),
        }
    };
    together(work, spdy.carry(connection), stop.cancelled(), Duration::ZERO).await;
}

/// Waits until all streams that were asked for have begun; nothing if the client left before.
async fn join(streams: &mut mpsc::Receiver<Begun>, asked: &Asked, protocol: &str) -> Option<Joined> {
    let resizes = asked.tty && !matches!(protocol, "v2.channel.k8s.io" | "channel.k8s.io");
    let (mut stdin, mut stdout, mut stderr, mut error, mut resize) = (None, None, None, None, None);
    loop {
        let Begun { headers, inlet, outlet, .. } = streams.recv().await?;
        match headers.get("streamtype") {
            Some("stdin") => stdin = Some(inlet),
            Some("stdout") => stdout = Some(outlet),
            Some("stderr") => stderr = Some(outlet),
            Some("error") => error = Some(outlet),
            _ => resize = Some(inlet),
        }
        let there = [
            (asked.stdin, stdin.is_some()),
            (asked.stdout, stdout.is_some()),
            (asked.stderr, stderr.is_some()),
            (resizes, resize.is_some()),
        ];
        if there.iter().any(|(wanted, there)| *wanted && !there) {
            continue;
        }
        if let Some(error) = error.take() {
            return Some(Joined { stdin, stdout, stderr, error, resize, form: form(protocol) });
        }
    }
}

/// How the end is told in this version.
pub(super) fn form(protocol: &str) -> Form {
    if protocol.starts_with("v5.") || protocol.starts_with("v4.") { Form::Status } else { Form::Sentence }
}

/// Runs the command, and tells how it ended.
async fn work(asked: Asked, joined: Joined, sessions: Sessions) {
    let Joined { stdin, stdout, stderr, mut error, resize, form } = joined;
    let (sender, sizes) = mpsc::channel(SIZES_MAX);
    let streams = Streams {
        stdin: stdin.map(|stream| Box::new(stream) as session::Input),
        stdout: stdout.map(|stream| Box::new(stream) as session::Output),
        stderr: stderr.map(|stream| Box::new(stream) as session::Output),
        sizes,
    };
    let Asked { place, kind, tty, .. } = asked;
    let running = async {
        match &kind {
            Kind::Exec(args) => sessions.exec(place, Command { args: args.clone(), tty }, streams).await,
            Kind::Attach => sessions.attach(place, tty, streams).await,
        }
    };
    let exit: Exit = tokio::select! {
        exit = running => exit,
        never = follow_sizes(resize, sender) => match never {},
    };
    // The client may be gone, and then nobody needs to know.
    let _ = error.write_all(&status::told(&exit, &kind, form)).await;
    let _ = error.shutdown().await;
}

/// The size of a terminal as it is sent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    width: u16,
    height: u16,
}

/// Reads sizes as they come, for ever.
async fn follow_sizes(resize: Option<Inlet>, sizes: mpsc::Sender<Size>) -> std::convert::Infallible {
    if let Some(mut resize) = resize {
        let mut text = Vec::new();
        while let Ok(count) = resize.read_buf(&mut text).await {
            if count == 0 {
                break;
            }
            for size in take_sizes(&mut text) {
                if sizes.send(size).await.is_err() {
                    break;
                }
            }
        }
    }
    // The terminal keeps its size: its channel stays open.
    let _sizes = sizes;
    std::future::pending().await
}

/// Takes the sizes that have come whole.
fn take_sizes(text: &mut Vec<u8>) -> Vec<Size> {
    let mut read = serde_json::Deserializer::from_slice(text).into_iter::<Told>();
    let mut sizes = Vec::new();
    let broken = loop {
        match read.next() {
            Some(Ok(Told { width, height })) => sizes.push(Size { columns: width, rows: height }),
            Some(Err(error)) => break !error.is_eof(),
            None => break false,
        }
    };
    let taken = read.byte_offset();
    text.drain(..taken.min(text.len()));
    if broken || text.len() > SIZE_BYTES_MAX {
        text.clear();
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { namespace: "default".into(), pod: "p".into(), container: "c".into() }
    }

    #[test]
    fn what_is_asked_for_is_read_from_the_query() {
        let query = "command=sh&command=-c&command=echo+a%26b&input=1&output=1&error=1&tty=1";
        let asked = Asked::read(place(), true, query).unwrap();
        let args = ["sh", "-c", "echo a&b"].map(str::to_owned).to_vec();
        let expected =
            Asked { place: place(), kind: Kind::Exec(args), stdin: true, stdout: true, stderr: false, tty: true };
        assert_eq!(asked, expected);
        let none = Asked::read(place(), true, "command=sh&output=0").unwrap_err();
        assert_eq!(none.text, "you must specify at least 1 of stdin, stdout, stderr");
        assert_eq!(Asked::read(place(), true, "output=1").unwrap_err().text, "you must specify a command");
        assert!(Asked::read(place(), false, "error=1").unwrap().stderr);
    }

    #[test]
    fn sizes_are_taken_when_they_are_whole() {
        let mut text = br#"{"Width":80,"Height":24}{"Width":100,"Hei"#.to_vec();
        assert_eq!(take_sizes(&mut text), [Size { columns: 80, rows: 24 }]);
        text.extend_from_slice(b"ght\":30}\n");
        assert_eq!(take_sizes(&mut text), [Size { columns: 100, rows: 30 }]);
        text.extend_from_slice(b"rubbish");
        assert_eq!(take_sizes(&mut text), []);
        text.extend_from_slice(br#"{"Width":1,"Height":2}"#);
        assert_eq!(take_sizes(&mut text), [Size { columns: 1, rows: 2 }]);
    }
}
