# cython: language_level=3
"""The gate: who may send, with which key, how much, not in circles and not twice. `Flow` asks it about every packet.

In this order, so that a packet which is refused costs nobody else anything: the sender's address (before the packet is
decoded), the authentication key, loops between switches, packets that were here before, rate limits, duplicates. Not here:
the configuration (`guards`), buckets, sightings and numbers (`limits`, `duplicates`, `replays`), and connections, which are
refused when they come (`sources.tcp`).
"""

import hmac

from libc.stdint cimport uint64_t
from libc.string cimport memset

from hepswitch.buckets cimport mix, monotonic
from hepswitch.routing.duplicates cimport Duplicates
from hepswitch.routing.limits cimport Limit
from hepswitch.routing.packet cimport Packet
from hepswitch.routing.replays cimport ELSEWHERE, FRESH, HAD, Replays
from hepswitch.routing.sender cimport Sender, read_peer, read_sender, sender_text
from hepswitch.wire.batch cimport Batch, Item
from hepswitch.wire.index cimport Chunk
from hepswitch.wire.raw cimport NUMBER_ID, OWN_VENDOR, Raw

cdef enum:
    KEEP_ALIVE = 0x0D
    AUTH_KEY = 0x0E
    PAYLOAD = 0x0F
    MOST_HOPS = 16

cdef enum Verdict:
    ASKED = 1
    ALLOWED = 2
    KEYLESS = 4              # may come without an authentication key

_same = hmac.compare_digest


cdef class Access:
    """Who may send to one listener: those in `allow` (None: everyone) that are not in `deny`.

    `keyless`: those whose packets may come without an authentication key.
    """

    def __cinit__(self, allow=None, deny=None, keyless=None):
        self.allow, self.deny, self.keyless = allow, deny, keyless
        memset(self.known, 0, sizeof(self.known))

    def permits(self, str ip not None):
        """May a sender at this address send? IPv4-mapped IPv6 counts as IPv4; what is no address is in no network."""
        return not (self.deny is not None and ip in self.deny) and (self.allow is None or ip in self.allow)

    cdef int verdict(self, const Sender* sender) except -1:
        # Agents are few, and whoever floods with made-up addresses only overwrites a place of this table.
        cdef Known* known = &self.known[mix(sender.words[0] ^ sender.words[1]) % REMEMBERED]
        if known.verdict and known.sender.words[0] == sender.words[0] and known.sender.words[1] == sender.words[1]:
            return known.verdict
        ip = sender_text(sender)
        known.verdict = ASKED
        if self.permits(ip):
            known.verdict |= ALLOWED
        if self.keyless is not None and ip in self.keyless:
            known.verdict |= KEYLESS
        known.sender = sender[0]
        return known.verdict


