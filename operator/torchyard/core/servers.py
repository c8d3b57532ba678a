"""The children of a ModelService: a Deployment a revision, and what stands around them."""

import json
from typing import Any

from torchyard import names
from torchyard.api.modelservice import ModelService
from torchyard.api.modelversion import ModelVersion
from torchyard.core.objects import (
    claim_of,
    container_security,
    dns_egress,
    environment,
    metadata,
    pod_extras,
    pod_metadata,
    pod_security,
    resources,
)
from torchyard.core.world import Object, Release

DRAIN_SECONDS = 10
"""How long a server keeps accepting after SIGTERM, while endpoints propagate."""

MODEL_MOUNT = "/torchyard/model"
CLIENT_PORT = 80

_KIND = "ModelService"
_GRACE_SECONDS = DRAIN_SECONDS + 35


def revision(service: ModelService, version: ModelVersion) -> str:
    """Names a version together with everything else that the user decides about its pods.

    What a release fills in is left out on purpose, and so are the defaults of the API: a newer
    release restarts nothing.
    """
    parts = {"artifact": version.spec.artifact, "server": service.spec.server}
    decided = {
        name: part.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        for name, part in parts.items()
    }
    digest = names.short_hash(json.dumps(decided, sort_keys=True))
    return names.revision(version.spec.version, digest)


def version_number(revision: str) -> int:
    """The version in the value of the label REVISION; 0 for a value that is not ours."""
    number = revision.removeprefix("v").partition("-")[0]
    return int(number) if number.isdigit() else 0


def revision_of(deployment: Object) -> str:
    """The revision of a Deployment, from what nobody can edit: its selector."""
    selected = deployment["spec"].get("selector", {}).get("matchLabels", {})
    return str(selected.get(names.REVISION, ""))


def deployment(
    service: ModelService,
    version: ModelVersion | None,
    revision: str,
    observed: Object | None,
    release: Release,
) -> dict[str, Any] | None:
    """The Deployment of a revision.

    The pod template of one that exists is the one on its record, whatever today's release
    would render. Only a record that somebody damaged is rendered anew; None if its version is
    gone, too, and the Deployment is better left alone.
    """
    template = _recorded(observed)
    if template is None and version is not None:
        template = _template(service, version, revision, release)
    if template is None:
        return None
    name = names.servers(service.metadata.name, revision)
    record = json.dumps(template, sort_keys=True, separators=(",", ":"))
    replicas = service.spec.replicas
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(
            _KIND,
            service.metadata,
            name,
            _labels(service, revision),
            {names.POD_TEMPLATE: record},
        ),
        "spec": {
            "replicas": 1 if replicas is None else replicas,
            "revisionHistoryLimit": 1,
            "progressDeadlineSeconds": service.spec.rollout.progress_deadline_seconds,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "selector": {"matchLabels": selector(service, revision)},
            "template": template,
        },
    }


def selector(service: ModelService, revision: str) -> dict[str, str]:
    """Picks the pods of one revision."""
    return {names.SERVICE: service.metadata.name, names.REVISION: revision}


def client_service(service: ModelService, revision: str) -> dict[str, Any]:
    """The Service that clients call; its selector is where the traffic goes."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(
            _KIND,
            service.metadata,
            service.metadata.name,
            {names.SERVICE: service.metadata.name, names.APP_NAME: "torchyard-server"},
        ),
        "spec": {
            "type": "ClusterIP",
            "selector": selector(service, revision),
            "ports": [
                {
                    "name": "http",
                    "port": CLIENT_PORT,
                    "targetPort": names.SERVER_PORT,
                    "protocol": "TCP",
                }
            ],
        },
    }


def in_traffic(client_facing: Object | None) -> str | None:
    """The revision that the client-facing Service selects."""
    if client_facing is None:
        return None
    selected = client_facing.get("spec", {}).get("selector", {}).get(names.REVISION)
    return None if selected is None else str(selected)


def budget(service: ModelService) -> dict[str, Any]:
    """Drains take one server at a time; a single one may be drained, too."""
    name = names.servers(service.metadata.name)
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(_KIND, service.metadata, name, {names.SERVICE: service.metadata.name}),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": {names.SERVICE: service.metadata.name}},
        },
    }


def policy(service: ModelService) -> dict[str, Any]:
    """Whoever reaches the pod network may call the one port; servers call nobody but DNS."""
    name = names.servers(service.metadata.name)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(_KIND, service.metadata, name, {names.SERVICE: service.metadata.name}),
        "spec": {
            "podSelector": {"matchLabels": {names.SERVICE: service.metadata.name}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": names.SERVER_PORT}]}],
            "egress": [dns_egress()],
        },
    }


def _labels(service: ModelService, revision: str) -> dict[str, str]:
    return {
        names.MANAGED_BY: names.MANAGER,
        names.APP_NAME: "torchyard-server",
        names.APP_INSTANCE: service.metadata.name,
        names.MODEL: service.spec.model.name,
        **selector(service, revision),
    }


def _recorded(observed: Object | None) -> dict[str, Any] | None:
    """The pod template on an existing Deployment's record."""
    if observed is None:
        return None
    record = observed["metadata"].get("annotations", {}).get(names.POD_TEMPLATE, "")
    try:
        template = json.loads(record)
    except ValueError:
        return None
    if not isinstance(template, dict):
        return None
    labels = template.get("metadata", {}).get("labels", {})
    mine = labels.get(names.REVISION) == revision_of(observed)
    return template if mine else None


def _template(
    service: ModelService, version: ModelVersion, revision: str, release: Release
) -> dict[str, Any]:
    server = service.spec.server
    claim, path = claim_of(version.spec.artifact.uri)
    mount = {"name": "model", "mountPath": MODEL_MOUNT, "readOnly": True}
    if path:
        mount["subPath"] = path  # a server sees its own artifact and no other
    own = {
        "TORCHYARD_MODEL_DIR": MODEL_MOUNT,
        "TORCHYARD_MODEL_NAME": version.spec.model,
        "TORCHYARD_MODEL_VERSION": str(version.spec.version),
        "TORCHYARD_MODEL_DIGEST": version.spec.artifact.digest,
        "TORCHYARD_PORT": str(names.SERVER_PORT),
        "TORCHYARD_DRAIN_SECONDS": str(DRAIN_SECONDS),
        "HOME": "/tmp",  # noqa: S108 - an emptyDir of the pod's own
    }
    return {
        "metadata": pod_metadata(server.template, _labels(service, revision)),
        "spec": {
            **pod_extras(server.template),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": _GRACE_SECONDS,
            "securityContext": pod_security(),
            "containers": [
                {
                    "name": "server",
                    "image": release.server_image,
                    "imagePullPolicy": release.image_pull_policy,
                    "command": ["python", "-m", "torchyard_server"],
                    "env": environment(own, server.template),
                    "ports": [
                        {"name": "http", "containerPort": names.SERVER_PORT, "protocol": "TCP"}
                    ],
                    "resources": resources(server.resources, server.accelerator),
                    "securityContext": container_security(),
                    "readinessProbe": _probe("/v2/health/ready", period=1, failures=2),
                    "livenessProbe": _probe("/v2/health/live", period=10, failures=3),
                    "volumeMounts": [
                        mount,
                        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
                    ],
                }
            ],
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": selector(service, revision)},
                }
            ],
            "volumes": [
                {
                    "name": "model",
                    "persistentVolumeClaim": {"claimName": claim, "readOnly": True},
                },
                {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
            ],
        },
    }


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": names.SERVER_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 2 if period < 10 else 5,
        "failureThreshold": failures,
    }
