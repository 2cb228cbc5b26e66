"""The official Python client against the cluster: create, read, list, update, patch, watch, delete, exec."""

import sys
import threading

from kubernetes import client, config, stream, watch

namespace = sys.argv[1]
config.load_kube_config()
core = client.CoreV1Api()
apps = client.AppsV1Api()

seen = []
ready = threading.Event()


def follow():
    for event in watch.Watch().stream(core.list_namespaced_config_map, namespace, label_selector="from=python", timeout_seconds=60):
        seen.append((event["type"], event["object"].metadata.name))
        ready.set()
        if event["type"] == "DELETED":
            return


body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="settings", labels={"from": "python"}), data={"a": "1"})
created = core.create_namespaced_config_map(namespace, body)
follower = threading.Thread(target=follow)
follower.start()
assert ready.wait(30), "the watch did not show the object that was there"
assert core.read_namespaced_config_map("settings", namespace).data == {"a": "1"}
created.data["a"] = "2"
replaced = core.replace_namespaced_config_map("settings", namespace, created)
assert replaced.metadata.resource_version != created.metadata.resource_version
created.data["a"] = "3"
try:
    core.replace_namespaced_config_map("settings", namespace, created)
    raise AssertionError("a stale write was taken")
except client.ApiException as error:
    assert error.status == 409, error
core.patch_namespaced_config_map("settings", namespace, {"data": {"b": "4"}})
assert core.read_namespaced_config_map("settings", namespace).data == {"a": "2", "b": "4"}
names = [item.metadata.name for item in core.list_namespaced_config_map(namespace, label_selector="from=python").items]
assert names == ["settings"], names
core.delete_namespaced_config_map("settings", namespace)
follower.join(30)
assert seen == [("ADDED", "settings"), ("MODIFIED", "settings"), ("MODIFIED", "settings"), ("DELETED", "settings")], seen

container = client.V1Container(name="web", image="xebec.local/workload:1")
labels = {"app": "py"}
apps.create_namespaced_deployment(
    namespace,
    client.V1Deployment(
        metadata=client.V1ObjectMeta(name="py"),
        spec=client.V1DeploymentSpec(
            replicas=2,
            selector=client.V1LabelSelector(match_labels=labels),
            template=client.V1PodTemplateSpec(
                metadata=client.V1ObjectMeta(labels=labels),
                spec=client.V1PodSpec(containers=[container], termination_grace_period_seconds=1),
            ),
        ),
    ),
)
for event in watch.Watch().stream(apps.list_namespaced_deployment, namespace, timeout_seconds=60):
    if event["object"].status.ready_replicas == 2:
        break
else:
    raise AssertionError("the Deployment did not become ready")
pods = core.list_namespaced_pod(namespace, label_selector="app=py", field_selector="status.phase=Running").items
assert len(pods) == 2, pods
name = pods[0].metadata.name
answer = stream.stream(core.connect_get_namespaced_pod_exec, name, namespace, command=["hostname"], stdout=True, stderr=True, stdin=False, tty=False)
assert answer.strip() == name, answer
assert "listening name=" + name in core.read_namespaced_pod_log(name, namespace)
apps.patch_namespaced_deployment_scale("py", namespace, {"spec": {"replicas": 1}})
assert apps.read_namespaced_deployment_scale("py", namespace).spec.replicas == 1
print("the official client is content")
