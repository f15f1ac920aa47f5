//! `token`: issues a token for a ServiceAccount, good for a while and bound to what the request names.

use coracle_api::clock;
use coracle_api::failure::{About, Failure};
use coracle_api::field::FieldError;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec, TokenRequestStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;
use serde_json::Value;

use crate::answer::{Answer, Refused, warn};
use crate::body::{self, Expected};
use crate::machine::{Call, Shown};
use crate::object::{map_mut, text};
use crate::options::write::parse;
use crate::registry::Row;
use crate::store::Key;
use crate::tokens::ISSUER;
use crate::tokens::claims::{Bound, Claims, Named};
use crate::verbs::check_namespace;

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
const SCHEMA: &str = "io.k8s.api.authentication.v1.TokenRequest";

/// How long a token is good if the request does not say.
const SECONDS_DEFAULT: i64 = 3600;

/// A token is good for ten minutes at least, as upstream; else its holders would do nothing but renew it.
const SECONDS_MIN: i64 = 600;

/// Upstream's bound, which keeps the arithmetic sane.
const SECONDS_MAX: i64 = 1 << 32;

/// What pods ask for who were written when tokens lasted forever: they get [`SECONDS_EXTENDED`] and a warning.
const SECONDS_OF_OLD_PODS: i64 = 3607;

/// A year.
const SECONDS_EXTENDED: i64 = 365 * 24 * 3600;

/// Issues a token.
pub(super) async fn issue(call: &Call) -> Answer {
    let options = parse(&call.query, "CreateOptions")?;
    let expected = Expected { api_version: "authentication.k8s.io/v1", kind: KIND, schema: Some(SCHEMA) };
    let decoded = body::object(&call.body, &call.headers, &expected, options.validation)?;
    check_namespace(call, text(&decoded.object, "namespace"))?;
    let mut request = TokenRequest::deserialize(&decoded.object).map_err(|e| unparsable(&e.to_string()))?;
    check_name(call, &request)?;
    let account = call.existing()?.value();
    let now = clock::now();
    complete(call, &mut request, &account, now)?;
    let spec = completed(request.spec.take().unwrap_or_default());
    let seconds = spec.expiration_seconds.unwrap_or(SECONDS_DEFAULT);
    check_seconds(seconds)?;
    let claims = claims(call, &spec, &account, now)?;
    let token = call.machine.tokens.sign(&claims);
    let token = token.ok_or_else(|| Failure::Internal("failed to generate token".to_owned()))?;
    let expires = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    let expires = Time(clock::whole_seconds(expires));
    request.spec = Some(spec);
    request.status = Some(TokenRequestStatus { token: Some(token), expiration_timestamp: Some(expires) });
    let mut shown = serde_json::to_value(&request).unwrap_or_default();
    // Upstream states this one also where it is absent.
    if let Some(spec) = shown.get_mut("spec") {
        map_mut(spec).entry("boundObjectRef").or_insert(Value::Null);
    }
    Ok(warn(call.show(StatusCode::CREATED, &Shown::Value(&shown))?, &decoded.warnings))
}

fn about(name: &str) -> About {
    About { group: GROUP.to_owned(), kind: KIND.to_owned(), name: name.to_owned() }
}

fn check_name(call: &Call, request: &TokenRequest) -> Result<(), Failure> {
    match request.metadata.name.as_deref() {
        Some(name) if !name.is_empty() && name != call.path.name => {
            let detail = "must match the service account name if specified";
            let errors = vec![FieldError::invalid("metadata.name", name, detail)];
            Err(Failure::Invalid { about: about(&call.path.name), errors })
        }
        Some(_) | None => Ok(()),
    }
}

/// Fills in what the request leaves out.
fn complete(call: &Call, request: &mut TokenRequest, account: &Value, now: Timestamp) -> Result<(), Failure> {
    let uid = text(account, "uid");
    if let Some(meant) = request.metadata.uid.as_deref().filter(|meant| !meant.is_empty() && *meant != uid) {
        let why =
            format!("the UID in the token request ({meant}) does not match the UID of the service account ({uid})");
        return Err(Failure::Conflict { about: about(&call.path.name), why, causes: Vec::new() });
    }
    let metadata = &mut request.metadata;
    metadata.name = Some(call.path.name.clone());
    metadata.namespace = Some(call.path.namespace.clone());
    metadata.uid = Some(uid.to_owned());
    metadata.creation_timestamp = Some(Time(clock::whole_seconds(now)));
    Ok(())
}

