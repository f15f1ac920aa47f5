//! A request, read from the bytes that have come so far.
//!
//! Invariant: every bound is checked before a byte beyond it is waited for, so nobody fills the memory by
//! sending. It knows only as much HTTP/1.1 as a store needs: bodies have a `Content-Length`.

/// The most bytes before a body: enough for any client's headers.
pub const HEAD_MAX: usize = 8 << 10;

/// The most bytes of a value: what is larger is a file and not a value.
pub const VALUE_MAX: usize = 1 << 20;

/// The most bytes of a key.
pub const KEY_MAX: usize = 200;

/// The most headers of a request.
const HEADERS_MAX: usize = 64;

/// What a client may ask for.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// `PUT /keys/K`
    Put(String, Vec<u8>),
    /// `GET /keys/K`
    Get(String),
    /// `DELETE /keys/K`
    Delete(String),
    /// `GET /keys?prefix=P`
    List(String),
    /// `GET /whoami`
    Whoami,
    /// `GET /healthz`
    Health,
}

/// Why a request is refused: a status and what to say.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal(pub u16, pub String);

/// What the bytes come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// More must come; the client may want to be told to go on.
    Partial {
        /// It asked `Expect: 100-continue`, and its head is whole.
        wants_go: bool,
    },
    /// A whole request.
    Whole {
        /// What it asks for, or why it is refused.
        ask: Result<Ask, Refusal>,
        /// How many bytes it takes.
        taken: usize,
        /// Whether the client may send another on the same connection.
        keeps: bool,
        /// `HEAD`: the answer has no body.
        head_only: bool,
    },
}

/// Reads as far as the bytes go.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(bytes) {
        Ok(httparse::Status::Complete(head)) if head <= HEAD_MAX => head,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_MAX => return Parsed::Partial { wants_go: false },
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            return refused(431, format!("the headers of a request have at most {HEAD_MAX} bytes"));
        }
        Err(error) => return refused(400, format!("this is not HTTP/1.1: {error}")),
    };
    let header = |name: &str| {
        let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).trim().to_ascii_lowercase())
    };
    let (method, path) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    if header("transfer-encoding").is_some() {
        return refused(411, "a value comes with a Content-Length".to_owned());
    }
    let length = match header("content-length").map(|text| text.parse::<usize>()) {
        None if method == "PUT" => return refused(411, "a value comes with a Content-Length".to_owned()),
        None => 0,
        Some(Ok(length)) if length <= VALUE_MAX => length,
        Some(Ok(length)) => return refused(413, format!("a value has at most {VALUE_MAX} bytes, not {length}")),
        Some(Err(_)) => return refused(400, "the Content-Length is not a number".to_owned()),
    };
    let Some(body) = bytes.get(head..head + length) else {
        return Parsed::Partial { wants_go: header("expect").is_some_and(|wish| wish == "100-continue") };
    };
    let connection = header("connection").unwrap_or_default();
    let keeps = if request.version == Some(1) { connection != "close" } else { connection == "keep-alive" };
    Parsed::Whole { ask: ask(method, path, body), taken: head + length, keeps, head_only: method == "HEAD" }
}

/// A refusal after which nobody knows where the next request would begin.
fn refused(status: u16, words: String) -> Parsed {
    Parsed::Whole { ask: Err(Refusal(status, words)), taken: 0, keeps: false, head_only: false }
}

fn ask(method: &str, target: &str, body: &[u8]) -> Result<Ask, Refusal> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let reads = matches!(method, "GET" | "HEAD");
    match (path, path.strip_prefix("/keys/")) {
        ("/whoami", _) if reads => Ok(Ask::Whoami),
        ("/healthz", _) if reads => Ok(Ask::Health),
        ("/keys", _) if reads => Ok(Ask::List(query.strip_prefix("prefix=").unwrap_or_default().to_owned())),
        ("/whoami" | "/healthz" | "/keys", _) => Err(Refusal(405, format!("{path} can only be read"))),
        (_, Some(key)) => {
            let key = checked(key)?;
            match method {
                "PUT" => Ok(Ask::Put(key, body.to_vec())),
                "DELETE" => Ok(Ask::Delete(key)),
                _ if reads => Ok(Ask::Get(key)),
                _ => Err(Refusal(405, "a key takes GET, PUT and DELETE".to_owned())),
            }
        }
        (_, None) => Err(Refusal(404, "there are /keys, /keys/KEY, /whoami and /healthz".to_owned())),
    }
}

fn checked(key: &str) -> Result<String, Refusal> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(fits) {
        return Ok(key.to_owned());
    }
    Err(Refusal(400, format!("a key is 1 to {KEY_MAX} of the characters a-z, A-Z, 0-9, '-', '_' and '.'")))
}
