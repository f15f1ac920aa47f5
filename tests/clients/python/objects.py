"""The typed Python client: objects are made, read, listed, changed and deleted, and refusals are understood."""

from kubernetes import client, dynamic, utils
from kubernetes.dynamic.exceptions import DynamicApiError
from story import ROOT_CA, config_map, deployment, eventually, refused, run


def an_object_comes_back_as_it_was_sent(namespace):
    core = client.CoreV1Api()
    made = core.create_namespaced_config_map(namespace, config_map("settings", {"k": "é"}, labels={"a": "b"}))
    assert made.metadata.uid and made.metadata.creation_timestamp and made.kind == "ConfigMap"
    read = core.read_namespaced_config_map("settings", namespace)
    assert read.data == {"k": "é"} and read.metadata.labels == {"a": "b"}
    assert read.metadata.resource_version == made.metadata.resource_version
    read.data["l"] = "2"
    replaced = core.replace_namespaced_config_map("settings", namespace, read)
    assert replaced.data == {"k": "é", "l": "2"}
    with refused(409, "Conflict", "the object has been modified"):
        core.replace_namespaced_config_map("settings", namespace, read)
    gone = core.delete_namespaced_config_map("settings", namespace)
    assert gone["status"] == "Success" and gone["details"]["uid"] == made.metadata.uid, gone
    with refused(404, "NotFound", 'configmaps \\"settings\\" not found'):
        core.read_namespaced_config_map("settings", namespace)


def each_kind_of_patch_is_taken(namespace):
    core = client.CoreV1Api()
    core.create_namespaced_config_map(namespace, config_map("p"))
    # A list is sent as a JSON patch, a dictionary as a strategic merge patch.
    ops = [{"op": "add", "path": "/data/b", "value": "2"}, {"op": "remove", "path": "/data/a"}]
    assert core.patch_namespaced_config_map("p", namespace, ops).data == {"b": "2"}
    merged = core.patch_namespaced_config_map("p", namespace, {"data": {"b": None, "c": "3"}})
    assert merged.data == {"c": "3"}
    applied = core.patch_namespaced_config_map(
        "p",
        namespace,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p"}, "data": {"d": "4"}},
        field_manager="python",
        force=True,
        _content_type="application/apply-patch+yaml",
    )
    assert applied.data == {"c": "3", "d": "4"}
    owners = {(field.manager, field.operation) for field in applied.metadata.managed_fields}
    assert ("python", "Apply") in owners, owners


def lists_come_in_pages_and_by_selectors(namespace):
    core = client.CoreV1Api()
    for number in range(7):
        core.create_namespaced_config_map(namespace, config_map(f"n{number}", labels={"odd": str(number % 2)}))
    page = core.list_namespaced_config_map(namespace, limit=3)
    names = [item.metadata.name for item in page.items]
    assert page.metadata.remaining_item_count == 5
    core.delete_namespaced_config_map("n6", namespace)
    while page.metadata._continue:
        page = core.list_namespaced_config_map(namespace, limit=3, _continue=page.metadata._continue)
        names += [item.metadata.name for item in page.items]
    assert names == [ROOT_CA] + [f"n{number}" for number in range(7)], "the list is of one moment"
    odd = core.list_namespaced_config_map(namespace, label_selector="odd in (1),odd!=2")
    assert [item.metadata.name for item in odd.items] == ["n1", "n3", "n5"]
    one = core.list_namespaced_config_map(namespace, field_selector="metadata.name=n2")
    assert [item.metadata.name for item in one.items] == ["n2"]
    with refused(400, "BadRequest"):
        core.list_namespaced_config_map(namespace, field_selector="data.a=1")
    cached = core.list_namespaced_config_map(namespace, resource_version="0", resource_version_match="NotOlderThan")
    assert len(cached.items) == 7
    core.delete_collection_namespaced_config_map(namespace, label_selector="odd=1")
    left = [item.metadata.name for item in core.list_namespaced_config_map(namespace).items]
    assert left == [ROOT_CA, "n0", "n2", "n4"], left


