"""The program: read the environment, serve, say why when that fails."""

from __future__ import annotations

import logging
import os

import uvloop

from torchyard_server import logs, termination
from torchyard_server.config import Config, termination_log
from torchyard_server.errors import StartError
from torchyard_server.logs import logger
from torchyard_server.server import serve

EX_BUG = 1


def run() -> int:
    """Serve as the environment says; returns the exit code."""
    logs.configure()
    try:
        uvloop.run(serve(Config.from_environ(os.environ)))
        code = os.EX_OK
    except StartError as error:
        fields = {"outcome": error.outcome, "file": error.file}
        logger.error("%s", error, extra={"fields": fields})
        termination.write(termination_log(os.environ), error)
        code = error.exit_code
    except Exception:  # noqa: BLE001  (a bug: its traceback goes into the log)
        logger.exception("the server failed")
        code = EX_BUG
    logging.shutdown()
    return code
