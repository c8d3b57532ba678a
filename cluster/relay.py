"""Make the API server of a network namespace reachable on a loopback port of the host.

Runs as a program of its own: relay.py NAMESPACE-FILE LISTEN-PORT CONNECT-PORT
"""

import asyncio
import contextlib
import ctypes
import os
import socket
import sys
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_CHUNK = 65536


def listener(port: int) -> socket.socket:
    """Listen on the host's loopback; the socket stays there when the process moves."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(512)
    return listening


def move_to(namespace: Path) -> None:
    """Move this process to a network namespace (os.setns is only in Python 3.12)."""
    with namespace.open("rb") as handle:
        if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(namespace))


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy until the end and pass the end on, leaving the other direction open."""
    while chunk := await source.read(_CHUNK):
        target.write(chunk)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()


async def serve(listening: socket.socket, port: int) -> None:
    """Relay every connection to `port` in the namespace of this process."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            try:
                inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return
            with contextlib.closing(inner_writer):
                try:
                    async with asyncio.TaskGroup() as both:
                        both.create_task(copy(reader, inner_writer))
                        both.create_task(copy(inner_reader, writer))
                except* OSError:
                    pass  # a reset in one direction ends both; the peers see it themselves

    async with await asyncio.start_server(relay, sock=listening) as server:
        await server.serve_forever()


if __name__ == "__main__":
    on_host = listener(int(sys.argv[2]))
    move_to(Path(sys.argv[1]))
    asyncio.run(serve(on_host, int(sys.argv[3])))
