"""How the demo speaks: chapters with the time, commands, tables, a progress line that renews."""

import sys
import time
from typing import Any

from demo.kube import Kube

_WIDTH = 30


class Story:
    """Prints to standard output; on a terminal the progress stays on one line."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._terminal = sys.stdout.isatty()
        self._last = ""

    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def chapter(self, title: str) -> None:
        """Opens a chapter."""
        self._end_line()
        print(f"\n== {title}  [{self.elapsed():.0f} s]", flush=True)

    def say(self, text: str) -> None:
        """Prints a line."""
        self._end_line()
        print(f"   {text}", flush=True)

    def command(self, text: str) -> None:
        """Prints what a person would type."""
        self._end_line()
        print(f"   $ {text}", flush=True)

    def show(self, printed: str) -> None:
        """Prints what a command printed."""
        for line in printed.strip().splitlines():
            self.say(f"| {line}")

    def table(self, kube: Kube) -> None:
        """Shows the three kinds as `kubectl get` does."""
        kinds = "trainingjobs,modelversions,modelservices"
        self.command(f"kubectl get {kinds}")
        self.show(kube.run("get", kinds))

    def progress(self, job: dict[str, Any] | None) -> None:
        """Shows where a training is."""
        status = (job or {}).get("status", {})
        found = status.get("progress", {})
        step, total = found.get("step", 0), found.get("totalSteps", 0)
        line = f"{status.get('phase', 'Pending'):<10}"
        if total:
            done = int(_WIDTH * step / total)
            line += f" [{'#' * done}{'.' * (_WIDTH - done)}] step {step} of {total}"
        for key, name in (("loss", "loss"), ("samplesPerSecond", "samples/s")):
            if key in found:
                line += f", {name} {found[key]}"
        if "accuracy" in found.get("metrics", {}):
            line += f", accuracy {found['metrics']['accuracy']}"
        blocked = status.get("blockedBy")
        if blocked:
            line += f" - {blocked['category']}: {blocked['message']}"
        self._renew(line)

    def rollout(self, service: dict[str, Any] | None) -> None:
        """Shows where a service is."""
        status = (service or {}).get("status", {})
        line = f"{status.get('phase', 'Pending'):<10} version {status.get('version', '-')}"
        rollout = status.get("rollout")
        if rollout:
            line += f", {rollout['phase']}: {rollout.get('message', '')}"
        self._renew(line)

    def summary(self, summary: dict[str, Any]) -> None:
        """Closes the story."""
        self.chapter("Summary")
        rows = {
            "accuracy of version 1": f"{summary['accuracyV1']:.3f}",
            "accuracy of version 2": f"{summary['accuracyV2']:.3f}",
            "requests during the change": summary["requests"],
            "of which failed": summary["failedRequests"],
            "latency p50 / p99": f"{summary['latencyP50Ms']} / {summary['latencyP99Ms']} ms",
            "version change": f"{summary['upgradeSeconds']} s",
            "the whole demo": f"{summary['totalSeconds']} s",
        }
        for name, value in rows.items():
            self.say(f"{name:<28} {value}")
        for reason, count in summary["failures"].items():
            self.say(f"failed: {count} x {reason}")
        self.say("")
        self.say("The cluster stays up. Look around:")
        self.say("  export KUBECONFIG=$PWD/build/kubeconfig PATH=$PWD/build/bin:$PATH")
        self.say("  kubectl -n reviews get tj,mv,msvc,pods")
        self.say("  kubectl -n reviews describe trainingjob reviews-better")
        self.say("Remove it all: make cluster-down")

    def failed(self, reason: str) -> None:
        """Ends the story badly."""
        self._end_line()
        print(f"\n!! {reason}", file=sys.stderr, flush=True)
        print("   The cluster stays up for a look; `make demo` starts over.", file=sys.stderr)

    def _renew(self, line: str) -> None:
        if line == self._last:
            return
        if self._terminal:
            print(f"\r   {line:<100}", end="", flush=True)
        else:
            print(f"   {line}", flush=True)
        self._last = line

    def _end_line(self) -> None:
        if self._terminal and self._last:
            print()
        self._last = ""