def a_dry_run_changes_nothing_and_validation_can_be_strict(namespace):
    core = client.CoreV1Api()
    core.create_namespaced_config_map(namespace, config_map("dry"), dry_run="All")
    with refused(404):
        core.read_namespaced_config_map("dry", namespace)
    # The typed client refuses what it does not know by itself; the bare one sends it.
    odd = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "odd"}, "dat": {}}
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    try:
        send(path, odd, "Strict")
        raise AssertionError("an unknown field is refused")
    except DynamicApiError as refusal:
        assert refusal.status == 400 and "strict decoding error: unknown field" in str(refusal.body), refusal
    assert send(path, odd, "Ignore").metadata.uid
    with refused(422, "Invalid", "metadata.name"):
        core.create_namespaced_config_map(namespace, config_map("Not_A_Name"))
    with refused(409, "AlreadyExists"):
        core.create_namespaced_config_map(namespace, config_map("odd"))


def send(path, body, validation):
    client_of_any = dynamic.DynamicClient(client.ApiClient())
    return client_of_any.request("post", path, body=body, query_params=[("fieldValidation", validation)])


def a_deployment_is_scaled_restarted_and_watched_over(namespace):
    apps = client.AppsV1Api()
    made = apps.create_namespaced_deployment(namespace, deployment("web", replicas=2))
    assert made.spec.strategy.rolling_update.max_surge == "25%" and made.spec.revision_history_limit == 10
    scale = apps.read_namespaced_deployment_scale("web", namespace)
    assert scale.spec.replicas == 2 and scale.kind == "Scale"
    apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 3}})
    assert apps.read_namespaced_deployment("web", namespace).spec.replicas == 3
    core = client.CoreV1Api()

    def pods():
        found = core.list_namespaced_pod(namespace, label_selector="app=web").items
        return found if len(found) == 3 else None

    pod = eventually("three pods", pods)[0]
    assert pod.spec.containers[0].resources.limits == {"memory": "64Mi"} and pod.status.phase == "Pending"
    assert pod.metadata.owner_references[0].kind == "ReplicaSet"
    with refused(422, "Invalid", "spec.selector", "field is immutable"):
        apps.patch_namespaced_deployment("web", namespace, {"spec": {"selector": {"matchLabels": {"app": "x"}}}})
    apps.delete_namespaced_deployment("web", namespace, propagation_policy="Foreground")
    eventually("no pods", lambda: not core.list_namespaced_pod(namespace).items)


def yaml_is_made_into_objects(namespace):
    objects = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "1"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "two"}, "spec": {"ports": [{"port": 80}]}},
    ]
    for each in objects:
        utils.create_from_dict(client.ApiClient(), each, namespace=namespace)
    service = client.CoreV1Api().read_namespaced_service("two", namespace)
    assert service.spec.cluster_ip and service.spec.ports[0].target_port == 80


def every_collection_can_be_read(_):
    core, apps = client.CoreV1Api(), client.AppsV1Api()
    for read in [
        core.list_config_map_for_all_namespaces,
        core.list_endpoints_for_all_namespaces,
        core.list_event_for_all_namespaces,
        core.list_namespace,
        core.list_node,
        core.list_persistent_volume_claim_for_all_namespaces,
        core.list_pod_for_all_namespaces,
        core.list_secret_for_all_namespaces,
        core.list_service_account_for_all_namespaces,
        core.list_service_for_all_namespaces,
        apps.list_deployment_for_all_namespaces,
        apps.list_replica_set_for_all_namespaces,
        client.CoordinationV1Api().list_lease_for_all_namespaces,
        client.DiscoveryV1Api().list_endpoint_slice_for_all_namespaces,
        client.PolicyV1Api().list_pod_disruption_budget_for_all_namespaces,
        client.AutoscalingV2Api().list_horizontal_pod_autoscaler_for_all_namespaces,
    ]:
        assert read().metadata.resource_version, read.__name__
    assert client.VersionApi().get_code().major == "1"
    groups = {group.name for group in client.ApisApi().get_api_versions().groups}
    assert {"apps", "coordination.k8s.io", "discovery.k8s.io", "policy"} <= groups, groups


run(
    an_object_comes_back_as_it_was_sent,
    each_kind_of_patch_is_taken,
    lists_come_in_pages_and_by_selectors,
    a_dry_run_changes_nothing_and_validation_can_be_strict,
    a_deployment_is_scaled_restarted_and_watched_over,
    yaml_is_made_into_objects,
    every_collection_can_be_read,
)
