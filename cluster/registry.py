"""Questions to the cluster's image registry."""

import contextlib
import http.client

from cluster import namespaces
from cluster.settings import NODE_ADDRESS, REGISTRY_PORT, Cluster

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


def digest(cluster: Cluster, repository: str, reference: str) -> str | None:
    """Return the digest that a tag or digest has in the registry; None when it has none."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        answer = _ask(cluster, "HEAD", f"/v2/{repository}/manifests/{reference}")
        if answer.status == http.client.OK:
            return answer.getheader("Docker-Content-Digest")
    return None


def answers(cluster: Cluster) -> bool:
    """Tell whether the registry serves."""
    try:
        return _ask(cluster, "GET", "/v2/").status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


def _ask(cluster: Cluster, method: str, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(NODE_ADDRESS, REGISTRY_PORT, timeout=10)
    connection.sock = namespaces.connect(cluster, REGISTRY_PORT, NODE_ADDRESS, timeout=10)
    connection.request(method, path, headers={"Accept": _MANIFESTS, "Connection": "close"})
    return connection.getresponse()
