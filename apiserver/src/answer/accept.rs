//! Content negotiation: which shape of an answer a client asks for, in which encoding.
//!
//! Pure. Protobuf and CBOR are not offered; clients that prefer them name JSON as well.

use coracle_api::failure::Failure;
use http::HeaderMap;
use http::header::ACCEPT;

use crate::request;

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

/// What is offered, as a refusal names it.
pub(crate) const OFFERED: &str = "application/json, application/yaml";

/// Reads `Accept`, and the parameters `includeObject` and `pretty`.
pub(crate) fn wanted(headers: &HeaderMap, query: &str) -> Result<Wanted, Failure> {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    let mut chosen = ranges(accept).find_map(|range| offer(&range));
    if accept.trim().is_empty() {
        chosen = offer(&Range { media: "*/*", ..Range::default() });
    }
    let Some(mut wanted) = chosen else { return Err(Failure::NotAcceptable(OFFERED.to_owned())) };
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
    if wanted.encoding == Encoding::Json && request::is_true(request::parameter(query, "pretty").as_deref()) {
        wanted.encoding = Encoding::Pretty;
    }
    Ok(wanted)
}

/// A media range of an `Accept` header: its type, and the parameters that matter.
#[derive(Debug, Default)]
pub(crate) struct Range<'a> {
    media: &'a str,
    as_: &'a str,
    group: &'a str,
    version: &'a str,
}

impl Range<'_> {
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

/// The media ranges of an `Accept` header, in the order of the client's wish.
pub(crate) fn ranges(accept: &str) -> impl Iterator<Item = Range<'_>> {
    accept.split(',').map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let mut read = Range { media: parts.next().unwrap_or(""), ..Range::default() };
        for parameter in parts {
            match parameter.split_once('=') {
                Some(("as", value)) => read.as_ = value,
                Some(("g", value)) => read.group = value,
                Some(("v", value)) => read.version = value,
                Some(_) | None => {}
            }
        }
        read
    })
}

fn offer(range: &Range<'_>) -> Option<Wanted> {
    let encoding = match range.media {
        "application/json" | "application/*" | "*/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        _ => return None,
    };
    let form = match range.as_ {
        "" => return Some(Wanted { form: Form::Object, encoding, meta: "" }),
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
        let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        check(partial, "", Some((Form::Metadata, Encoding::Json)));
    }
}
