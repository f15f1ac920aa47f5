//! Content negotiation: which shape of an answer a client asks for, in which encoding.
//!
//! Pure. Protobuf and CBOR are not offered; clients that prefer them name JSON as well.

use coracle_api::failure::Failure;
use http::HeaderMap;
use http::header::{ACCEPT, USER_AGENT};

use crate::proto;
use crate::request::{self, Verb};

/// How an answer is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Compact JSON.
    Json,
    /// Indented JSON, for people: `?pretty=true`.
    Pretty,
    /// YAML.
    Yaml,
}

/// Which shape of an object is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The object itself.
    Object,
    /// A row of a Table.
    Table(Include),
    /// Its metadata only, one object.
    Metadata,
    /// The metadata of each object of a list.
    MetadataList,
}

/// How much of each object a Table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The shape.
    pub(crate) form: Form,
    /// The encoding.
    pub(crate) encoding: Encoding,
    /// The `apiVersion` of a shape that is not the object itself.
    pub(crate) meta: &'static str,
}

/// The versions of the shapes.
const META_VERSIONS: [(&str, &str); 2] = [("v1", "meta.k8s.io/v1"), ("v1beta1", "meta.k8s.io/v1beta1")];

/// What a resource is shown as, in upstream's order.
const SHOWN: [&str; 3] = ["application/json", "application/yaml", proto::MEDIA_TYPE];

/// What collections are followed as, besides.
const FOLLOWED: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// What an `Accept` header names if it is absent or empty.
const ANYTHING: &str = "*/*";

/// By whom plain JSON is read with their own eyes: those who call themselves so are sent it indented, as upstream does.
const PEOPLES_AGENTS: [&str; 3] = ["curl", "Wget", "Mozilla/5.0"];

fn header(headers: &HeaderMap) -> &str {
    headers.get(ACCEPT).and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty()).unwrap_or(ANYTHING)
}

/// Whether the client takes any of the representations that a resource has under this verb. Parameters are not looked
/// at here, and of wildcards only the widest, as upstream's router does.
pub(crate) fn check_representation(headers: &HeaderMap, verb: Verb) -> Result<(), Failure> {
    let accept = header(headers);
    let takes = |range: &str| {
        let media = range.split(';').next().unwrap_or("").trim();
        media == ANYTHING || SHOWN.contains(&media)
    };
    if accept.split(',').any(takes) {
        return Ok(());
    }
    let followed = matches!(verb, Verb::List | Verb::Watch).then_some(FOLLOWED);
    let all: Vec<&str> = SHOWN.into_iter().chain(followed.into_iter().flatten()).collect();
    Err(Failure::NoRepresentation(all.join(", ")))
}

/// A refusal that tells what is offered: upstream's list, but protobuf is not offered to whom has just asked for it,
/// since it is only read.
pub(crate) fn not_acceptable(headers: &HeaderMap) -> Failure {
    let asked = header(headers).contains(proto::MEDIA_TYPE);
    let offered: Vec<&str> = SHOWN.into_iter().filter(|media| !asked || *media != proto::MEDIA_TYPE).collect();
    Failure::NotAcceptable(offered.join(", "))
}

/// Reads `Accept`, and the parameters `includeObject` and `pretty`.
pub(crate) fn wanted(headers: &HeaderMap, query: &str) -> Result<Wanted, Failure> {
    let chosen = ranges(header(headers)).iter().find_map(offer);
    let Some(mut wanted) = chosen else { return Err(not_acceptable(headers)) };
    if let Form::Table(include) = &mut wanted.form {
        *include = match request::parameter(query, "includeObject").as_deref() {
            Some("None") => Include::None,
            Some("Object") => Include::Object,
            None | Some("" | "Metadata") => Include::Metadata,
            Some(other) => {
                let why =
                    format!("includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty");
                return Err(Failure::BadRequest(format!("Unable to convert to Table as requested: {why}")));
            }
        };
    }
    if wanted.encoding == Encoding::Json && is_for_people(headers, query) {
        wanted.encoding = Encoding::Pretty;
    }
    Ok(wanted)
}

