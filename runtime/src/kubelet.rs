//! The kubelet's own API: logs, figures, the pods of the node, and sessions in them. But for sessions, which may be
//! asked for by POST, and for what pods answer themselves, it answers GET and nothing else.
//!
//! | path | what |
//! |---|---|
//! | `/healthz` | `ok` |
//! | `/containerLogs/{namespace}/{pod}/{container}` | a log, streamed |
//! | `/pods`, `/runningpods/` | a `PodList` |
//! | `/stats/summary` | the Summary of `stats/v1alpha1`; `?only_cpu_and_memory=true` leaves out what is slow |
//! | `/stats/usage` | node and pods in the shape of `metrics.k8s.io`; ours. `?namespace=&pod=` for fewer |
//! | `/metrics`, `/metrics/resource`, `/metrics/cadvisor` | for Prometheus |
//! | `/configz` | the configuration |
//! | `/exec/{namespace}/{pod}/{container}` | a command in a container, `?command=&command=&input=1&output=1&error=1&tty=1` |
//! | `/attach/{namespace}/{pod}/{container}` | the container's own streams, with the same query but for `command` |
//! | `/proxy/{namespace}/{pod}/{scheme}:{port}/…` | what the pod answers there, to whatever method; ours |
//! | `/portForward/{namespace}/{pod}` | connections to the pod's ports; `?port=80&port=81` for channels of a WebSocket |
//!
//! Sessions begin with an HTTP upgrade, and go on in a protocol of `streams`.

mod config;
mod forward;
mod logs;
mod metrics;
mod pods;
mod proxy;
mod session;
mod streams;

use async_trait::async_trait;
use coracle_api::meet::{HttpRequest, HttpResponse, HttpService, body_of};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::Value;

use crate::logs::Logs;
use crate::pods::{Attachments, Records};
use crate::query::Query;
use crate::stats::Stats;
use crate::stats::summary::{self, Depth, Disk};
use crate::stats::usage;

pub(crate) use config::config;
#[cfg(test)]
pub(crate) use session::{Command, Exit, Size, Streams};
pub(crate) use session::{Place, Sessions};
pub(crate) use streams::Streaming;

/// Serves the kubelet's API out of what the node knows of its pods.
#[derive(Clone)]
pub(crate) struct Kubelet {
    pub(crate) logs: Logs,
    pub(crate) records: Records,
    pub(crate) stats: Stats,
    pub(crate) sessions: Sessions,
    pub(crate) config: Value,
    pub(crate) attachments: Attachments,
    pub(crate) streaming: Streaming,
}

/// Why a request is not answered.
type Refusal = (StatusCode, String);

/// The text format that Prometheus reads.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

#[async_trait]
impl HttpService for Kubelet {
    async fn serve(&self, mut request: HttpRequest) -> HttpResponse {
        if let Some(answer) = self.session(&mut request) {
            return answer;
        }
        if request.uri().path().starts_with(proxy::PREFIX) {
            return self.proxied(request).await;
        }
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let answer = match *request.method() {
            Method::GET => self.get(request.uri().path(), &query).await,
            _ => Err((StatusCode::METHOD_NOT_ALLOWED, "method not allowed".to_owned())),
        };
        answer.unwrap_or_else(|(status, text)| {
            let mut response = Response::new(body_of(text));
            *response.status_mut() = status;
            response
        })
    }
}

