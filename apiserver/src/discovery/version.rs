//! Which Kubernetes is spoken: `/version`.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value};

use crate::answer::{self, Encoding};

/// The Kubernetes version whose API is spoken: that of `k8s-openapi`'s newest feature.
const MAJOR: &str = "1";
/// See [`MAJOR`].
const MINOR: &str = "37";

/// The version that is spoken: `v1.37.0`.
pub(crate) fn spoken() -> String {
    format!("v{MAJOR}.{MINOR}.0")
}

/// What is told of the version, by name.
fn told() -> [(&'static str, String); 9] {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    [
        ("buildDate", "1970-01-01T00:00:00Z".to_owned()),
        ("compiler", "rustc".to_owned()),
        ("gitCommit", String::new()),
        ("gitTreeState", "clean".to_owned()),
        ("gitVersion", format!("{}+coracle-{}", spoken(), env!("CARGO_PKG_VERSION"))),
        ("goVersion", String::new()),
        ("major", MAJOR.to_owned()),
        ("minor", MINOR.to_owned()),
        ("platform", format!("{}/{architecture}", std::env::consts::OS)),
    ]
}

/// The same as labels of a metric: `git_version="v1.37.0"`.
pub(crate) fn labels() -> String {
    let label = |(name, value): (&str, String)| {
        let snake = name.chars().fold(String::new(), |mut snake, letter| {
            if letter.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
            snake
        });
        format!("{snake}=\"{value}\"")
    };
    told().map(label).join(",")
}

/// `/version`.
pub(crate) async fn version() -> Response {
    let told: Map<String, Value> = told().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    answer::value(StatusCode::OK, &Value::Object(told), Encoding::Json)
}
