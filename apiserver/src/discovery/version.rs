//! Which Kubernetes is spoken: `/version`.

use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use crate::answer::{self, Encoding};

/// The Kubernetes version whose API is spoken: that of `k8s-openapi`'s newest feature.
const MAJOR: &str = "1";
/// See [`MAJOR`].
const MINOR: &str = "37";

/// The version that is spoken: `v1.37.0`.
pub(crate) fn spoken() -> String {
    format!("v{MAJOR}.{MINOR}.0")
}

/// Tells the version.
pub(crate) async fn version() -> Response {
    let ours = env!("CARGO_PKG_VERSION");
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let told = json!({
        "major": MAJOR,
        "minor": MINOR,
        "gitVersion": format!("{}+coracle-{ours}", spoken()),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{architecture}", std::env::consts::OS),
    });
    answer::value(StatusCode::OK, &told, Encoding::Json)
}
