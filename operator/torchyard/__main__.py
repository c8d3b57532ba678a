"""`python -m torchyard` is the `torchyard` command."""

import sys

from torchyard.cli import main

if __name__ == "__main__":
    sys.exit(main())
