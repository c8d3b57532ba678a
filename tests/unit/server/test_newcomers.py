from __future__ import annotations

import socket

import pytest

from torchyard_server.newcomers import turn_away


def test_newcomers_wait_outside_and_those_inside_are_served() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with socket.create_connection(listening.getsockname()) as inside:
            turn_away(listening)
            with socket.socket() as newcomer:
                newcomer.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    newcomer.connect(listening.getsockname())
                accepted, _ = listening.accept()
                with accepted:
                    inside.sendall(b"question")
                    assert accepted.recv(100) == b"question"
                    accepted.sendall(b"answer")
                    assert inside.recv(100) == b"answer"
                listening.setblocking(False)
                with pytest.raises(BlockingIOError):
                    listening.accept()
        address = listening.getsockname()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
