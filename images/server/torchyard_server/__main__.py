"""`python -m torchyard_server`: the server, configured by its environment.

Exit codes: 0 after SIGTERM or SIGINT, 65 for an artifact that is not what was promised, 70 for a
model that cannot be loaded, 78 for a wrong environment, 1 for a bug.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Serve, then leave at once."""
    # The first process of a container ignores signals that it does not handle, so one that comes
    # while the imports below run would be lost, and the pod would stay until it is killed.
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(os.EX_OK))
    # One thread computes a batch, and it is onnxruntime's. Libraries that start a pool for every
    # core of the node when they are imported would only cost memory and time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # onnxruntime reports to its makers from its import on, unless it is told not to before.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"

    from torchyard_server.program import run

    # Threads inside native libraries cannot be interrupted, and tearing the libraries down under
    # them crashes. All requests have been answered, so there is nothing left to tidy up.
    os._exit(run())


if __name__ == "__main__":
    main()
