"""A small client of the Kubernetes API for what this package itself asks."""

import http.client
import json
import ssl
from pathlib import Path
from typing import Any


class ApiError(Exception):
    """An answer other than success; `status` is 0 when there was no answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """Calls an API server on this machine as the administrator of a PKI folder."""

    def __init__(self, port: int, pki: Path) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=pki / "ca.crt")
        self._tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        timeout: float = 5,
    ) -> str:
        """Return the body of the answer."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._port, context=self._tls, timeout=timeout
        )
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": content_type})
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(0, str(error)) from error
        finally:
            connection.close()
        if answer.status >= 300:
            raise ApiError(answer.status, text)
        return text

    def get(self, path: str) -> dict[str, Any]:
        """Return an object."""
        found: dict[str, Any] = json.loads(self.call("GET", path))
        return found

    def find(self, path: str) -> dict[str, Any] | None:
        """Return an object, or None while it or the API server is not there."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status not in (0, 404):
                raise
            return None

    def ready(self) -> bool:
        """Tell whether the API server says that it is ready."""
        try:
            return self.call("GET", "/readyz") == "ok"
        except ApiError:
            return False
