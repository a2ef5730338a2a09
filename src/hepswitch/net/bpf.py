"""Classic BPF: a small assembler, and how a program is handed to the kernel.

Not here: what a program decides (`net.packet_filter`, `net.sockets`). Instructions and their limits are those of
<linux/filter.h>: jumps go forward only, and a load behind the packet's end refuses the packet.
"""

from __future__ import annotations

import ctypes
import socket
import struct

Instruction = tuple[int, int, int, int]
"""Code, jump when true, jump when false, operand: struct sock_filter."""

MOST_INSTRUCTIONS = 4096
"""BPF_MAXINSNS: the kernel takes no longer program."""

SO_ATTACH_FILTER = 26

# Loads into A: word, half word, byte; at a fixed place (LD) or at X + k (LDI). Then X, the scratch memory, arithmetic.
LD_W, LD_H, LD_B = 0x20, 0x28, 0x30
LDI_W, LDI_H, LDI_B = 0x40, 0x48, 0x50
LD_MEM, LDX_IMM, LDX_MEM, ST, STX = 0x60, 0x01, 0x61, 0x02, 0x03
ADD, ADD_X, MUL, AND, LSH, RSH, MOD = 0x04, 0x0C, 0x24, 0x54, 0x64, 0x74, 0x94
TAX, TXA, RET, RET_A = 0x07, 0x87, 0x06, 0x16
JA, JEQ, JGT, JGE, JSET = 0x05, 0x15, 0x25, 0x35, 0x45

# Places that are no bytes of the packet (SKF_AD_…), and the network header wherever the packet begins (SKF_NET_OFF).
AD_PROTOCOL, AD_PKTTYPE, AD_IFINDEX, AD_RANDOM = (0xFFFFF000 + number for number in (0, 4, 8, 56))
NETWORK = 0xFFF00000


class Assembler:
    """Instructions in order, with names for places to jump to.

    A conditional jump reaches 255 instructions, `JA` any distance: so a test stands before a `JA` or a return, and what
    is tested for may be as far away as it likes.
    """

    def __init__(self) -> None:
        self._lines: list[tuple[int, int, int, int | str]] = []
        self._places: dict[str, int] = {}

    def add(self, code: int, operand: int = 0) -> None:
        self._lines.append((code, 0, 0, operand & 0xFFFFFFFF))

    def mark(self, name: str) -> None:
        """What comes next is called `name`."""
        self._places[name] = len(self._lines)

    def jump(self, name: str) -> None:
        self._lines.append((JA, 0, 0, name))

    def jump_if(self, test: int, operand: int, name: str) -> None:
        """Go to `name` when A passes the test."""
        self._lines += [(test, 0, 1, operand), (JA, 0, 0, name)]

    def jump_unless(self, test: int, operand: int, name: str) -> None:
        self._lines += [(test, 1, 0, operand), (JA, 0, 0, name)]

    def give(self, value: int) -> None:
        """Return `value`."""
        self._lines.append((RET, 0, 0, value))

    def give_if(self, test: int, operand: int, value: int) -> None:
        """Return `value` when A passes the test."""
        self._lines += [(test, 0, 1, operand), (RET, 0, 0, value)]

    def give_within(self, low: int, high: int, value: int) -> None:
        """Return `value` when low ≤ A ≤ high."""
        self._lines += [(JGE, 0, 2, low), (JGT, 1, 0, high), (RET, 0, 0, value)]

    def assembled(self) -> list[Instruction]:
        """The program. Raises ValueError when it is too long for the kernel."""
        if len(self._lines) > MOST_INSTRUCTIONS:
            raise ValueError(f"the filter has {len(self._lines)} instructions of {MOST_INSTRUCTIONS} at most")
        program = list[Instruction]()
        for number, (code, yes, no, operand) in enumerate(self._lines):
            if isinstance(operand, str):
                operand = self._places[operand] - number - 1
            program.append((code, yes, no, operand))
        return program


def attach(
    sock: socket.socket, program: list[Instruction], level: int = socket.SOL_SOCKET, option: int = SO_ATTACH_FILTER
) -> None:
    """Let the kernel run `program` for `sock`, instead of the one before. Raises OSError."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    # struct sock_fprog: u16 number of instructions, then a pointer to them
    sock.setsockopt(level, option, struct.pack("@HP", len(program), ctypes.addressof(code)))
