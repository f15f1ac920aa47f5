//! `/containerLogs/{namespace}/{pod}/{container}` with the query of `PodLogOptions`; an error is plain text, which the
//! API server hands on to the person who asked.

use coracle_api::clock;
use coracle_api::meet::{BodyError, HttpResponse};
use futures::TryStreamExt;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ContainerStatus;

use super::{Kubelet, Refusal};
use crate::logs::{self, Options, Place};
use crate::query::Query;

impl Kubelet {
    /// The log that the path names, streamed.
    pub(super) fn logs_of(&self, path: &str, query: &Query) -> Result<HttpResponse, Refusal> {
        let mut parts = path.trim_start_matches('/').split('/');
        let (Some("containerLogs"), Some(namespace), Some(pod), Some(container), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err((StatusCode::NOT_FOUND, format!("the kubelet has no path {path}")));
        };
        let record = self
            .records
            .get(namespace, pod)
            .ok_or_else(|| (StatusCode::NOT_FOUND, format!("pod {pod:?} does not exist on this node")))?;
        let status = &record.status;
        let mut all = status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
            .chain(&status.ephemeral_container_statuses)
            .flatten();
        let bad = |text: String| (StatusCode::BAD_REQUEST, text);
        let container = all
            .find(|c| c.name == container)
            .ok_or_else(|| bad(format!("container {container:?} in pod {pod:?} is not available")))?;
        let options = options(query, clock::now()).map_err(bad)?;
        let run = run_of(container, pod, query.get("previous") == Some("true")).map_err(bad)?;
        let place = Place {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            uid: record.uid.clone(),
            container: container.name.clone(),
        };
        let live = self.logs.live(&place);
        let gone =
            |e| (StatusCode::NOT_FOUND, format!("the log of container {:?} cannot be read: {e}", place.container));
        let dir = self.logs.dir(&place);
        // A run that is about to start has no log yet: the one before is the newest.
        let before = || run.checked_sub(1).map(|before| logs::read(&dir, before, None, options.clone()));
        let stream = match logs::read(&dir, run, live.as_ref(), options.clone()) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => before().unwrap_or(Err(e)),
            other => other,
        };
        let stream = stream.map_err(gone)?;
        let frames = stream.map_ok(Frame::data).map_err(|e| -> BodyError { Box::new(e) });
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(response)
    }
}

/// Which run's log is meant: the kubelet's `validateContainerLogStatus`.
fn run_of(container: &ContainerStatus, pod: &str, previous: bool) -> Result<u32, String> {
    let name = &container.name;
    let restarts = u32::try_from(container.restart_count).unwrap_or(0);
    let state = container.state.clone().unwrap_or_default();
    let ended_before = container.last_state.as_ref().is_some_and(|s| s.terminated.is_some());
    if let Some(waiting) = state.waiting {
        // It waits to be started again: its last run is both the current and the previous one.
        if ended_before {
            return Ok(restarts);
        }
        let reason = waiting.reason.unwrap_or_default();
        return Err(match reason.as_str() {
            "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" => {
                format!("container {name:?} in pod {pod:?} is waiting to start: trying and failing to pull image")
            }
            reason => format!("container {name:?} in pod {pod:?} is waiting to start: {reason}"),
        });
    }
    if previous {
        return restarts
            .checked_sub(1)
            .filter(|_| ended_before)
            .ok_or_else(|| format!("previous terminated container {name:?} in pod {pod:?} not found"));
    }
    Ok(restarts)
}

fn options(query: &Query, now: Timestamp) -> Result<Options, String> {
    let number = |key: &str| -> Result<Option<u64>, String> {
        let Some(text) = query.get(key).filter(|t| !t.is_empty()) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("{key} must be a number of at least 0, not {text:?}"))
    };
    let since_time = match query.get("sinceTime").filter(|t| !t.is_empty()) {
        Some(text) => Some(text.parse().map_err(|_| format!("sinceTime must be a time as in RFC 3339, not {text:?}"))?),
        None => None,
    };
    let since_seconds = number("sinceSeconds")?.map(|s| {
        let ago = SignedDuration::from_secs(i64::try_from(s).unwrap_or(i64::MAX));
        now.checked_sub(ago).unwrap_or(Timestamp::MIN)
    });
    Ok(Options {
        tail: number("tailLines")?,
        since: since_time.or(since_seconds),
        timestamps: query.get("timestamps") == Some("true"),
        limit: number("limitBytes")?,
        follow: query.get("follow") == Some("true"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(state: Value, last: Value, restarts: i32, previous: bool) -> Result<u32, String> {
        let status: ContainerStatus = serde_json::from_value(json!({"name": "c", "image": "", "imageID": "",
            "ready": false, "restartCount": restarts, "state": state, "lastState": last}))
        .unwrap();
        run_of(&status, "p", previous)
    }

    #[test]
    fn the_run_whose_log_is_meant_follows_from_the_status() {
        let ended = || json!({"terminated": {"exitCode": 1}});
        let running = || json!({"running": {}});
        let crashed = || json!({"waiting": {"reason": "CrashLoopBackOff"}});
        assert_eq!(check(running(), json!({}), 0, false), Ok(0));
        assert_eq!(check(running(), ended(), 3, false), Ok(3));
        assert_eq!(check(running(), ended(), 3, true), Ok(2));
        assert_eq!(check(crashed(), ended(), 3, false), Ok(3));
        assert_eq!(check(crashed(), ended(), 3, true), Ok(3));
        let none = check(running(), json!({}), 0, true).unwrap_err();
        assert_eq!(none, "previous terminated container \"c\" in pod \"p\" not found");
        let waits = check(json!({"waiting": {"reason": "ContainerCreating"}}), json!({}), 0, false).unwrap_err();
        assert_eq!(waits, "container \"c\" in pod \"p\" is waiting to start: ContainerCreating");
    }

    #[test]
    fn options_are_read_from_the_query() {
        let now = Timestamp::from_second(100).unwrap();
        let all = options(&Query::parse("follow=true&tailLines=5&sinceSeconds=40&timestamps=true&limitBytes=9"), now);
        let expected = Options {
            tail: Some(5),
            since: Some(Timestamp::from_second(60).unwrap()),
            timestamps: true,
            limit: Some(9),
            follow: true,
        };
        assert_eq!(all, Ok(expected));
        assert!(options(&Query::parse("tailLines=-1"), now).is_err());
        assert!(options(&Query::parse("sinceTime=now"), now).is_err());
    }
}
