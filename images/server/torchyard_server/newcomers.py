"""Turning newcomers away without resetting those who are half-way in.

Closing a listening socket resets the connections that the kernel has completed and nobody has
accepted yet, and the handshakes under way. A packet filter on the socket stops new handshakes,
while those that have begun complete and are accepted; then nothing is left to be reset. A client
whose first packet is dropped sends it again and finds the port closed, which it can act on.
"""

from __future__ import annotations

import ctypes
import socket
import struct

SO_ATTACH_FILTER = 26
FLAGS_OFFSET = 13  # of the byte with the flags, in the TCP header
SYN = 0x02

LOAD_BYTE, JUMP_IF_SET, RETURN = 0x30, 0x45, 0x06
DROP, KEEP = 0, 0xFFFFFFFF


def turn_away(listening: socket.socket) -> None:
    """Drop packets that would open a connection. Where the kernel cannot, nothing changes."""
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (LOAD_BYTE, 0, 0, FLAGS_OFFSET),
            (JUMP_IF_SET, 0, 1, SYN),
            (RETURN, 0, 0, DROP),
            (RETURN, 0, 0, KEEP),
        )
    )
    memory = ctypes.create_string_buffer(program)
    pointer = struct.pack("@HP", len(program) // 8, ctypes.addressof(memory))
    try:
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pointer)
    except OSError:
        # Some sandboxes have no packet filters; what remains is a window of microseconds.
        return
