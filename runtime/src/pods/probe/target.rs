//! What is fetched by HTTP: where, and what becomes of it when the answer is a redirect.

use std::fmt;
use std::fmt::Write as _;

use url::Url;

use super::place;
use super::tls::PLAIN_HTTP;

/// Where an HTTP request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pods) struct Target {
    pub(in crate::pods) https: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// With its query.
    pub(super) path: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// Where a redirect leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// To the same host, which is followed.
    Here(Target),
    /// To another host, or nowhere that can be read, which is not.
    Elsewhere,
}

impl Target {
    pub(super) fn authority(&self) -> String {
        place::authority(&self.host, self.port)
    }

    /// Whether what went wrong is only that the other side speaks no TLS.
    pub(in crate::pods) fn is_plain_after_all(&self, why: &str) -> bool {
        self.https && why.ends_with(PLAIN_HTTP)
    }

    /// Where `location` leads from here.
    pub(super) fn redirect(&self, location: &str) -> Redirect {
        let joined = Url::parse(&self.to_string()).and_then(|from| from.join(location));
        let Ok(url) = joined else { return Redirect::Elsewhere };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let (Some(port), true) = (url.port_or_known_default(), host == self.host) else { return Redirect::Elsewhere };
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Redirect::Here(Self {
            https: url.scheme() == "https",
            host: host.to_owned(),
            port,
            path: format!("{}{query}", url.path()),
        })
    }
}

/// The path and query as they are sent: from the root, without a fragment, and with nothing that HTTP forbids.
pub(super) fn sendable(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let root = if path.starts_with('/') { "" } else { "/" };
    let mut sendable = root.to_owned();
    for byte in path.bytes() {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => escape(&mut sendable, byte),
            byte if byte.is_ascii_graphic() => sendable.push(char::from(byte)),
            byte => escape(&mut sendable, byte),
        }
    }
    sendable
}

fn escape(text: &mut String, byte: u8) {
    // Writing to a String cannot fail.
    let _ = write!(text, "%{byte:02X}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Target {
        Target { https: false, host: "127.42.0.5".into(), port: 8080, path: path.into() }
    }

    #[test]
    fn a_redirect_is_followed_on_the_same_host_only() {
        let to = |location: &str| match target("/a/b?c").redirect(location) {
            Redirect::Here(target) => target.to_string(),
            Redirect::Elsewhere => "elsewhere".to_owned(),
        };
        assert_eq!(to("/login"), "http://127.42.0.5:8080/login");
        assert_eq!(to("d?e=1"), "http://127.42.0.5:8080/a/d?e=1");
        assert_eq!(to("https://127.42.0.5/x"), "https://127.42.0.5:443/x");
        assert_eq!(to("//127.42.0.5:81/x"), "http://127.42.0.5:81/x");
        assert_eq!(to("http://example.com/"), "elsewhere");
        assert_eq!(to("//127.42.0.6:8080/"), "elsewhere");
        assert_eq!(to("http://["), "elsewhere");
    }

    #[test]
    fn a_path_is_sent_as_http_allows() {
        assert_eq!(sendable(""), "/");
        assert_eq!(sendable("healthz?full=1#top"), "/healthz?full=1");
        assert_eq!(sendable("/a b/ü%20"), "/a%20b/%C3%BC%20");
    }
}
