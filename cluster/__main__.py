"""The command line: `python3 -m cluster --help`."""

import argparse
import os
import sys

from cluster.down import down
from cluster.errors import ClusterError
from cluster.settings import Cluster
from cluster.up import up


def main() -> int:
    p = argparse.ArgumentParser(prog="python3 -m cluster")
    p.add_argument("command")
    a = p.parse_args()
    c = Cluster(os.environ.get("TORCHYARD_CLUSTER", "torchyard"))
    try:
        if a.command == "up":
            up(c)
        else:
            down(c, False)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