cdef class Gate:
    """What a packet must pass before the route gets it. A refused one is counted in `listener.refused` by its reason.

    `access` is asked by listener URL; a listener that is not among them lets everyone in. `auth_keys`: one of them must
    be in the packet, and goes no further unless `forward_keys`. `switch_id`: packets that have been here, or in too many
    switches, are refused; 0 looks for none. `replays` knows the numbered packets that came to the listeners `numbered`.
    """

    def __init__(
        self, access=(), auth_keys=(), limits=(), Duplicates duplicates=None, switch_id=0, forward_keys=False,
        Replays replays=None, numbered=(),
    ):
        self.access = dict(access)
        self.auth_keys = tuple(auth_keys)
        self.limits = tuple(limits)
        self.duplicates = duplicates
        self.switch_id = switch_id
        self.forward_keys = forward_keys
        self.replays, self.numbered = replays, frozenset(numbered)

    def account(self):
        """What the guards found, dropped or only marked; `evicted` and `forgotten` say that their tables are too small."""
        cdef Limit limit
        exceeded = {}
        for limit in self.limits:
            exceeded[limit.name] = exceeded.get(limit.name, 0) + limit.exceeded
        row = {"limits": exceeded}
        if self.limits:
            row["evicted"] = (<Limit> self.limits[0]).buckets.evicted         # all limits share one table
        if self.duplicates is not None:
            row |= {"duplicates": self.duplicates.copies, "forgotten": self.duplicates.forgotten}
        return row

    cdef int enter(self, Batch batch) except -1:
        """A batch has come; what follows is about its packets."""
        self.batch = batch
        batch.busy = False
        self.listener = batch.listener
        self.url = batch.listener.url
        self.door = self.access.get(self.url)
        self.now = monotonic()
        memset(&self.from_, 0, sizeof(Sender))
        self.verdict = 0
        if batch.peer is not None:
            read_peer(&self.from_, batch.peer)
        return 0

    cdef bint sender(self, Item* item) except -1:
        cdef Sender sender
        if item.sender_size:
            read_sender(&sender, item)
            if sender.words[0] != self.from_.words[0] or sender.words[1] != self.from_.words[1]:
                self.from_, self.verdict = sender, 0
        if self.door is None:
            return True
        if not self.verdict:
            self.verdict = self.door.verdict(&self.from_)
        return self.verdict & ALLOWED or self.refuse("not allowed")

    cdef bint packet(self, Packet packet) except -1:
        cdef Limit limit
        cdef str fault = None
        if self.auth_keys and not self.listener.keyless:
            fault = self.key_fault(packet)
        if fault is None and self.switch_id:
            fault = self.trail_fault(packet)
        fault = self.replay_fault(packet, fault)
        if self.batch.busy:
            return False
        if fault is None and is_probe(packet):
            fault = "keep-alive"
        if fault is not None:
            return self.refuse(fault)
        for limit in self.limits:
            if limit.exceeds(packet, &self.from_, self.url, self.now):
                if not limit.marks:
                    return self.refuse("rate limit")
                packet.tag("limited")
        if self.duplicates is not None and self.duplicates.repeats(packet, &self.from_, self.now // 1000):
            if not self.duplicates.marks:
                return self.refuse("duplicate")
            packet.tag("duplicate")
        return True

    cdef bint refuse(self, str reason) except -1:
        self.listener.refused[reason] += 1
        return False

    cdef str key_fault(self, Raw packet):
        cdef Chunk* chunk = packet.find(0, AUTH_KEY)
        cdef bint found = False
        if chunk == NULL:
            return None if self.verdict & KEYLESS else "no auth key"
        given = packet.data[chunk.at:chunk.at + chunk.size]
        for key in self.auth_keys:                        # all of them: the time must not tell which one was near
            found |= _same(key, given)
        if found and not self.forward_keys:
            packet.remove(0, AUTH_KEY)
        return None if found else "wrong auth key"

    cdef str trail_fault(self, Raw packet):
        cdef int hops = packet.trail(self.switch_id)
        return "loop" if hops < 0 else "too many hops" if hops > MOST_HOPS else None

    cdef str replay_fault(self, Raw packet, str fault):
        cdef uint64_t queue, number
        cdef int judgement = FRESH
        if packet.find(OWN_VENDOR, NUMBER_ID) == NULL:
            return fault
        if self.replays is not None and packet.numbered(&queue, &number) and self.url in self.numbered:
            if fault is None:
                judgement = self.replays.judge(queue, number)
                if judgement == ELSEWHERE:
                    self.batch.busy = True                # as it came: it will be asked about again
                    return None
            self.replays.answer(queue, number)            # also what is refused need not come again
        packet.unnumber()                                 # a number goes one hop, also where nobody heeds it
        return "replayed" if judgement == HAD else fault


cdef bint is_probe(Raw packet) noexcept:
    """A keep-alive packet without payload says that its sender lives, and nothing that is worth routing."""
    cdef Chunk* payload = packet.find(0, PAYLOAD)
    return (payload == NULL or payload.size == 0) and packet.find(0, KEEP_ALIVE) != NULL
