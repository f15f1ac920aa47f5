//! A connection, with a client that writes its frames by hand.

use tokio::io::{DuplexStream, duplex};

use super::*;

struct Client {
    connection: DuplexStream,
    deflater: Deflater,
}

impl Client {
    fn new(connection: DuplexStream) -> Self {
        Self { connection, deflater: Deflater::new().unwrap() }
    }

    async fn begin(&mut self, stream: u32, kind: &str) {
        let frame = frame::begin(stream, &Headers::of(&[("streamtype", kind)]), &mut self.deflater);
        self.connection.write_all(&frame).await.unwrap();
    }

    async fn say(&mut self, stream: u32, text: &str, last: bool) {
        self.connection.write_all(&frame::data(stream, last, text.len())).await.unwrap();
        self.connection.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next frame, in words; `end` if there is none.
    async fn hear(&mut self) -> String {
        let mut head = [0; HEAD_BYTES];
        if self.connection.read_exact(&mut head).await.is_err() {
            return "end".to_owned();
        }
        match Head::parse(head).unwrap() {
            Head::Data { stream, last, length } => {
                let mut bytes = vec![0; length as usize];
                self.connection.read_exact(&mut bytes).await.unwrap();
                let text = String::from_utf8(bytes).unwrap();
                format!("{stream}: {text:?}{}", if last { " last" } else { "" })
            }
            Head::Control { kind, length, .. } => {
                let mut bytes = vec![0; length as usize];
                self.connection.read_exact(&mut bytes).await.unwrap();
                let number = u32::from_be_bytes(*bytes.first_chunk().unwrap());
                let kind = match kind {
                    2 => "reply",
                    3 => "reset",
                    6 => "pong",
                    7 => "go away",
                    _ => "?",
                };
                format!("{kind} {number}")
            }
        }
    }
}

#[tokio::test]
async fn streams_are_taken_on_carried_and_ended() {
    let (ours, theirs) = duplex(1 << 16);
    let (connection, mut streams, hold) = Connection::new(|headers| headers.get("streamtype") != Some("odd"));
    let serving = async {
        let Begun { id, headers, mut inlet, mut outlet } = streams.recv().await.unwrap();
        assert_eq!((id, headers.get("streamtype")), (1, Some("data")));
        let mut said = String::new();
        inlet.read_to_string(&mut said).await.unwrap();
        outlet.write_all(said.to_uppercase().as_bytes()).await.unwrap();
        outlet.shutdown().await.unwrap();
        // This one is not ended, and so it is ended with all.
        let mut other = streams.recv().await.unwrap();
        other.outlet.write_all(b"?").await.unwrap();
        drop((other, outlet, hold));
    };
    let asking = async {
        let mut client = Client::new(theirs);
        client.begin(1, "data").await;
        client.begin(3, "odd").await;
        client.begin(4, "data").await;
        client.connection.write_all(&frame::ping(9)).await.unwrap();
        client.say(99, "nobody's", false).await;
        client.say(1, "hel", false).await;
        client.say(1, "lo", true).await;
        client.begin(5, "data").await;
        let mut heard = Vec::new();
        for _ in 0..10 {
            heard.push(client.hear().await);
        }
        heard.sort();
        assert_eq!(
            heard,
            [
                "1: \"\" last",
                "1: \"HELLO\"",
                "5: \"\" last",
                "5: \"?\"",
                "go away 5",
                "pong 9",
                "reply 1",
                "reply 5",
                "reset 3",
                "reset 4"
            ]
        );
    };
    let (ended, (), ()) = tokio::join!(connection.carry(ours), serving, asking);
    assert_eq!(ended, Ended::Done);
}

#[tokio::test]
async fn a_stream_that_is_reset_goes_and_the_others_stay() {
    let (ours, theirs) = duplex(1 << 16);
    let (connection, mut streams, hold) = Connection::new(|_| true);
    let serving = async {
        let mut first = streams.recv().await.unwrap();
        let mut second = streams.recv().await.unwrap();
        let mut read = Vec::new();
        assert_eq!(first.inlet.read_to_end(&mut read).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        first.outlet.write_all(b"late").await.unwrap_err();
        second.outlet.write_all(b"here").await.unwrap();
        drop((first, second, hold));
    };
    let asking = async {
        let mut client = Client::new(theirs);
        client.begin(1, "data").await;
        client.begin(3, "data").await;
        client.connection.write_all(&frame::reset(1, Why::Refused)).await.unwrap();
        let mut heard = Vec::new();
        for _ in 0..5 {
            heard.push(client.hear().await);
        }
        assert_eq!(heard, ["reply 1", "reply 3", "3: \"here\"", "3: \"\" last", "go away 3"]);
    };
    tokio::join!(connection.carry(ours), serving, asking);
}

#[tokio::test]
async fn rubbish_ends_the_connection() {
    let (ours, mut theirs) = duplex(1 << 16);
    let (connection, _streams, _hold) = Connection::new(|_| true);
    theirs.write_all(b"GET / HTTP/1.1\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff").await.unwrap();
    drop(theirs);
    assert_eq!(connection.carry(ours).await, Ended::Left);
}
