"""The HTTP side of the operator: /healthz, /readyz and /metrics."""

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from torchyard.engine.metrics import Metrics
from torchyard.errors import Invalid

Check = Callable[[], Sequence[str]]
"""Says what is wrong; nothing if all is well."""


class Health:
    """Answers the kubelet's probes and Prometheus. A stalled event loop does not answer."""

    def __init__(self, metrics: Metrics, alive: Check, ready: Check) -> None:
        app = web.Application()
        app.router.add_get("/healthz", _answer(alive))
        app.router.add_get("/readyz", _answer(ready))
        app.router.add_get("/metrics", _metrics(metrics))
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self, host: str, port: int) -> None:
        """Listen; Invalid where that is not possible."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise Invalid(f"--listen: {error}") from error

    async def stop(self) -> None:
        """Listen no more."""
        await self._runner.cleanup()


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _answer(check: Check) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        wrong = check()
        return web.Response(text="\n".join(wrong) or "ok", status=503 if wrong else 200)

    return answer


def _metrics(metrics: Metrics) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=metrics.text(), headers=headers)

    return answer