fn completed(mut spec: TokenRequestSpec) -> TokenRequestSpec {
    if spec.audiences.iter().flatten().next().is_none() {
        spec.audiences = Some(vec![ISSUER.to_owned()]);
    }
    spec.expiration_seconds.get_or_insert(SECONDS_DEFAULT);
    // Attestations are for webhooks, behind a gate that is closed by default.
    spec.attestations = None;
    spec
}

fn check_seconds(seconds: i64) -> Result<(), Failure> {
    const PATH: &str = "spec.expirationSeconds";
    let detail = match seconds {
        ..SECONDS_MIN => "may not specify a duration less than 10 minutes",
        SECONDS_MIN..=SECONDS_MAX => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    Err(Failure::Invalid { about: about(""), errors: vec![FieldError::invalid(PATH, seconds, detail)] })
}

fn claims(call: &Call, spec: &TokenRequestSpec, account: &Value, now: Timestamp) -> Result<Claims, Refused> {
    let mut bound = Bound {
        namespace: call.path.namespace.clone(),
        serviceaccount: Named { name: call.path.name.clone(), uid: text(account, "uid").to_owned() },
        ..Bound::default()
    };
    if let Some(reference) = &spec.bound_object_ref {
        bind(call, &mut bound, reference)?;
    }
    let audiences = spec.audiences.clone().unwrap_or_default();
    let mut seconds = spec.expiration_seconds.unwrap_or(SECONDS_DEFAULT);
    if bound.pod.is_some() && seconds == SECONDS_OF_OLD_PODS && audiences.iter().all(|a| a == ISSUER) {
        bound.warnafter = Some(now.as_second() + seconds);
        seconds = SECONDS_EXTENDED;
    }
    Ok(Claims::new(bound, audiences, seconds, now))
}

/// Binds the token to an object: without it, or with another of its name, the token is worth nothing.
fn bind(call: &Call, bound: &mut Bound, reference: &BoundObjectReference) -> Result<(), Refused> {
    let said = |text: &Option<String>| text.clone().unwrap_or_default();
    let (api_version, kind, name) = (said(&reference.api_version), said(&reference.kind), said(&reference.name));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let plural = match (group, kind.as_str()) {
        ("", "Pod") => "pods",
        ("", "Secret") => "secrets",
        ("", "Node") => "nodes",
        _ => {
            let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Refused::bad_request(why));
        }
    };
    let object = core_object(call, plural, &name)?;
    let named = Named { name: name.clone(), uid: text(&object, "uid").to_owned() };
    if let Some(meant) = reference.uid.as_deref().filter(|meant| !meant.is_empty() && *meant != named.uid) {
        let why = format!(
            "the UID in the bound object reference ({meant}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        );
        let about = About { group: group.to_owned(), kind, name };
        return Err(Failure::Conflict { about, why, causes: Vec::new() }.into());
    }
    match plural {
        "pods" => bind_to_pod(call, bound, &object, named)?,
        "secrets" => bound.secret = Some(named),
        _ => bound.node = Some(named),
    }
    Ok(())
}

fn bind_to_pod(call: &Call, bound: &mut Bound, pod: &Value, named: Named) -> Result<(), Refused> {
    let of = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or("");
    let account = &call.path.name;
    if of("/spec/serviceAccountName") != account {
        let why = format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        );
        return Err(Refused::bad_request(why));
    }
    let node = of("/spec/nodeName");
    if !node.is_empty() {
        // A node that is not there is named all the same, so that its reader knows where the pod was sent.
        let uid = core_object(call, "nodes", node).map(|node| text(&node, "uid").to_owned()).unwrap_or_default();
        bound.node = Some(Named { name: node.to_owned(), uid });
    }
    bound.pod = Some(named);
    Ok(())
}

fn core_object(call: &Call, plural: &'static str, name: &str) -> Result<Value, Refused> {
    let row = call.machine.registry.get("", "v1", plural).ok_or(Failure::NoSuchPath)?;
    let namespace = namespace_of(&row, &call.path.namespace);
    let found = call.store().get(&Key::new(row.group, row.plural, namespace, name));
    found.map(|entry| entry.value()).ok_or_else(|| Refused::not_found(&row, name))
}

fn namespace_of<'a>(row: &Row, namespace: &'a str) -> &'a str {
    match row.scope {
        crate::registry::Scope::Namespaced => namespace,
        crate::registry::Scope::Cluster => "",
    }
}

fn unparsable(why: &str) -> Refused {
    Refused::bad_request(format!("{KIND} in version \"v1\" cannot be handled as a {KIND}: {why}"))
}
