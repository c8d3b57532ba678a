"""`python -m torchyard_server`: read the environment, serve, say why when that fails.

Exit codes: 0 after SIGTERM or SIGINT, 65 for an artifact that is not what was promised, 70 for a
model that cannot be loaded, 78 for a wrong environment, 1 for a bug.
"""

from __future__ import annotations

import logging
import os
import sys

# One thread computes a batch, and it is onnxruntime's. Libraries that start a pool for every core
# of the node when they are imported would only cost memory and time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import uvloop

from torchyard_server import logs, termination
from torchyard_server.config import Config, termination_log
from torchyard_server.errors import StartError
from torchyard_server.logs import logger
from torchyard_server.server import serve


def run() -> int:
    """Serve as the environment says; returns the exit code."""
    logs.configure()
    try:
        uvloop.run(serve(Config.from_environ(os.environ)))
    except StartError as error:
        fields = {"outcome": error.outcome, "file": error.file}
        logger.error("%s", error, extra={"fields": fields})
        termination.write(termination_log(os.environ), error)
        return error.exit_code
    except Exception:  # noqa: BLE001  (a bug: its traceback goes into the log)
        logger.exception("the server failed")
        return 1
    return os.EX_OK


def main() -> None:
    """Serve, then leave at once."""
    code = run()
    logging.shutdown()
    sys.stdout.flush()
    # Threads inside native libraries cannot be interrupted, and tearing the libraries down under
    # them crashes. All requests have been answered, so there is nothing left to tidy up.
    os._exit(code)


if __name__ == "__main__":
    main()
