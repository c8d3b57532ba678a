"""The whole chain on a real cluster: train, register, serve, train better, roll over.

Run by `make demo`, which brings up the cluster and builds the images first. What an earlier,
perhaps interrupted, run left in the demo's namespace is removed at the start.
"""

import json
import sys
import time
from typing import Any

from demo import helpers, reviews
from demo.install import Installation, install, tools
from demo.kube import EXAMPLES, ROOT, CommandError, Kube, Timeout, condition, holds, wait
from demo.story import Story

NAMESPACE = "reviews"
MODEL = "reviews"
SUMMARY = ROOT / "build" / "demo.json"
DATA = ROOT / "build" / "reviews.csv"

REVIEW = "A moving story, wonderful actors, and not one dull minute. I would watch it again."


def main() -> int:
    """Tells the story; 0 if everything in it came true."""
    story = Story()
    try:
        summary = _run(story)
    except (CommandError, Timeout) as error:
        story.failed(str(error))
        return 1
    SUMMARY.parent.mkdir(exist_ok=True)
    SUMMARY.write_text(json.dumps(summary, indent=2) + "\n")
    story.summary(summary)
    return 0 if summary["failedRequests"] == 0 else 1


def _run(story: Story) -> dict[str, Any]:
    kube = tools(NAMESPACE)
    story.chapter("Install Torchyard with Helm")
    installation = install(kube)
    story.show(installation.printed)

    story.chapter("An empty namespace under Pod Security `restricted`, with 33,433 movie reviews")
    _fresh_namespace(kube)
    kube.apply(EXAMPLES / "reviews" / "storage.yaml")
    if not DATA.exists():
        reviews.prepare(DATA)
    helpers.copy_to_claim(kube, installation.server, "reviews", "reviews.csv", DATA.read_bytes())
    story.say(f"{DATA.stat().st_size / 1e6:.1f} MB copied onto the claim `reviews`")

    story.chapter("Train version 1: two PyTorch workers, one pass over the data")
    first = _train(story, kube, "train-v1.yaml", "reviews-small")
    story.chapter("Serve version 1 from two servers")
    kube.apply(EXAMPLES / "reviews" / "service.yaml")
    _ready(story, kube, version=1)
    story.table(kube)
    _ask(story, kube)

    story.chapter("Train version 2: a wider model, three passes")
    second = _train(story, kube, "train-v2.yaml", "reviews-better")

    story.chapter("Roll over to version 2 while clients keep calling")
    report, seconds = _roll_over(story, kube, installation)
    story.table(kube)
    _ask(story, kube)
    return {
        "accuracyV1": first,
        "accuracyV2": second,
        "requests": report["requests"],
        "failedRequests": report["failed"],
        "failures": report["failures"],
        "requestsByVersion": report["versions"],
        "latencyP50Ms": report["p50Ms"],
        "latencyP99Ms": report["p99Ms"],
        "upgradeSeconds": round(seconds, 1),
        "totalSeconds": round(story.elapsed(), 1),
    }


def _fresh_namespace(kube: Kube) -> None:
    kube.run("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout=300)
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": NAMESPACE,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        }
    )
    wait(
        "the namespace's service account",
        lambda: kube.get("serviceaccount", "default"),
        timeout=60,
    )


def _train(story: Story, kube: Kube, manifest: str, name: str) -> float:
    """Trains, shows the progress, and returns the accuracy on held-out reviews."""
    story.command(f"kubectl apply -f examples/reviews/{manifest}")
    kube.apply(EXAMPLES / "reviews" / manifest)

    def look() -> dict[str, Any] | None:
        job = kube.get("trainingjob", name)
        story.progress(job)
        return job if holds(job, "Complete") or holds(job, "Failed") else None

    job = wait(f"the end of TrainingJob {name}", look, timeout=1500, pause=2)
    failed = condition(job, "Failed")
    if failed is not None:
        raise CommandError(f"TrainingJob {name} failed: {failed['reason']}: {failed['message']}")
    version = kube.get("modelversion", job["status"]["modelVersion"])
    if version is None:
        raise CommandError(f"ModelVersion {job['status']['modelVersion']} is not there")
    story.table(kube)
    return float(version["spec"]["metrics"]["accuracy"])


def _ready(story: Story, kube: Kube, version: int) -> None:
    def look() -> bool | None:
        service = kube.get("modelservice", MODEL)
        story.rollout(service)
        stalled = condition(service, "Stalled")
        if stalled is not None and stalled["status"] == "True":
            raise CommandError(f"the rollout is stalled: {stalled['message']}")
        current = service is not None and service["status"].get("version") == version
        return True if current and holds(service, "Ready") else None

    wait(f"ModelService {MODEL} serving version {version}", look, timeout=600)


def _ask(story: Story, kube: Kube) -> None:
    """Types a review and prints the answer."""
    answer = kube.infer(MODEL, MODEL, _request(REVIEW))
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    story.say(f'"{REVIEW}"')
    share = max(outputs["probabilities"])
    story.say(
        f"  → {outputs['label'][0]} ({share:.0%}), answered by version {answer['model_version']}"
    )


def _request(text: str) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}]}


def _roll_over(
    story: Story, kube: Kube, installation: Installation
) -> tuple[dict[str, Any], float]:
    """Moves the service to version 2 under load; returns the load's report and the seconds."""
    helpers.start_load(
        kube,
        installation.server,
        *("--host", f"{MODEL}.{NAMESPACE}.svc.cluster.local", "--model", MODEL),
        *("--request", json.dumps(_request(REVIEW)), "--until-version", "2"),
    )
    wait("500 answers of version 1", lambda: _answers(kube, 500), timeout=120)
    patch = json.dumps({"spec": {"model": {"version": 2}}})
    story.command(f"kubectl patch modelservice {MODEL} --type merge -p '{patch}'")
    began = time.monotonic()
    kube.run("patch", "modelservice", MODEL, "--type", "merge", "--patch", patch)
    _ready(story, kube, version=2)
    seconds = time.monotonic() - began

    def finished() -> dict[str, Any] | None:
        report = helpers.load_report(kube)
        return report if report is not None and report["done"] else None

    report = wait("the end of the load", finished, timeout=180)
    return report, seconds


def _answers(kube: Kube, count: int) -> bool | None:
    report = helpers.load_report(kube)
    return True if report is not None and report["requests"] >= count else None


if __name__ == "__main__":
    sys.exit(main())
