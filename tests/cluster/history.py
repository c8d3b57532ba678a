"""Every state that an object has been in, as the API server told it: `kubectl get --watch`."""

import codecs
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, Any, Self

from demo.kube import Kube, Timeout

Json = dict[str, Any]


class History:
    """A watch on one object, also on one that does not exist yet; ends with the `with` block.

    Nothing is missed that the API server has told: a state that lasts a millisecond is kept.
    """

    def __init__(self, kube: Kube, kind: str, name: str) -> None:
        self._what = f"{kind} {name}"
        self._states: list[Json] = []
        self._gone = False
        self._told = threading.Condition()
        command = [kube.kubectl, f"--kubeconfig={kube.kubeconfig}", "-n", kube.namespace]
        command += ["get", kind, f"--field-selector=metadata.name={name}"]
        command += ["--watch", "--output-watch-events", "--output=json"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the watch; what has been seen stays."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def states(self) -> list[Json]:
        """All states so far, oldest first."""
        with self._told:
            return list(self._states)

    @property
    def statuses(self) -> list[Json]:
        """Their statuses; one that the operator has not seen yet has none and is left out."""
        return [state["status"] for state in self.states if state.get("status")]

    def until(
        self,
        what: str,
        test: Callable[[Json], object],
        timeout: float,
        never: Callable[[Json], object] = lambda _: None,
    ) -> Json:
        """The first state that passes `test`, among those seen and those to come.

        `never` looks at every state, too, and raises where there is no hope left.
        """
        end, seen = time.monotonic() + timeout, 0
        while fresh := self._after(seen, end):
            for state in fresh:
                if test(state):
                    return state
                never(state)
            seen += len(fresh)
        raise Timeout(f"{what}: not within {timeout:.0f} s; {self._last()}")

    def until_gone(self, timeout: float) -> None:
        """Returns when the object has been deleted."""
        with self._told:
            if not self._told.wait_for(lambda: self._gone, timeout):
                raise Timeout(f"{self._what} is not gone within {timeout:.0f} s")

    def _after(self, seen: int, end: float) -> list[Json]:
        """The states after the first `seen`, as soon as there are any; none at `end`."""
        with self._told:
            self._told.wait_for(lambda: len(self._states) > seen, end - time.monotonic())
            return self._states[seen:]

    def _last(self) -> str:
        states = self.states
        if not states:
            return f"{self._what} was never seen"
        return f"{self._what} is {json.dumps(states[-1].get('status'), indent=1)}"

    def _read(self) -> None:
        stream = self._process.stdout
        if stream is None:  # pragma: no cover - it was asked for
            return
        for event in _documents(stream):
            with self._told:
                if event["type"] == "DELETED":
                    self._gone = True
                else:
                    self._states.append(event["object"])
                self._told.notify_all()


def _documents(stream: IO[bytes]) -> Iterator[Json]:
    """The JSON documents of a stream, each as soon as it is whole."""
    decode, finish = codecs.getincrementaldecoder("utf-8")().decode, json.JSONDecoder().raw_decode
    text = ""
    while chunk := os.read(stream.fileno(), 2**16):
        text = (text + decode(chunk)).lstrip()  # the line break after a document may come late
        while text:
            try:
                document, end = finish(text)
            except ValueError:
                break
            yield document
            text = text[end:].lstrip()
