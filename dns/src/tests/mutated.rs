//! Questions that no client asks: mutated ones, and names and messages at their bounds.
//!
//! Invariant under test: the server stays up, what it says can be read, and no refusal is longer than its question.

use super::*;

/// Random numbers, the same in each run.
struct Random(u64);

impl Random {
    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

/// Who says strange things.
struct Stranger {
    socket: UdpSocket,
    said: usize,
}

impl Stranger {
    async fn of(running: &Running) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(running.addr).await.unwrap();
        Self { socket, said: 0 }
    }

    /// Says it, and hears all that comes back: it comes before the answer to a question that is always answered.
    async fn says(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.said += 1;
        let last = Name::from_ascii(format!("last-{}.cluster.local.", self.said)).unwrap();
        let mut end = Message::query();
        end.add_query(Query::query(last.clone(), RecordType::A));
        self.socket.send(bytes).await.unwrap();
        self.socket.send(&end.to_vec().unwrap()).await.unwrap();
        let (mut buffer, mut heard) = ([0; 4096], Vec::new());
        loop {
            let length = self.socket.recv(&mut buffer).await.unwrap();
            let answer = Message::from_vec(&buffer[..length]).expect("an answer can be read");
            if answer.queries.first().is_some_and(|query| *query.name() == last) {
                return heard;
            }
            let is_refusal = !matches!(answer.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
            assert!(!is_refusal || length <= bytes.len(), "{answer} to {bytes:?}");
            heard.push(answer);
        }
    }
}

/// A message of one question, its name as it is on the wire.
fn wire(name: &[u8], kind: u16) -> Vec<u8> {
    let header = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&header[..], name, &kind.to_be_bytes(), &[0, 1]].concat()
}

/// A name on the wire, of labels that may be longer than they may be.
fn labels(labels: &[&[u8]]) -> Vec<u8> {
    let mut name = Vec::new();
    for label in labels {
        name.push(u8::try_from(label.len()).unwrap());
        name.extend_from_slice(label);
    }
    name.push(0);
    name
}

#[tokio::test]
async fn who_says_what_is_no_question_is_told_so_in_fewer_bytes_or_not_at_all() {
    let running = running(vec![]).await;
    let whole = question("web.default.svc.cluster.local.", RecordType::A).to_vec().unwrap();
    let mut stranger = Stranger::of(&running).await;
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(4) {
            match random.below(3) {
                0 => bytes.truncate(random.below(bytes.len() + 1)),
                1 => bytes.extend((0..random.below(40)).map(|_| random.byte()).collect::<Vec<u8>>()),
                _ if bytes.is_empty() => {}
                _ => {
                    let at = random.below(bytes.len());
                    bytes[at] = random.byte();
                }
            }
        }
        stranger.says(&bytes).await;
    }
    let mut told = Message::response(7, OpCode::Query);
    told.add_query(Query::query(Name::from_ascii("web.default.svc.cluster.local.").unwrap(), RecordType::A));
    assert!(stranger.says(&told.to_vec().unwrap()).await.is_empty(), "an answer is not answered");
}

#[tokio::test]
async fn names_of_any_labels_are_answered_or_refused() {
    let running = running(vec![]).await;
    let mut stranger = Stranger::of(&running).await;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let known = [
        "web", "default", "svc", "cluster", "local", "pod", "_https", "_tcp", "dns", "arpa", "in-addr", "ip6", "127",
        "*", "",
    ];
    for _ in 0..3000 {
        let mut name = Vec::new();
        for _ in 0..random.below(12) {
            match random.below(4) {
                0 => {
                    let label: Vec<u8> = (0..1 + random.below(63)).map(|_| random.byte()).collect();
                    name.extend(labels(&[&label]));
                    name.pop();
                }
                // A label with a dot in it is not two labels.
                1 => name.extend(b"\x0bweb.default"),
                _ => {
                    let label = random.one_of(&known);
                    name.push(u8::try_from(label.len()).unwrap());
                    name.extend(label.as_bytes());
                }
            }
        }
        name.extend(if random.below(2) == 0 { &b"\x03svc\x07cluster\x05local\x00"[..] } else { &b"\x00"[..] });
        let kind = [1, 28, 33, 12, 5, 6, 2, 255, 41, 0][random.below(10)];
        stranger.says(&wire(&name, kind)).await;
    }
    let dotted = labels(&[b"web.default", b"svc", b"cluster", b"local"]);
    let heard = stranger.says(&wire(&dotted, 1)).await;
    assert_eq!(heard[0].metadata.response_code, ResponseCode::NXDomain, "a dot in a label parts nothing");
}

