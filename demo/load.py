"""Keeps calling a model until traffic has moved to a version; runs inside a pod.

Standard library only: it is mounted from a ConfigMap into any image that has Python. Callers
are closed-loop threads with a kept-alive connection each, like ordinary clients, and never
retry: a request that does not get a 200 in time counts as failed. Prints one JSON line a
second and a last one with `"done": true`.
"""

import argparse
import http.client
import json
import sys
import threading
import time
from collections import Counter
from typing import Any


class Tally:
    """What all callers together have seen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = 0
        self.failures: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.newest = ""
        self.seconds: list[float] = []

    def answered(self, version: str, seconds: float) -> None:
        """Counts an answer of a version."""
        with self._lock:
            self.requests += 1
            self.versions[version] += 1
            self.newest = version
            self.seconds.append(seconds)

    def failed(self, reason: str) -> None:
        """Counts a request that got no good answer."""
        with self._lock:
            self.requests += 1
            self.failures[reason] += 1

    def report(self, done: bool) -> str:
        """One line of JSON."""
        with self._lock:
            ordered = sorted(self.seconds)
            return json.dumps(
                {
                    "requests": self.requests,
                    "failed": sum(self.failures.values()),
                    "failures": dict(self.failures),
                    "versions": dict(self.versions),
                    "p50Ms": _percentile(ordered, 0.50),
                    "p99Ms": _percentile(ordered, 0.99),
                    "done": done,
                }
            )


def _percentile(ordered: list[float], share: float) -> float | None:
    if not ordered:
        return None
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


def call(arguments: argparse.Namespace, body: bytes, tally: Tally, stop: threading.Event) -> None:
    """One caller: asks until it is told to stop."""
    path = f"/v2/models/{arguments.model}/infer"
    connection: http.client.HTTPConnection | None = None
    while not stop.is_set():
        began = time.monotonic()
        try:
            if connection is None:
                connection = http.client.HTTPConnection(
                    arguments.host, arguments.port, timeout=arguments.timeout
                )
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status == 200:
                version = str(json.loads(content)["model_version"])
                tally.answered(version, time.monotonic() - began)
            else:
                tally.failed(f"HTTP {answer.status}: {content[:120].decode(errors='replace')}")
            if answer.will_close:
                connection.close()
                connection = None
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            tally.failed(f"{type(error).__name__}: {error}")
            if connection is not None:
                connection.close()
                connection = None
        stop.wait(arguments.pause)


def main() -> int:
    """Runs the callers; 1 if a request failed or the version never came."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--model", required=True)
    parser.add_argument("--request", required=True, help="the body of a request, as JSON")
    parser.add_argument("--until-version", required=True, help="the version that traffic moves to")
    parser.add_argument("--then-seconds", type=float, default=10, help="how long to go on then")
    parser.add_argument("--at-least", type=int, default=2000, help="requests before the end")
    parser.add_argument("--at-most-seconds", type=float, default=900)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0.01, help="seconds between two requests")
    parser.add_argument("--timeout", type=float, default=30, help="seconds for an answer")
    arguments = parser.parse_args()
    body = json.dumps(json.loads(arguments.request)).encode()
    tally, stop = Tally(), threading.Event()
    callers = [
        threading.Thread(target=call, args=(arguments, body, tally, stop), daemon=True)
        for _ in range(arguments.callers)
    ]
    for caller in callers:
        caller.start()
    end = time.monotonic() + arguments.at_most_seconds
    moved: float | None = None
    while time.monotonic() < end:
        time.sleep(1)
        _print(tally.report(done=False))
        if tally.newest != arguments.until_version:
            moved = None
        elif moved is None:
            moved = time.monotonic()
        settled = moved is not None and time.monotonic() - moved >= arguments.then_seconds
        if settled and tally.requests >= arguments.at_least:
            break
    stop.set()
    for caller in callers:
        caller.join(arguments.timeout + 1)
    _print(tally.report(done=True))
    return 0 if moved is not None and not tally.failures else 1


def _print(line: Any) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
