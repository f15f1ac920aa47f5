//! What is said to a client: a status, a kind of content, a body.

/// An answer, not yet in bytes.
pub(crate) struct Answer {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Answer {
    /// Words for a person, or a script that reads lines.
    pub(crate) fn text(status: u16, words: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: words.into().into_bytes() }
    }

    /// A value, as it was put.
    pub(crate) fn value(value: &[u8]) -> Self {
        Self { status: 200, content_type: "application/octet-stream", body: value.to_vec() }
    }

    /// JSON that is written already.
    pub(crate) fn json(text: String) -> Self {
        Self { status: 200, content_type: "application/json", body: text.into_bytes() }
    }

    /// It is done, and there is nothing to say.
    pub(crate) fn done() -> Self {
        Self { status: 204, content_type: "", body: Vec::new() }
    }

    /// The answer as HTTP/1.1 has it.
    pub(crate) fn to_bytes(&self, keeps: bool, head_only: bool) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            204 => "No Content",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            411 => "Length Required",
            413 => "Content Too Large",
            431 => "Request Header Fields Too Large",
            507 => "Insufficient Storage",
            _ => "Unknown",
        };
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        if self.status != 204 {
            head.push_str(&format!("Content-Type: {}\r\nContent-Length: {}\r\n", self.content_type, self.body.len()));
        }
        if self.status == 405 {
            head.push_str("Allow: GET, HEAD, PUT, DELETE\r\n");
        }
        head.push_str(if keeps { "\r\n" } else { "Connection: close\r\n\r\n" });
        let mut bytes = head.into_bytes();
        if !head_only {
            bytes.extend(&self.body);
        }
        bytes
    }
}
