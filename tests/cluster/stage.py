"""What the tests on the node play on: a namespace of their own, a claim with data, a desk pod."""

import csv
import io
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.settings import Cluster
from demo import helpers
from demo.kube import EXAMPLES, CommandError, Kube, condition, wait
from tests.cluster.audit import Audit
from tests.cluster.history import History

Json = dict[str, Any]

SECONDS = 420.0
"""How long anything may take: a multiple of what it takes on a busy machine."""

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
DESK = "desk"

_PACED = Path(__file__).with_name("paced.py")


@dataclass(frozen=True)
class Stage:
    """One namespace of the cluster that the chart is installed on."""

    kube: Kube
    cluster: Cluster
    images: Mapping[str, str]

    @property
    def namespace(self) -> str:
        """The name of the namespace."""
        return self.kube.namespace

    @property
    def audit(self) -> Audit:
        """What the API server has been asked for."""
        return Audit(self.cluster.logs)

    def open(self) -> None:
        """Makes the namespace, under Pod Security `restricted`."""
        metadata = {"name": self.namespace, "labels": RESTRICTED}
        self.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        wait(
            f"the service account of {self.namespace}",
            lambda: self.kube.get("serviceaccount", "default"),
            timeout=SECONDS,
        )

    def close(self) -> None:
        """Removes the namespace with all that is in it."""
        self.kube.run("delete", "namespace", self.namespace, "--ignore-not-found", timeout=SECONDS)

    def example(self, path: str) -> list[Json]:
        """Applies a manifest of examples/ as it is, and returns its objects."""
        self.kube.apply(EXAMPLES / path)
        return manifests(path)

    def watch(self, kind: str, name: str) -> History:
        """Begins to write down every state of one object."""
        return History(self.kube, kind, name)

    def patch(self, kind: str, name: str, **spec: Any) -> None:
        """Changes fields of a spec, as `kubectl patch --type merge` does."""
        body = json.dumps({"spec": spec})
        self.kube.run("patch", kind, name, "--type=merge", f"--patch={body}")

    def pods(self, job: str) -> list[Json]:
        """The worker pods of a job, those of older attempts included."""
        return self.kube.list("pods", f"torchyard.dev/training-job={job}")

    def events(self, kind: str, name: str) -> list[Json]:
        """The Events about one object, oldest first."""
        found = self.kube.run(
            *("get", "events", "--output=json"),
            f"--field-selector=involvedObject.kind={kind},involvedObject.name={name}",
        )
        items: list[Json] = json.loads(found)["items"]
        return sorted(items, key=lambda item: item["eventTime"])

    # The desk: a pod that stays, with the claim at /claim and the artifact package in its image --

    def open_desk(self, claim: str) -> None:
        """Starts the desk."""
        volumes = {"claim": {"persistentVolumeClaim": {"claimName": claim}}}
        command = ["sleep", "infinity"]
        self.kube.apply(helpers.pod(DESK, self.images["server"], command, volumes))
        self.kube.run(
            *("wait", "pod", DESK, "--for=condition=Ready", f"--timeout={SECONDS:.0f}s"),
            timeout=SECONDS + 10,
        )

    def write(self, path: str, content: bytes) -> None:
        """Writes a file onto the claim."""
        script = 'mkdir -p "$(dirname "$0")" && cat > "$0.partial" && mv "$0.partial" "$0"'
        command = ("sh", "-euc", script, f"/claim/{path}")
        self.kube.run("exec", "-i", DESK, "--", *command, stdin=content)

    def remove(self, path: str) -> None:
        """Removes a file from the claim."""
        self.kube.run("exec", DESK, "--", "rm", "-f", f"/claim/{path}")

    def python(self, script: str, *arguments: str) -> str:
        """Runs a script at the desk and returns what it printed."""
        return self.kube.run("exec", DESK, "--", "python", "-c", script, *arguments)

    # Trainings whose pace a test sets ------------------------------------------------------------

    def bring_digits(self, claim: str = "digits") -> None:
        """The claim of the digits example, the digits on it, and the task that can be held."""
        self.example("digits/storage.yaml")
        self.open_desk(claim)
        self.write("digits.csv", digits())
        self.write("paced.py", _PACED.read_bytes())

    def paced(self, name: str, **spec: Any) -> Json:
        """A TrainingJob of 360 steps that goes at half a second a step while it is held.

        Two workers, unless `spec` says otherwise.
        """
        env = [{"name": "PYTHONPATH", "value": "/torchyard/data"}]
        arguments = {"hold": f"/torchyard/data/{_hold(name)}"}
        return {
            "apiVersion": "torchyard.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": name},
            "spec": {
                "task": {"entrypoint": {"object": "paced:Paced", "arguments": arguments}},
                "image": self.images["trainer"],
                "data": {"uri": "pvc://digits/digits.csv", "validation": 0.2},
                "workers": {"count": 2, "template": {"env": env}},
                "optimization": {"batchSize": 120, "epochs": 30},
                "checkpoint": {"uri": "pvc://digits/checkpoints", "everySteps": 5},
                **spec,
            },
        }

    def hold(self, name: str) -> None:
        """Slows a paced training down, from its start or in its middle."""
        self.write(_hold(name), b"")

    def release(self, name: str) -> None:
        """Lets a paced training run as fast as it can."""
        self.remove(_hold(name))


def _hold(name: str) -> str:
    return f"hold-{name}"


def manifests(path: str) -> list[Json]:
    """The objects of a manifest of examples/."""
    return [item for item in yaml.safe_load_all((EXAMPLES / path).read_text()) if item]


def not_failed(found: Json) -> None:
    """Raises as soon as a job has failed, instead of waiting for a success that cannot come."""
    failed = condition(found, "Failed")
    if failed is not None:
        raise CommandError(f"{found['metadata']['name']}: {failed['reason']}: {failed['message']}")


def reason(found: Json, type_: str) -> str:
    """The reason of a condition, empty where there is none."""
    known = condition(found, type_)
    return known["reason"] if known else ""


def digits() -> bytes:
    """The handwritten digits that ship with scikit-learn: columns p0 … p63 and label."""
    from sklearn.datasets import load_digits

    data = load_digits()
    rows = (
        [*(int(value) for value in features), label]
        for features, label in zip(data.data, data.target, strict=True)
    )
    return _csv([*(f"p{index}" for index in range(64)), "label"], rows)


def reviews(count: int = 4000) -> bytes:
    """Made-up movie reviews, all different, whose words give their labels away."""
    draw = random.Random(0)
    words = {
        "positive": ["wonderful", "moving", "superb", "delightful", "brilliant", "charming"],
        "negative": ["dreadful", "boring", "clumsy", "tedious", "awful", "lifeless"],
    }
    filler = ["the", "film", "story", "actor", "scene", "camera", "music", "plot", "with", "quite"]
    rows = []
    for number in range(count):
        label = ("negative", "positive")[number % 2]
        text = [*draw.choices(filler, k=10), *draw.choices(words[label], k=4), f"n{number}"]
        draw.shuffle(text)
        rows.append([" ".join(text), label])
    return _csv(["text", "label"], rows)


def _csv(header: list[str], rows: Any) -> bytes:
    target = io.StringIO()
    writer = csv.writer(target)
    writer.writerow(header)
    writer.writerows(rows)
    return target.getvalue().encode()
