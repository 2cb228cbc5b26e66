"""kr8s against the cluster: create, list, wait, label, logs, exec, delete."""

import sys

import kr8s
from kr8s.objects import Pod

namespace = sys.argv[1]
api = kr8s.api()
pod = Pod(
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "kr8s", "namespace": namespace, "labels": {"app": "kr8s"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": "xebec.local/workload:1"}],
        },
    }
)
pod.create()
pod.wait("condition=Ready", timeout=60)
found = list(api.get("pods", namespace=namespace, label_selector="app=kr8s"))
assert [item.name for item in found] == ["kr8s"], found
pod.label(tier="test")
pod.refresh()
assert pod.labels == {"app": "kr8s", "tier": "test"}, pod.labels
assert any("listening name=kr8s" in line for line in pod.logs()), "no log"
result = pod.exec(["hostname"])
assert result.stdout.decode().strip() == "kr8s", result
pod.delete()
pod.wait("delete", timeout=60)
assert not pod.exists()
print("kr8s is content")
