"""Where the API server is and how to be let in: a service account, or a kubeconfig.

The Kubernetes client library is not used: its models cost 11 MiB of memory and half a second
of start-up, and nothing here wants more than a few requests of JSON.
"""

import base64
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from torchyard.errors import Invalid

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TOKEN_SECONDS: Final = 60.0  # the kubelet renews a token long before the old one expires
_CONNECT_SECONDS: Final = 5.0
_REQUEST_SECONDS: Final = 30.0

Token = Callable[[], str | None]
Middleware = aiohttp.ClientMiddlewareType


@dataclass(frozen=True)
class Connection:
    """An API server, the trust in it, and the token to show it."""

    server: str
    tls: ssl.SSLContext | None
    token: Token
    namespace: str = "default"

    def session(self, *middlewares: Middleware) -> aiohttp.ClientSession:
        """A new HTTP session that shows the current token with each request."""

        async def authorize(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            if token := self.token():
                request.headers["Authorization"] = f"Bearer {token}"
            return await handler(request)

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self.tls or False, limit=0),
            timeout=aiohttp.ClientTimeout(total=_REQUEST_SECONDS, sock_connect=_CONNECT_SECONDS),
            middlewares=(*middlewares, authorize),
        )


class TokenFile:
    """A token that somebody else keeps fresh in a file."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._read_at = float("-inf")
        self._token = ""

    def __call__(self) -> str:
        """The token as it was in the file at most a minute ago."""
        if self._clock() - self._read_at > _TOKEN_SECONDS:
            self._token = self._path.read_text(encoding="utf-8").strip()
            self._read_at = self._clock()
        return self._token


def connect(environ: Mapping[str, str]) -> Connection:
    """The cluster of $KUBECONFIG, else the one around this pod, else that of ~/.kube/config."""
    if path := environ.get("KUBECONFIG"):
        return from_kubeconfig(Path(path))
    if host := environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster(host, environ.get("KUBERNETES_SERVICE_PORT", "443"))
    home = Path(environ.get("HOME", "/")) / ".kube" / "config"
    if home.exists():
        return from_kubeconfig(home)
    raise Invalid("no cluster: set KUBECONFIG, or run in a pod with a service account")


def in_cluster(host: str, port: str, account: Path = SERVICE_ACCOUNT) -> Connection:
    """The cluster around this pod, as the pod's service account."""
    token = account / "token"
    if not token.exists():
        raise Invalid(f"no service account: {token} is missing; mount one into this pod")
    return Connection(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        tls=ssl.create_default_context(cafile=account / "ca.crt"),
        token=TokenFile(token),
        namespace=(account / "namespace").read_text(encoding="utf-8").strip(),
    )


def from_kubeconfig(path: Path) -> Connection:
    """The current context of a kubeconfig, by client certificate or token."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        context = _named(config, "context", config["current-context"])
        cluster = _named(config, "cluster", context["cluster"])
        user = _named(config, "user", context["user"])
        server: str = cluster["server"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise Invalid(f"{path}: no usable kubeconfig: {error!r}") from error
    if "exec" in user or "auth-provider" in user:
        raise Invalid(
            f"{path}: logging in by a plugin is not supported; put a token there "
            "(`kubectl create token`) or go through `kubectl proxy`"
        )
    return Connection(
        server=server,
        tls=_tls(cluster, user, path.parent) if server.startswith("https") else None,
        token=_token(user, path.parent),
        namespace=context.get("namespace", "default"),
    )


def _named(config: Mapping[str, Any], kind: str, name: str) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {item["name"]: item[kind] for item in config[f"{kind}s"]}
    return found[name]


def _token(user: Mapping[str, Any], folder: Path) -> Token:
    if "tokenFile" in user:
        return TokenFile(folder / user["tokenFile"])
    token: str | None = user.get("token")
    return lambda: token


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> ssl.SSLContext:
    authority = _content(cluster, "certificate-authority", folder)
    tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    certificate = _content(user, "client-certificate", folder)
    key = _content(user, "client-key", folder)
    if certificate and key:
        # Python reads client certificates from files only; this one is gone in a moment.
        with tempfile.NamedTemporaryFile() as both:
            both.write(certificate + b"\n" + key)
            both.flush()
            tls.load_cert_chain(both.name)
    return tls


def _content(entry: Mapping[str, Any], field: str, folder: Path) -> bytes | None:
    if f"{field}-data" in entry:
        return base64.b64decode(entry[f"{field}-data"])
    return (folder / entry[field]).read_bytes() if field in entry else None
