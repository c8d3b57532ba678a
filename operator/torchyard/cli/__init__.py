"""The `torchyard` command."""

import argparse
import sys
from collections.abc import Sequence

from torchyard import __version__
from torchyard.cli import operate

DESCRIPTION = """\
Torchyard trains PyTorch models on Kubernetes and serves them.

Three resources carry a model from data to production: a TrainingJob trains it, a ModelVersion
records it, a ModelService serves it.
"""


def parser() -> argparse.ArgumentParser:
    """The command line with all its commands."""
    main = argparse.ArgumentParser(
        prog="torchyard",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = main.add_subparsers(title="commands", metavar="COMMAND", required=True)
    operate.add(commands)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_version)
    return main


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    given = parser().parse_args(arguments)
    code: int = given.run(given)
    return code


def _version(_: argparse.Namespace) -> int:
    sys.stdout.write(f"torchyard {__version__}\n")
    return 0
