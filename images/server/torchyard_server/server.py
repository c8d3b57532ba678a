"""The process: open the socket, load the model beside it, serve, drain on a signal."""

from __future__ import annotations

import asyncio
import signal
import threading

from torchyard.artifact import Manifest
from torchyard_server import loading
from torchyard_server.app import App, Served
from torchyard_server.batching import Batcher
from torchyard_server.config import Config
from torchyard_server.errors import LoadFailed, StartError
from torchyard_server.lifecycle import Lifecycle, Phase
from torchyard_server.listener import Listener, bind
from torchyard_server.logs import logger
from torchyard_server.metrics import Metrics
from torchyard_server.model import Model


async def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT, and return once every accepted request has its answer.

    Raises StartError as soon as it is clear that the model cannot be served. SIGINT comes from a
    person at a terminal: no endpoint leads here, so the time of acceptance is skipped.
    """
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[float] = loop.create_future()
    for number, accept_seconds in ((signal.SIGTERM, config.drain_seconds), (signal.SIGINT, 0.0)):
        loop.add_signal_handler(number, _settle, stopped, accept_seconds)

    lifecycle, metrics = Lifecycle(), Metrics()
    app = App(config, lifecycle, metrics)
    bound = bind(config.host, config.port)
    listener = Listener(app, bound)
    await listener.start()
    address, port = bound.getsockname()[:2]
    logger.info("listening", extra={"fields": {"address": address, "port": port}})

    loaded = _load(config, lifecycle)
    await asyncio.wait((loaded, stopped), return_when=asyncio.FIRST_COMPLETED)
    if loaded.done():
        manifest, model = loaded.result()
        _take_up(app, config, metrics, manifest, model)
        lifecycle.advance(Phase.READY)
        accept_seconds = await stopped
    else:
        # Never ready means never an endpoint: nobody is on the way.
        accept_seconds = 0.0
    lifecycle.advance(Phase.DRAINING)
    logger.info("draining", extra={"fields": {"acceptSeconds": accept_seconds}})
    await listener.drain(accept_seconds)
    logger.info("all requests have been answered")


def _take_up(app: App, config: Config, metrics: Metrics, manifest: Manifest, model: Model) -> None:
    batcher = Batcher(
        model.infer,
        batched=model.batched,
        max_rows=config.batch_max_size,
        max_waiting=config.limit_queue,
        observe=metrics.batch_size.observe,
    )
    batcher.start()
    metrics.serving(config.model_name, config.model_version, manifest.digest)
    app.served = Served(model, batcher)


def _load(config: Config, lifecycle: Lifecycle) -> asyncio.Future[tuple[Manifest, Model]]:
    """Load in a daemon thread, which a process that is told to stop leaves behind."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[tuple[Manifest, Model]] = loop.create_future()

    def report(phase: Phase) -> None:
        loop.call_soon_threadsafe(lifecycle.advance, phase)

    def run() -> None:
        try:
            result = loading.load(
                config.model_dir,
                config.model_digest,
                config.threads,
                config.batch_max_size,
                report,
            )
        except StartError as error:
            loop.call_soon_threadsafe(future.set_exception, error)
        except Exception as error:  # noqa: BLE001  (a thread has nobody to raise to)
            logger.exception("loading failed")
            failure = LoadFailed(f"loading failed: {type(error).__name__}: {error}")
            loop.call_soon_threadsafe(future.set_exception, failure)
        else:
            loop.call_soon_threadsafe(future.set_result, result)

    threading.Thread(target=run, name="loader", daemon=True).start()
    return future


def _settle(future: asyncio.Future[float], value: float) -> None:
    """The first signal counts; later ones change nothing."""
    if not future.done():
        future.set_result(value)
