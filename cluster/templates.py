"""Files of `manifests/` with the values of a cluster filled in."""

import string
from pathlib import Path

from cluster.settings import DNS_ADDRESS, DNS_READY_PORT, NODE_ADDRESS, NODE_NAME

_MANIFESTS = Path(__file__).parent / "manifests"


def render(name: str, **values: object) -> str:
    """Return a file of `manifests/`; a placeholder without a value is an error."""
    common = {
        "dns_address": DNS_ADDRESS,
        "node_address": NODE_ADDRESS,
        "node_name": NODE_NAME,
        "ready_port": DNS_READY_PORT,
    }
    return string.Template((_MANIFESTS / name).read_text()).substitute({**common, **values})
