//! Peers: asks the API which pods are in its namespace, as the ServiceAccount that its pod runs as.
//!
//! Invariant: it brings nothing along. Token and namespace are where Kubernetes puts them in every pod, and who signs
//! the API's certificate is the host's to know, which does TLS for it.

use std::io::{self, Read as _};
use std::process::ExitCode;
use std::{env, fs};

use serde_json::Value;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, OutgoingBody, OutgoingRequest, Scheme};

/// What every pod is given of its account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The API's name in every namespace; an argument may say another, or its address.
const API: &str = "kubernetes.default.svc";

fn main() -> ExitCode {
    match peers() {
        Ok(names) => {
            names.iter().for_each(|name| println!("{name}"));
            println!("{} pods", names.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The names of the pods in this namespace.
fn peers() -> io::Result<Vec<String>> {
    let host = env::args().nth(1).unwrap_or_else(|| API.to_owned());
    let namespace = fs::read_to_string(format!("{ACCOUNT}/namespace"))?;
    // Read each time it is used: it is renewed while the pod runs.
    let token = fs::read_to_string(format!("{ACCOUNT}/token"))?;
    let (status, body) = get(&host, &format!("/api/v1/namespaces/{namespace}/pods"), token.trim_end())?;
    let answer: Value = serde_json::from_str(&body).map_err(io::Error::other)?;
    if status != 200 {
        let message = answer.get("message").and_then(Value::as_str).unwrap_or("the API does not say why");
        return Err(io::Error::other(format!("{status} {message}")));
    }
    let pods = answer.get("items").and_then(Value::as_array).into_iter().flatten();
    Ok(pods.filter_map(|pod| pod.pointer("/metadata/name")?.as_str().map(str::to_owned)).collect())
}

/// Asks by HTTPS; comes back with the status and the body.
fn get(host: &str, path: &str, token: &str) -> io::Result<(u16, String)> {
    let field = |name: &str, value: String| (name.to_owned(), value.into_bytes());
    let fields = [field("authorization", format!("Bearer {token}")), field("accept", "application/json".to_owned())];
    let request = OutgoingRequest::new(Fields::from_list(&fields).map_err(io::Error::other)?);
    let refused = |()| io::Error::other("the host takes no such request");
    request.set_scheme(Some(&Scheme::Https)).map_err(refused)?;
    request.set_authority(Some(host)).map_err(refused)?;
    request.set_path_with_query(Some(path)).map_err(refused)?;
    let body = request.body().map_err(refused)?;
    OutgoingBody::finish(body, None).map_err(io::Error::other)?;

    let answer = handle(request, None).map_err(io::Error::other)?;
    answer.subscribe().block();
    let none = || io::Error::other("there is no answer");
    let response = answer.get().ok_or_else(none)?.map_err(|()| none())?.map_err(io::Error::other)?;
    let body = response.consume().map_err(|()| none())?;
    let mut text = String::new();
    body.stream().map_err(|()| none())?.read_to_string(&mut text)?;
    Ok((response.status(), text))
}
