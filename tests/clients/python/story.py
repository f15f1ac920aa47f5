"""What the stories share: a connection, a namespace of their own, and a runner that tells which story failed.

Invariant: a story asserts what the client handed over, never what went over the wire.
"""

import contextlib
import sys
import time
import traceback

from kubernetes import client, config


def run(*stories):
    """Runs each story in a namespace of its own; exits with 1 if one failed."""
    config.load_kube_config()
    failed = []
    for story in stories:
        name = story.__name__.replace("_", "-")[:50].strip("-")
        try:
            with namespace(name) as where:
                story(where)
        except Exception:  # noqa: BLE001 - whatever ends a story is told, and the next one begins
            failed.append(story.__name__)
            print(f"FAILED {story.__name__}\n{traceback.format_exc()}", file=sys.stderr)
    print(f"{len(stories) - len(failed)} of {len(stories)} stories passed")
    sys.exit(1 if failed else 0)


@contextlib.contextmanager
def namespace(name):
    """A namespace for the length of a story."""
    core = client.CoreV1Api()
    core.create_namespace({"metadata": {"name": name}})
    eventually("what every namespace is given", lambda: has_root_ca(core, name))
    try:
        yield name
    finally:
        core.delete_namespace(name)


# In every namespace: the certificate of the cluster's authority. It comes a moment after the namespace.
ROOT_CA = "kube-root-ca.crt"


def has_root_ca(core, name):
    """Whether the namespace has the certificate yet."""
    try:
        return core.read_namespaced_config_map(ROOT_CA, name)
    except client.ApiException as refusal:
        assert refusal.status == 404, refusal
        return None


def eventually(what, check, seconds=30):
    """Asks again until the answer is true, and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = check()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s")


@contextlib.contextmanager
def refused(status, *words):
    """The block must end with this status and these words in the answer."""
    try:
        yield
    except client.ApiException as refusal:
        assert refusal.status == status, f"{refusal.status} {refusal.body}"
        for word in words:
            assert word in refusal.body, f"{word!r} is not in {refusal.body}"
        return
    raise AssertionError(f"it was not refused with {status}")


def config_map(name, data=None, **meta):
    """A ConfigMap as the typed client builds it."""
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, **meta), data=data or {"a": "1"})


def deployment(name, replicas=1):
    """A Deployment as the typed client builds it."""
    labels = {"app": name}
    container = client.V1Container(
        name="web",
        image="hello:1",
        ports=[client.V1ContainerPort(container_port=8080)],
        resources=client.V1ResourceRequirements(limits={"memory": "64Mi"}),
    )
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container])
    )
    spec = client.V1DeploymentSpec(
        replicas=replicas, selector=client.V1LabelSelector(match_labels=labels), template=template
    )
    return client.V1Deployment(metadata=client.V1ObjectMeta(name=name), spec=spec)
