"""A real single-node Kubernetes on one Debian machine: `python3 -m cluster --help`.

Only the standard library is used, because this runs before any virtual environment exists.
Tests that need no node use `cluster.controlplane.ControlPlane`.
"""
