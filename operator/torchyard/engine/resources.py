"""The kinds that the operator reads or writes, and where the API server keeps them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from torchyard.names import API_VERSION

Manifest = Mapping[str, Any]


class Key(NamedTuple):
    """The address of an object."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Resource:
    """A kind and its place in the API."""

    kind: str
    api_version: str
    plural: str

    @property
    def group(self) -> str:
        """The API group, empty for the core group."""
        group, slash, _ = self.api_version.partition("/")
        return group if slash else ""

    @property
    def version(self) -> str:
        """The version within the group."""
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str | None = None, name: str = "") -> str:
        """The path of a collection or, with a name, of one object."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        within = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}{within}/{self.plural}" + (f"/{name}" if name else "")


OWNERS: Final = (
    Resource("TrainingJob", API_VERSION, "trainingjobs"),
    Resource("ModelService", API_VERSION, "modelservices"),
)
RECORDS: Final = (Resource("ModelVersion", API_VERSION, "modelversions"),)
CHILDREN: Final = (
    Resource("Pod", "v1", "pods"),
    Resource("Service", "v1", "services"),
    Resource("Deployment", "apps/v1", "deployments"),
    Resource("EndpointSlice", "discovery.k8s.io/v1", "endpointslices"),
    Resource("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies"),
    Resource("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"),
)
WATCHED: Final = (*OWNERS, *RECORDS, *CHILDREN)

_OTHERS: Final = (
    Resource("Lease", "coordination.k8s.io/v1", "leases"),
    Resource("Event", "events.k8s.io/v1", "events"),
    Resource("CustomResourceDefinition", "apiextensions.k8s.io/v1", "customresourcedefinitions"),
)
BY_KIND: Final[Mapping[str, Resource]] = {item.kind: item for item in (*WATCHED, *_OTHERS)}


def key_of(manifest: Manifest) -> Key:
    """The address of a whole object."""
    metadata = manifest["metadata"]
    return Key(manifest["kind"], metadata.get("namespace", ""), metadata["name"])
