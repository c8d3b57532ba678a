"""Every name that Torchyard writes on the cluster: group, labels, annotations, children.

Children are named by a function of their owner, role and attempt or version, so that a
repeated reconcile finds what an earlier one made instead of making a second one.
"""

import hashlib
from typing import Final

GROUP: Final = "torchyard.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

FIELD_MANAGER: Final = "torchyard"

# Labels ---------------------------------------------------------------------------------
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
APP_NAME: Final = "app.kubernetes.io/name"
APP_INSTANCE: Final = "app.kubernetes.io/instance"
APP_COMPONENT: Final = "app.kubernetes.io/component"
JOB: Final = f"{GROUP}/training-job"
JOB_UID: Final = f"{GROUP}/job-uid"
ATTEMPT: Final = f"{GROUP}/attempt"
WORKER: Final = f"{GROUP}/worker"
SERVICE: Final = f"{GROUP}/model-service"
MODEL: Final = f"{GROUP}/model"
REVISION: Final = f"{GROUP}/revision"
ALIAS_PREFIX: Final = f"alias.{GROUP}/"

# Annotations ----------------------------------------------------------------------------
APPLIED_HASH: Final = f"{GROUP}/applied-hash"
POD_TEMPLATE: Final = f"{GROUP}/pod-template"

MANAGER: Final = "torchyard"  # the value of MANAGED_BY on everything the operator makes

# Ports and paths that operator and pods agree on --------------------------------------------
RENDEZVOUS_PORT: Final = 29500
STATUS_PORT: Final = 8081  # a worker's supervisor: /healthz, /progress
SERVER_PORT: Final = 8080

NAME_LIMIT: Final = 63
HASH_LENGTH: Final = 8


def short_hash(text: str) -> str:
    """Eight hexadecimal digits that stand for `text` in a name."""
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def child(owner: str, *parts: str | int) -> str:
    """Joins `owner` (a DNS label) and `parts` by dashes into a DNS label of at most 63 characters.

    A longer name keeps its ending, which tells siblings apart, and as much of the owner as
    fits; a hash of the owner stands between them, so two long owners never share a child.
    """
    suffix = "".join(f"-{part}" for part in parts)
    if len(owner + suffix) <= NAME_LIMIT:
        return owner + suffix
    room = NAME_LIMIT - len(suffix) - HASH_LENGTH - 1
    return f"{owner[:room].rstrip('-')}-{short_hash(owner)}{suffix}"


def worker_pod(job: str, attempt: int, index: int) -> str:
    """The pod of worker `index` in attempt `attempt`."""
    return child(job, f"a{attempt}", f"w{index}")


def workers(job: str) -> str:
    """The headless Service that gives a job's workers host names, and their NetworkPolicy."""
    return child(job, "workers")


def model_version(model: str, number: int) -> str:
    """`<model>-v<n>`: the name that the API demands of a ModelVersion."""
    return f"{model}-v{number}"


def revision(number: int, digest: str) -> str:
    """The value of the label REVISION: a version, and a hash of all that its pods are made of."""
    return f"v{number}-{digest}"


def servers(service: str, *revision: str) -> str:
    """The Deployment of one revision; without one, the servers' budget and NetworkPolicy."""
    return child(service, *(revision or ("servers",)))


def alias_label(alias: str) -> str:
    """The label that makes a ModelVersion answer to an alias."""
    return f"{ALIAS_PREFIX}{alias}"
