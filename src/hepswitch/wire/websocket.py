"""WebSocket as captured (RFC 6455), for the SIP in it (RFC 7118): one direction of a connection behind its handshake.

Not here: compressed messages (RFC 7692), which nobody can read who did not see all before them; TLS; live connections.
"""

from __future__ import annotations

LONGEST_MESSAGE = 1 << 20
LONGEST_HEAD = 1 << 16

_FINAL, _RESERVED, _OPCODE, _MASKED, _CONTROL = 0x80, 0x70, 0x0F, 0x80, 8
_OPCODES = {0, 1, 2, 8, 9, 10}


def handshake_size(buffer: bytearray) -> int | None:
    """Size of the HTTP head that `buffer` begins with and that makes the connection a WebSocket.

    0 when it is something else, None when its end is not here yet.
    """
    if not buffer.startswith((b"GET ", b"HTTP/1.1 101")):
        return 0
    end = buffer.find(b"\r\n\r\n", 0, LONGEST_HEAD)
    if end < 0:
        return None if len(buffer) < LONGEST_HEAD else 0
    lines = bytes(buffer[:end]).lower().split(b"\r\n")
    is_upgrade = any(
        name == b"upgrade" and b"websocket" in value for name, _, value in (x.partition(b":") for x in lines)
    )
    return end + 4 if is_upgrade else 0


class WebSocket:
    """Frames out, messages in one piece. `held` bytes wait for the rest of their message."""

    def __init__(self) -> None:
        self._parts = bytearray()

    @property
    def held(self) -> int:
        """Bytes of a message whose last frame is not here yet."""
        return len(self._parts)

    def next(self, buffer: bytearray) -> bytes | None:
        """The next message, its frames taken from `buffer`; None when none is whole.

        ValueError when no frame begins there: the buffer is empty then, and the next segment may begin with one.
        """
        while len(buffer) >= 2:
            opcode, size, at = buffer[0] & _OPCODE, buffer[1] & 0x7F, 2
            if size >= 126:
                at = 4 if size == 126 else 10
                if len(buffer) < at:
                    break
                size = int.from_bytes(buffer[2:at], "big")
            if buffer[0] & _RESERVED or opcode not in _OPCODES or size + len(self._parts) > LONGEST_MESSAGE:
                buffer.clear()
                self._parts.clear()
                raise ValueError("no frame of a WebSocket that can be read")
            key = bytes(buffer[at : at + 4]) if buffer[1] & _MASKED else b""
            at += 4 if buffer[1] & _MASKED else 0
            if len(buffer) < at + size:
                break
            is_final = bool(buffer[0] & _FINAL)
            data = bytes(buffer[at : at + size])
            del buffer[: at + size]
            if opcode >= _CONTROL:  # close, ping, pong: between the frames of a message too
                continue
            if opcode:
                self._parts.clear()
            self._parts += _unmasked(data, key) if key else data
            if is_final:
                message = bytes(self._parts)
                self._parts.clear()
                return message
        return None


def _unmasked(data: bytes, key: bytes) -> bytes:
    size = len(data)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
