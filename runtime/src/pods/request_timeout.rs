//! How long an HTTP pod may take for an answer: `coracle.dev/request-timeout`, which Kubernetes has no field for.
//!
//! It refuses what it does not understand, since a bound that silently is not there is found out too late.

use std::time::Duration;

use coracle_api::duration;
use k8s_openapi::api::core::v1::Pod;

use crate::lifecycle::Problem;

/// The annotation, on the pod.
const ANNOTATION: &str = "coracle.dev/request-timeout";

/// What the pod says; nothing where it leaves it to the node. `0` is for ever, as it is for Kubernetes' own timeouts.
pub(super) fn request_timeout(pod: &Pod) -> Result<Option<Duration>, Problem> {
    let Some(text) = pod.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION)) else { return Ok(None) };
    match duration::parse(text) {
        Ok(Duration::ZERO) => Ok(Some(Duration::MAX)),
        Ok(limit) => Ok(Some(limit)),
        Err(error) => Err(Problem::CreateContainerConfigError(format!("annotation {ANNOTATION}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Duration>, Problem> {
        let mut pod = Pod::default();
        pod.metadata.annotations = Some([(ANNOTATION.to_owned(), text.to_owned())].into());
        request_timeout(&pod)
    }

    #[test]
    fn it_is_a_duration_as_go_writes_them_or_the_container_says_what_is_wrong() {
        assert_eq!(request_timeout(&Pod::default()), Ok(None));
        assert_eq!(read("1m30s"), Ok(Some(Duration::from_secs(90))));
        assert_eq!(read("0"), Ok(Some(Duration::MAX)));
        let Err(Problem::CreateContainerConfigError(message)) = read("30") else { panic!("it was taken") };
        assert_eq!(message, "annotation coracle.dev/request-timeout: time: missing unit in duration \"30\"");
    }
}
