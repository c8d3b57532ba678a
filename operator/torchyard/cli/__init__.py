"""The `torchyard` command."""
