"""`torchyard operator`: run the operator in this process."""

import argparse
import asyncio
import logging
import os
import sys
from typing import Final

from torchyard.config import OPTIONS, Settings
from torchyard.engine import logs
from torchyard.errors import Invalid, TorchyardError

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_CONFIG: Final = 78

DESCRIPTION = """\
Run the operator until SIGTERM or SIGINT. It reaches the cluster of $KUBECONFIG, else the one
around its pod, else that of ~/.kube/config. Of several replicas the one that holds the Lease
acts; the others stand by.
"""

EPILOG = f"""\
Every option can be given as an environment variable, too: --log-level as TORCHYARD_LOG_LEVEL.
On the address of --listen: /healthz, /readyz and, for Prometheus, /metrics.

exit codes:
  0   stopped by a signal
  {EXIT_FAILED}   a part failed or the Lease was lost; start it again
  {EXIT_USAGE}   an option is missing or wrong
  {EXIT_CONFIG}  the cluster is not as it must be; the last line says how to mend it
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "operator",
        help="run the operator",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option in OPTIONS:
        default = f" (default: {option.default})" if option.default else ""
        choices = f"; one of {', '.join(option.choices)}" if option.choices else ""
        parser.add_argument(
            f"--{option.name}",
            metavar="VALUE",
            default=os.environ.get(option.variable, option.default),
            help=f"{option.help}{choices}{default}",
        )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Runs the operator; returns the exit code."""
    try:
        values = {option.name: getattr(given, option.name.replace("-", "_")) for option in OPTIONS}
        settings = Settings.parse(values)
    except Invalid as error:
        sys.stderr.write(f"torchyard operator: {error}\n")
        return EXIT_USAGE
    logs.set_up(settings.log_level, settings.log_format)
    # What talks to a cluster takes a second to import; --help should not.
    from torchyard import process
    from torchyard.engine.connection import connect

    log = logging.getLogger(__name__)
    try:
        asyncio.run(process.run(settings, connect(os.environ)))
    except Invalid as error:
        log.error("%s", error)
        return EXIT_CONFIG
    except TorchyardError as error:
        log.error("ended: %s", error)
        return EXIT_FAILED
    except Exception:
        log.exception("ended")
        return EXIT_FAILED
    return 0