#[tokio::test]
async fn names_at_their_bounds_are_read_and_beyond_them_refused() {
    let running = running(vec![]).await;
    let mut stranger = Stranger::of(&running).await;
    let mut code = async |name: &[u8]| {
        let heard = stranger.says(&wire(name, 1)).await;
        heard.first().map(|answer| answer.metadata.response_code)
    };
    let (long, short) = ([b'a'; 63], [b'a'; 47]);
    let end: [&[u8]; 2] = [b"cluster", b"local"];
    assert_eq!(code(&labels(&[&long, end[0], end[1]])).await, Some(ResponseCode::NXDomain));
    // 3 × 64, 48, 14 and the last zero: 255 bytes.
    let whole = labels(&[&long, &long, &long, &short, end[0], end[1]]);
    assert_eq!((whole.len(), code(&whole).await), (255, Some(ResponseCode::NXDomain)));
    let beyond = labels(&[&long, &long, &long, &[b'a'; 48], end[0], end[1]]);
    assert_eq!((beyond.len(), code(&beyond).await), (256, Some(ResponseCode::FormErr)));
    // The length 64 is of a kind that was never given a meaning, 192 begins a pointer.
    assert_eq!(code(&labels(&[&[b'a'; 64], end[0], end[1]])).await, Some(ResponseCode::FormErr));
    for pointer in [&b"\xc0\x0c"[..], b"\x01a\xc0\x0c", b"\xc0\x0e\xc0\x0c", b"\xc0\x40", b"\xff\xff", b"\xc0"] {
        assert_eq!(code(pointer).await, Some(ResponseCode::FormErr), "{pointer:?}");
    }
    // Into the header: its number is no name, the zeros after that are the root.
    assert_eq!(code(b"\xc0\x06").await, Some(ResponseCode::Refused));
    assert_eq!(code(b"\x00").await, Some(ResponseCode::Refused), "the root is not ours");
}

#[tokio::test]
async fn a_message_of_many_questions_is_refused() {
    let running = running(vec![]).await;
    let mut stranger = Stranger::of(&running).await;
    let one = wire(&labels(&[b"web", b"default", b"svc", b"cluster", b"local"]), 1);
    for (told, said) in [(2_u16, 2), (100, 100), (0, 1), (u16::MAX, 1), (u16::MAX, 0)] {
        let mut bytes = [&one[..12], &one[12..].repeat(said)].concat();
        bytes[4..6].copy_from_slice(&told.to_be_bytes());
        let heard = stranger.says(&bytes).await;
        assert_eq!(heard[0].metadata.response_code, ResponseCode::FormErr, "{told} {said}");
    }
}

#[tokio::test]
async fn odd_options_of_edns_do_no_harm() {
    let running = running(vec![]).await;
    let mut stranger = Stranger::of(&running).await;
    let mut random = Random(0x6a09_e667_f3bc_c908);
    for _ in 0..2000 {
        let mut bytes = wire(&labels(&[b"web", b"default", b"svc", b"cluster", b"local"]), 1);
        let records = 1 + random.below(3);
        bytes[11] = u8::try_from(records).unwrap();
        for _ in 0..records {
            let payload = [0, 1, 511, 512, 1232, 4096, 65535][random.below(7)];
            let mut options = Vec::new();
            for _ in 0..random.below(4) {
                // The code, a length that is true or not, and so many bytes.
                let length = random.below(20);
                let told = if random.below(3) == 0 { random.below(65536) } else { length };
                options.extend(u16::try_from([3, 8, 10, 11, 12, 15, 65535][random.below(7)]).unwrap().to_be_bytes());
                options.extend(u16::try_from(told).unwrap().to_be_bytes());
                options.extend((0..length).map(|_| random.byte()).collect::<Vec<u8>>());
            }
            let version = u8::from(random.below(8) == 0);
            bytes.extend([0, 0, 41]);
            bytes.extend(u16::try_from(payload).unwrap().to_be_bytes());
            bytes.extend([0, version, random.byte(), random.byte()]);
            bytes.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
            bytes.extend(options);
        }
        for answer in stranger.says(&bytes).await {
            assert!(answer.metadata.response_code != ResponseCode::NoError || answer.answers.len() == 1, "{answer}");
        }
    }
}