/// How a refusal is encoded for this client: as it wants objects, if that can be told.
pub(crate) fn refusal_encoding(headers: &HeaderMap, query: &str) -> Encoding {
    match ranges(header(headers)).iter().find(|range| range.as_.is_empty()).and_then(offer) {
        Some(Wanted { encoding: Encoding::Yaml, .. }) => Encoding::Yaml,
        Some(_) | None if is_for_people(headers, query) => Encoding::Pretty,
        Some(_) | None => Encoding::Json,
    }
}

fn is_for_people(headers: &HeaderMap, query: &str) -> bool {
    match request::parameter(query, "pretty").filter(|stated| !stated.is_empty()) {
        Some(stated) => matches!(stated.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"),
        None => {
            let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
            PEOPLES_AGENTS.iter().any(|known| agent.starts_with(known))
        }
    }
}

/// A media range of an `Accept` header: its type, and the parameters that matter.
#[derive(Debug, Default)]
pub(crate) struct Range<'a> {
    media: &'a str,
    as_: &'a str,
    group: &'a str,
    version: &'a str,
    stream: &'a str,
}

impl<'a> Range<'a> {
    /// The media type, wildcards and all.
    pub(crate) fn media(&self) -> &'a str {
        self.media
    }

    /// Whether this range asks for aggregated discovery.
    pub(crate) fn is_discovery(&self) -> bool {
        self.media == "application/json"
            && self.as_ == "APIGroupDiscoveryList"
            && self.group == "apidiscovery.k8s.io"
            && self.version == "v2"
    }

    /// Whether this range takes plain JSON.
    pub(crate) fn is_plain_json(&self) -> bool {
        self.as_.is_empty() && matches!(self.media, "application/json" | "application/*" | "*/*")
    }
}

/// The media ranges of an `Accept` header, in the order of the client's wish: by quality, then the exact before the
/// wild, then as they stand.
pub(crate) fn ranges(accept: &str) -> Vec<Range<'_>> {
    let mut ranges: Vec<(f32, Range<'_>)> = accept.split(',').map(range).collect();
    let wildness = |media: &str| (media.starts_with('*'), media.ends_with('*'));
    ranges.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| wildness(x.media).cmp(&wildness(y.media))));
    ranges.into_iter().map(|(_, range)| range).collect()
}

fn range(text: &str) -> (f32, Range<'_>) {
    let mut parts = text.split(';').map(str::trim);
    let mut read = Range { media: parts.next().unwrap_or(""), ..Range::default() };
    let mut quality = 1.0;
    for parameter in parts {
        match parameter.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
            Some(("as", value)) => read.as_ = value,
            Some(("g", value)) => read.group = value,
            Some(("v", value)) => read.version = value,
            Some(("stream", value)) => read.stream = value,
            Some(("q", value)) => quality = value.parse().unwrap_or(quality),
            Some(_) | None => {}
        }
    }
    (quality, read)
}

