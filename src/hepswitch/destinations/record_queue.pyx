# cython: language_level=3
"""What waits to be written into a store's journal: the hot half of `JournaledOutlet`. One record for each packet offered.

A message of a stream (`Batch.mark`) is taken whole or not at all, and once: its first record bears its mark. Its packets are
offered in one call of the flow, between two writes, so they are in one block of the journal: a mark that is written says
that all of the message is.
Not here: writing, timers, retries (`journaled`), which marks are written (`marks`), the record's bytes (`wire.record`).
"""

from collections import Counter
import ipaddress
import socket
import struct

import msgspec

from hepswitch.wire.frames cimport Frames
from hepswitch.wire.hep cimport Hep
from hepswitch.wire.record cimport put_record

cdef int MOST_SENDERS = 10_000

KNOWN = "stored before"


cdef class RecordQueue:
    """Records that wait, up to `room` bytes of them, and the books of the store."""

    cdef readonly Frames pending
    cdef readonly Py_ssize_t accepted      # packets ever taken, those discarded later included
    cdef public Py_ssize_t delivered
    cdef readonly object discarded         # Counter by reason: taken and lost all the same
    cdef readonly object refused           # Counter by reason: never taken
    cdef public str overflow               # the reason for refusing when there is no room
    cdef readonly dict waiting             # marks of the messages that are in `pending`, as keys
    cdef public object marks               # those that are in the journal (asked with `in`)
    cdef public bint short                 # there was no room for a message, since this was last set to False
    cdef bytes mark                        # of the message that is being offered …
    cdef str verdict                       # … and why it is not taken, or None
    cdef Py_ssize_t room
    cdef object sender                     # who sent the last packet (Received) …
    cdef bytes sockaddr                    # … and as struct sockaddr
    cdef dict senders

    def __init__(self, Py_ssize_t room):
        self.pending = Frames()
        self.discarded, self.refused = Counter(), Counter()
        self.overflow = "queue full"
        self.waiting, self.marks = {}, ()
        self.room = room
        self.sender, self.sockaddr, self.senders = None, b"", {}

    def offer(self, Hep packet not None, *, table=None, custom_field1=None, custom_field2=None, custom_field3=None,
              correlation_id=None, attrs=None, direction=None):
        """Take the packet as it is now. False when there is no room for it. True, too, when its message came before and is
        refused: it is stored.

        Never blocks. `attrs` of a trace are its first custom field; `direction`, in or out, says that it was traced.
        """
        cdef bytes meta = b"", mark = packet.mark
        if custom_field1 is None:
            custom_field1 = attrs
        if mark is None:
            if self.pending.tail - self.pending.head >= self.room:
                self.refused[self.overflow] += 1
                return False
        elif not self.admits(mark):
            return self.verdict is KNOWN
        elif mark in self.waiting:
            mark = None
        if not (table is None and custom_field1 is None and custom_field2 is None and custom_field3 is None
                and correlation_id is None and direction is None):
            meta = said(table, custom_field1, custom_field2, custom_field3, correlation_id, direction)
        sender = getattr(packet, "received", None)
        if sender is not self.sender:
            self.remember(sender)
        put_record(self.pending, packet, self.sockaddr, len(self.sockaddr), meta, mark)
        if mark is not None:
            self.waiting[mark] = None
        self.accepted += 1
        return True

    cdef bint admits(self, bytes mark) except -1:
        """Whether the packet of a message is taken: what becomes of the first one becomes of all."""
        if mark is not self.mark:
            self.mark, self.verdict = mark, None
            if mark in self.waiting or mark in self.marks:
                self.verdict = KNOWN
            elif self.pending.tail - self.pending.head >= self.room:
                self.verdict, self.short = self.overflow, True
        if self.verdict is not None:
            self.refused[self.verdict] += 1
        return self.verdict is None

    cdef int remember(self, sender) except -1:
        """Agents are few, so who sent a packet is spelled as a struct sockaddr once for each."""
        known = self.senders.get(sender)
        if known is None:
            if len(self.senders) >= MOST_SENDERS:
                self.senders.clear()
            known = self.senders[sender] = b"" if sender is None else sockaddr(sender.src_ip, sender.src_port)
        self.sender, self.sockaddr = sender, known
        return 0


cdef bytes sockaddr(str ip, int port):
    if not ip:
        return b""
    address = ipaddress.ip_address(ip.partition("%")[0])
    head = struct.pack("=H", socket.AF_INET if address.version == 4 else socket.AF_INET6) + struct.pack(">H", port)
    return head + (address.packed + bytes(8) if address.version == 4 else bytes(4) + address.packed + bytes(4))


cdef bytes said(table, custom_field1, custom_field2, custom_field3, correlation_id, direction):
    """What the route said, as JSON; text that came from broken bytes is made presentable."""
    values = {
        "table": table, "custom_field1": custom_field1, "custom_field2": custom_field2, "custom_field3": custom_field3,
        "correlation_id": correlation_id, "direction": direction,
    }
    meta = {key: clean(value) for key, value in values.items() if value is not None}
    return msgspec.json.encode(meta)


cdef str clean(value):
    if isinstance(value, bytes):
        return (<bytes> value).decode("utf-8", "replace")
    text = str(value)
    try:
        return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:           # surrogates that come from no bytes
        return text.encode("utf-8", "replace").decode()