impl Kubelet {
    /// The answer to a request for a session; nothing if it is for something else.
    fn session(&self, request: &mut HttpRequest) -> Option<HttpResponse> {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        if !matches!(*request.method(), Method::GET | Method::POST) {
            return None;
        }
        let known = |namespace: &str, pod: &str| {
            let missing = || streams::Refusal::new(StatusCode::NOT_FOUND, "pod does not exist");
            self.records.get(namespace, pod).ok_or_else(missing)
        };
        let opened = match parts.as_slice() {
            [what @ ("exec" | "attach"), namespace, pod, container] => known(namespace, pod).and_then(|_| {
                let [namespace, pod, container] = [namespace, pod, container].map(|part| (*part).to_owned());
                self.streaming.remote_command(
                    request,
                    self.sessions.clone(),
                    Place { namespace, pod, container },
                    *what == "exec",
                )
            }),
            ["portForward", namespace, pod] => known(namespace, pod).and_then(|record| {
                let text = format!("pod not found (\"{pod}_{namespace}\")");
                let missing = || streams::Refusal::new(StatusCode::NOT_FOUND, text);
                let attached = self.attachments.get(&record.uid).ok_or_else(missing)?;
                self.streaming.port_forward(request, attached)
            }),
            _ => return None,
        };
        Some(opened.unwrap_or_else(streams::Refusal::response))
    }

    async fn get(&self, path: &str, query: &Query) -> Result<HttpResponse, Refusal> {
        match path.trim_end_matches('/') {
            "/healthz" | "/healthz/ping" | "/healthz/log" | "/healthz/syncloop" => Ok(text("ok".to_owned())),
            "/pods" => Ok(json(&pods::list(&self.records, pods::Which::All))),
            "/runningpods" => Ok(json(&pods::list(&self.records, pods::Which::Running))),
            "/stats/summary" => Ok(json(&self.summary(query).await)),
            "/stats/usage" => Ok(json(&self.usage(query).await)),
            "/metrics" => {
                let own = metrics::own(&self.stats.counters(), &self.records.all(), &self.stats.meters.counts());
                Ok(exposition(own + &self.claims().await))
            }
            "/metrics/resource" => Ok(exposition(metrics::resource(&self.stats.counters()))),
            "/metrics/cadvisor" => Ok(exposition(metrics::cadvisor(&self.stats.counters(), &self.disk().await))),
            "/configz" => Ok(json(&self.config)),
            _ => self.logs_of(path, query),
        }
    }

    async fn summary(&self, query: &Query) -> Value {
        let depth = match query.get("only_cpu_and_memory") {
            Some("true" | "1") => Depth::CpuAndMemory,
            _ => Depth::Whole,
        };
        let figures = self.stats.figures().await;
        let disk = if depth == Depth::Whole { self.disk().await } else { Disk::default() };
        summary::summary(&figures, self.stats.node.as_str(), self.stats.started, &disk, depth)
    }

    async fn usage(&self, query: &Query) -> Value {
        let wanted = |key: &str, value: &str| query.get(key).is_none_or(|wanted| wanted.is_empty() || wanted == value);
        let figures = self.stats.figures().await;
        usage::usage(&figures, self.stats.node.as_str(), |namespace, pod| {
            wanted("namespace", namespace) && wanted("pod", pod)
        })
    }

    /// What the volumes behind claims hold, likewise.
    async fn claims(&self) -> String {
        let (places, records) = (self.stats.places.clone(), self.records.all());
        let measured = tokio::task::spawn_blocking(move || {
            metrics::volumes(&places.claims(records.iter().map(|(_, r)| &*r.pod)), places.file_system())
        });
        measured.await.unwrap_or_default()
    }

    /// The disk, measured where it keeps nobody waiting.
    async fn disk(&self) -> Disk {
        let (places, records) = (self.stats.places.clone(), self.records.all());
        let measured = tokio::task::spawn_blocking(move || places.measure(records.iter().map(|(_, r)| &*r.pod)));
        measured.await.unwrap_or_default()
    }
}

fn text(text: String) -> HttpResponse {
    typed(text, "text/plain; charset=utf-8")
}

fn exposition(text: String) -> HttpResponse {
    typed(text, EXPOSITION)
}

fn json(value: &Value) -> HttpResponse {
    typed(value.to_string(), "application/json")
}

fn typed(text: String, media: &'static str) -> HttpResponse {
    let mut response = Response::new(body_of(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}