fn offer(range: &Range<'_>) -> Option<Wanted> {
    let encoding = match range.media {
        "application/json" | "application/*" | ANYTHING => Encoding::Json,
        "application/yaml" if range.stream.is_empty() => Encoding::Yaml,
        _ => return None,
    };
    if !matches!(range.stream, "" | "watch") {
        return None;
    }
    let form = match range.as_ {
        "" if range.group.is_empty() && range.version.is_empty() => {
            return Some(Wanted { form: Form::Object, encoding, meta: "" });
        }
        "Table" => Form::Table(Include::Metadata),
        "PartialObjectMetadata" => Form::Metadata,
        "PartialObjectMetadataList" => Form::MetadataList,
        _ => return None,
    };
    let known = META_VERSIONS.iter().find(|(version, _)| *version == range.version);
    let (_, meta) = known.filter(|_| range.group == "meta.k8s.io")?;
    Some(Wanted { form, encoding, meta })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, query: &str, expected: Option<(Form, Encoding)>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        let got = wanted(&headers, query).ok().map(|w| (w.form, w.encoding));
        assert_eq!(got, expected, "{accept}");
    }

    #[test]
    fn the_first_range_that_is_offered_is_chosen() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        check("application/json", "", Some((Form::Object, Encoding::Json)));
        check("*/*", "pretty=true", Some((Form::Object, Encoding::Pretty)));
        check("application/vnd.kubernetes.protobuf,application/json", "", Some((Form::Object, Encoding::Json)));
        check("application/vnd.kubernetes.protobuf", "", None);
        check("text/plain", "", None);
        check("application/yaml", "", Some((Form::Object, Encoding::Yaml)));
        check(&format!("{table},application/json"), "", Some((Form::Table(Include::Metadata), Encoding::Json)));
        check(table, "includeObject=Object", Some((Form::Table(Include::Object), Encoding::Json)));
        check("application/json;as=Table;v=v9;g=meta.k8s.io", "", None);
        check(&format!("application/json, {table}"), "", Some((Form::Object, Encoding::Json)));
        check("application/json;stream=watch", "", Some((Form::Object, Encoding::Json)));
        check("application/json;as=Table", "", None);
        check("application/json;as=Nope;v=v1;g=meta.k8s.io,application/yaml", "", Some((Form::Object, Encoding::Yaml)));
        let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        check(partial, "", Some((Form::Metadata, Encoding::Json)));
    }

    #[test]
    fn quality_and_exactness_come_before_place() {
        check("application/yaml;q=0.5, application/json;q=0.9", "", Some((Form::Object, Encoding::Json)));
        check("*/*, application/yaml", "", Some((Form::Object, Encoding::Yaml)));
        check("application/*, application/yaml;q=0.9", "", Some((Form::Object, Encoding::Json)));
        check("application/yaml, application/json", "", Some((Form::Object, Encoding::Yaml)));
        check("application/json;q=x, text/plain", "", Some((Form::Object, Encoding::Json)));
    }

    #[test]
    fn who_reads_with_their_own_eyes_is_sent_indented_json() {
        for (agent, query, expected) in [
            ("curl/8.0", "", Encoding::Pretty),
            ("curl/8.0", "pretty=false", Encoding::Json),
            ("kubectl/v1.32", "", Encoding::Json),
            ("kubectl/v1.32", "pretty=1", Encoding::Pretty),
            ("kubectl/v1.32", "pretty=yes", Encoding::Json),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, agent.parse().unwrap());
            assert_eq!(wanted(&headers, query).unwrap().encoding, expected, "{agent} {query}");
            assert_eq!(refusal_encoding(&headers, query), expected, "{agent} {query}");
        }
    }

    fn refused(accept: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        let routed = check_representation(&headers, Verb::List).and_then(|()| wanted(&headers, "").map(drop));
        routed.map_or_else(|failure| failure.to_string(), |()| "accepted".to_owned())
    }

    #[test]
    fn who_asks_in_vain_is_told_what_there_is() {
        expect_test::expect![[r#"
            406: Not Acceptable

            Available representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"#]]
        .assert_eq(&refused("text/plain"));
        assert_eq!(refused("application/cbor, application/json"), "accepted");
        assert!(refused("application/cbor").starts_with("406: Not Acceptable"));
        let only = "only the following media types are accepted: application/json, application/yaml";
        assert_eq!(
            refused("application/json;as=Table;v=v9;g=meta.k8s.io"),
            format!("{only}, application/vnd.kubernetes.protobuf")
        );
        assert_eq!(refused("application/vnd.kubernetes.protobuf"), only);
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_it_fail(accept in "([*/a-z0-9=;,. +]|application/json|as=Table|q=|g=meta[.]k8s[.]io){0,12}") {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            let _ = wanted(&headers, "");
            let _ = check_representation(&headers, Verb::List);
        }
    }
}
