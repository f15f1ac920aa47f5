"""The Python client's watches and its dynamic client, which finds kinds by discovery."""

import threading

from kubernetes import client, dynamic, watch
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError
from story import config_map, eventually, refused, run


def a_watch_tells_each_change_in_order(namespace):
    core = client.CoreV1Api()
    core.create_namespaced_config_map(namespace, config_map("there"))
    seen, watcher = [], watch.Watch()

    def follow():
        for event in watcher.stream(core.list_namespaced_config_map, namespace, timeout_seconds=60):
            assert isinstance(event["object"], client.V1ConfigMap)
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED":
                watcher.stop()

    following = threading.Thread(target=follow)
    following.start()
    eventually("what was there", lambda: ("ADDED", "there") in seen)
    core.create_namespaced_config_map(namespace, config_map("new"))
    core.patch_namespaced_config_map("new", namespace, {"data": {"b": "2"}})
    core.delete_namespaced_config_map("new", namespace)
    following.join(30)
    changes = [event for event in seen if event[1] == "new"]
    assert changes == [("ADDED", "new"), ("MODIFIED", "new"), ("DELETED", "new")], changes


def a_watch_from_a_list_misses_nothing_and_ends_in_time(namespace):
    core = client.CoreV1Api()
    version = core.list_namespaced_config_map(namespace).metadata.resource_version
    for number in range(20):
        core.create_namespaced_config_map(namespace, config_map(f"n{number:02}"))
    told = watch.Watch().stream(
        core.list_namespaced_config_map,
        namespace,
        resource_version=version,
        timeout_seconds=1,
        label_selector="!none",
    )
    names = [event["object"].metadata.name for event in told]
    assert names == [f"n{number:02}" for number in range(20)], names


def the_dynamic_client_finds_kinds_by_discovery(namespace):
    dyn = dynamic.DynamicClient(client.ApiClient())
    maps = dyn.resources.get(api_version="v1", kind="ConfigMap")
    assert maps.namespaced and "cm" in maps.short_names
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dyn"}, "data": {"a": "1"}}
    made = dyn.server_side_apply(maps, body=body, namespace=namespace, field_manager="one")
    assert made.data.a == "1"
    body["data"]["a"] = "2"
    try:
        dyn.server_side_apply(maps, body=body, namespace=namespace, field_manager="two")
        raise AssertionError("two managers cannot both own a field")
    except ConflictError as conflict:
        assert "conflict with" in str(conflict.body) and "one" in str(conflict.body), conflict
    forced = dyn.server_side_apply(maps, body=body, namespace=namespace, field_manager="two", force_conflicts=True)
    assert forced.data.a == "2"
    deployments = dyn.resources.get(api_version="apps/v1", kind="Deployment")
    assert {"scale", "status"} <= set(deployments.subresources)
    maps.delete(name="dyn", namespace=namespace)
    try:
        maps.get(name="dyn", namespace=namespace)
        raise AssertionError("it is gone")
    except NotFoundError:
        pass


def a_wrong_token_is_no_one(namespace):
    stranger = client.Configuration.get_default_copy()
    stranger.cert_file = stranger.key_file = None
    stranger.api_key = {"authorization": "Bearer not-a-token"}
    core = client.CoreV1Api(client.ApiClient(stranger))
    with refused(401, "Unauthorized"):
        core.list_namespaced_config_map(namespace)


run(
    a_watch_tells_each_change_in_order,
    a_watch_from_a_list_misses_nothing_and_ends_in_time,
    the_dynamic_client_finds_kinds_by_discovery,
    a_wrong_token_is_no_one,
)
