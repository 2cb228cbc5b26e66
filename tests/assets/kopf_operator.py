"""A kopf operator against the cluster: its own resource, finalizers, status, children, admission webhooks.

The operator runs in this process beside the script that plays its user. Its webhook listens on loopback and is
registered by URL, as kopf does for operators outside of the cluster.
"""

import asyncio
import datetime
import ipaddress
import sys
import tempfile
import threading
import time

import kopf
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubernetes import client, config

namespace = sys.argv[1]
group = f"{namespace}.example.com"
config.load_kube_config()
core = client.CoreV1Api()
custom = client.CustomObjectsApi()
extensions = client.ApiextensionsV1Api()
admission = client.AdmissionregistrationV1Api()


def certificate(folder):
    """A certificate for 127.0.0.1 that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = [f"{folder}/tls.crt", f"{folder}/tls.key"]
    open(paths[0], "wb").write(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    open(paths[1], "wb").write(key.private_bytes(*form))
    return paths


folder = tempfile.mkdtemp()
certfile, keyfile = certificate(folder)
events = []


@kopf.on.startup()
def configure(settings, **_):
    settings.admission.server = kopf.WebhookServer(addr="127.0.0.1", host="127.0.0.1", certfile=certfile, pkeyfile=keyfile, cafile=certfile)
    settings.admission.managed = f"kopf.{group}"
    settings.posting.enabled = False


@kopf.on.mutate(group, "v1", "ships")
def rig(patch, spec, **_):
    if "sails" not in spec:
        patch.spec["sails"] = 3


@kopf.on.validate(group, "v1", "ships")
def check(spec, warnings, **_):
    if spec.get("sails", 0) > 7:
        raise kopf.AdmissionError("a ship carries seven sails at most", code=422)
    warnings.append("sails are inspected")


@kopf.on.create(group, "v1", "ships")
def build(name, spec, **_):
    body = {"metadata": {"name": f"log-of-{name}"}, "data": {"sails": str(spec["sails"])}}
    kopf.adopt(body)
    core.create_namespaced_config_map(namespace, body)
    events.append("built")
    return {"sails": spec["sails"]}


@kopf.on.update(group, "v1", "ships", field="spec.sails")
def rerig(name, old, new, patch, **_):
    core.patch_namespaced_config_map(f"log-of-{name}", namespace, {"data": {"sails": str(new)}})
    patch.status["rigged"] = new
    events.append(f"rigged {old} to {new}")


@kopf.on.delete(group, "v1", "ships")
def scrap(**_):
    events.append("scrapped")


def until(what, condition):
    end = time.time() + 60
    while time.time() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"never {what}; the operator did {events}")


def ships():
    return custom.list_namespaced_custom_object(group, "v1", namespace, "ships")["items"]


def refused(body):
    try:
        custom.create_namespaced_custom_object(group, "v1", namespace, "ships", body)
    except client.ApiException as error:
        return error
    raise AssertionError(f"{body} was taken")


def ship(name, **spec):
    return {"apiVersion": f"{group}/v1", "kind": "Ship", "metadata": {"name": name}, "spec": spec}


schema = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {"sails": {"type": "integer", "minimum": 1}, "flag": {"type": "string", "default": "white"}},
            "x-kubernetes-validations": [{"rule": "self.flag != 'black'", "message": "no pirates"}],
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
definition = {
    "metadata": {"name": f"ships.{group}"},
    "spec": {
        "group": group,
        "scope": "Namespaced",
        "names": {"plural": "ships", "singular": "ship", "kind": "Ship", "shortNames": ["sh"]},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}
        ],
    },
}
ready, stop = threading.Event(), threading.Event()


def operate():
    asyncio.run(kopf.operator(standalone=True, namespaces=[namespace], ready_flag=ready, stop_flag=stop))


extensions.create_custom_resource_definition(definition)
operator = threading.Thread(target=operate)
try:
    established = lambda: [
        c for c in extensions.read_custom_resource_definition(f"ships.{group}").status.conditions or [] if c.type == "Established" and c.status == "True"
    ]
    until("established", established)
    operator.start()
    assert ready.wait(60), "the operator did not start"
    until(
        "registered the webhooks",
        lambda: [c for c in admission.list_validating_webhook_configuration().items if c.metadata.name == f"kopf.{group}" and c.webhooks],
    )
    until("asks the validating webhook", lambda: "seven sails at most" in (refused(ship("galleon", sails=9)).body or ""))
    error = refused(ship("pirate", sails=2, flag="black"))
    assert error.status == 422 and "no pirates" in error.body, error.body
    made = custom.create_namespaced_custom_object(group, "v1", namespace, "ships", ship("xebec"))
    assert made["spec"] == {"sails": 3, "flag": "white"}, made
    log = until("built", lambda: [m for m in core.list_namespaced_config_map(namespace).items if m.metadata.name == "log-of-xebec"])[0]
    assert log.metadata.owner_references[0].kind == "Ship", log
    until("wrote the status", lambda: ships()[0].get("status", {}).get("build") == {"sails": 3})
    finalizers = ships()[0]["metadata"]["finalizers"]
    assert finalizers == ["kopf.zalando.org/KopfFinalizerMarker"], finalizers
    custom.patch_namespaced_custom_object(group, "v1", namespace, "ships", "xebec", {"spec": {"sails": 5}})
    until("rigged", lambda: ships()[0]["status"].get("rigged") == 5)
    assert core.read_namespaced_config_map("log-of-xebec", namespace).data == {"sails": "5"}
    custom.delete_namespaced_custom_object(group, "v1", namespace, "ships", "xebec")
    until("let it go", lambda: not ships())
    until("collected what it owned", lambda: not [m for m in core.list_namespaced_config_map(namespace).items if m.metadata.name == "log-of-xebec"])
    assert events == ["built", "rigged 3 to 5", "scrapped"], events
finally:
    stop.set()
    if operator.ident:
        operator.join(30)
    for api in (admission.delete_validating_webhook_configuration, admission.delete_mutating_webhook_configuration):
        try:
            api(f"kopf.{group}")
        except client.ApiException:
            pass
    extensions.delete_custom_resource_definition(f"ships.{group}")
print("kopf is content")
