# cython: language_level=3, boundscheck=False, wraparound=False
"""The meter: sees each packet before the route, as it came, and counts what it says. One in each worker.

It never changes a packet, refuses one or raises for what is in it. Not here: agents (`agents`), what a message means for its
call (`calls`), reports (`quality`), the sums over workers (`books`, `control.agents`).
"""

from libc.math cimport exp
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

from hepswitch.buckets cimport mix, monotonic
from hepswitch.metering.agents cimport Agent, Agents, Marks, mark, number_of
from hepswitch.metering.calls cimport Calls, Capture, Event
from hepswitch.metering.digest cimport digest
from hepswitch.metering.message cimport INVITE, REGISTER, Said, read_message
from hepswitch.metering.tally cimport REGISTRATION, SETUP, Row, Tally, first_place, second_place
from hepswitch.routing.packet cimport MeterBase, Packet
from hepswitch.routing.sender cimport Sender, mapped, read_peer, read_sender, sender_text
from hepswitch.wire.batch cimport Batch, Item
from hepswitch.wire.index cimport DST_IP4, DST_IP6, PROTO_TYPE, SIP, SIP_JSON, SRC_IP4, SRC_IP6, Chunk
from hepswitch.wire.sip cimport Sip
from hepswitch.wire.sip_scan cimport sip_looks
from hepswitch.wire.sip_text cimport Bytes, Span

import os
import re

from libc.string cimport memcpy, memset

from hepswitch.metering import words
from hepswitch.metering.means import FADING, Means
from hepswitch.metering.quality import Quality
from hepswitch.networks import Networks

cdef enum:
    RTCP = 5
    RTP_AGENT = 34
    VQ_RTCPXR = 35
    HORACLIFIX = 38

cdef int MOST_REASONS = 1000     # series of Q.850 causes that are counted apart

cdef const unsigned char* type_numbers = words.TYPE_NUMBERS

_cause = re.compile(rb"cause\s*=\s*(\d{1,3})\b")


cdef class Meter(MeterBase):
    """Remembers `agents` agents, and labels for `nodes` nodes. `memory` (`calls.room(n)` bytes, zeroed at first): where calls are
    kept, which workers may share; None: SIP is not read."""

    def __cinit__(self, int agents, int nodes, memory=None):
        self.calls = None if memory is None else Calls(memory, nodes + 1)
        self.agents = Agents(agents, nodes, int.from_bytes(os.urandom(8)) if memory is None else self.calls.seed)
        self.means = Means()
        self.quality = Quality(self.means)
        self.reasons = {}
        self.known = <Known*> calloc(REMEMBERED, sizeof(Known))
        if self.known == NULL:
            raise MemoryError()
        self.swept = monotonic()

    def __dealloc__(self):
        free(self.known)

    def prepare(self, targets not None) -> dict:
        """What `tell_apart` needs to tell `targets` (networks by name) apart. ValueError when there have been too many names."""
        numbers = {}
        if self.calls is not None:
            for name, networks in targets.items():
                number = self.calls.tally.name(name)
                for network in Networks(networks):
                    numbers[network] = number
        return numbers

    def tell_apart(self, dict numbers not None) -> None:
        """From now on the targets that were prepared are told apart, and no others."""
        self.networks, self.target_numbers = Networks(numbers) if numbers else None, numbers
        memset(self.known, 0, REMEMBERED * sizeof(Known))

    # ── packets ──────────────────────────────────────────────────────────────────────────────────────────────────────

    cdef int enter(self, Batch batch) except -1:
        cdef str url = batch.listener.url
        cdef bytes octets
        if url is not self.listener:
            octets = url.encode()
            self.listener, self.listener_key = url, digest(octets, len(octets), self.agents.seed)
        self.arrived = batch.arrival_us
        self.now = monotonic() // 1000
        memset(&self.sender, 0, sizeof(Sender))
        if batch.peer is not None:
            read_peer(&self.sender, batch.peer)
        return 0

    cdef int see(self, Packet packet, Item* item) except -1:
        cdef uint64_t kind = SIP                 # versions 1 and 2 carry nothing else, and do not say so
        cdef Marks marks
        cdef Agent* agent
        mark(packet, &marks)
        if marks.first[PROTO_TYPE] != NULL or packet._version == 3:
            kind = number_of(packet, marks.first[PROTO_TYPE])
        if item.sender_size:
            read_sender(&self.sender, item)
        agent = self.agents.see(
            packet, &marks, type_numbers[min(kind, <uint64_t> 255)], &self.sender, self.listener, self.listener_key,
            self.arrived,
        )
        if self.calls is None:
            return 0
        if kind <= SIP or kind == SIP_JSON:
            self.sip(packet, &marks, agent)
        elif kind == RTCP or kind == RTP_AGENT or kind == VQ_RTCPXR or kind == HORACLIFIX:
            self.report(packet, <int> kind, self.agents.nodes[agent.node])
        return 0

    cdef int report(self, Packet packet, int kind, str node) except -1:
        """Of quality; it counts for the target that the media comes from, else for the one that it goes to."""
        cdef Bytes p = NULL
        cdef Py_ssize_t n = 0
        cdef int source = 0, target = 0
        packet.span(&p, &n)
        if self.networks is not None:
            source = self.target_of(packet, SRC_IP4, SRC_IP6)
            target = self.target_of(packet, DST_IP4, DST_IP6)
        self.quality.see(
            kind, p[:n], node, self.calls.tally.targets[source or target], "src" if source else "dst" if target else ""
        )
        return 0

    cdef int sip(self, Packet packet, const Marks* marks, Agent* agent) except -1:
        cdef Bytes p = NULL
        cdef Py_ssize_t n = 0
        cdef Said said
        cdef Sip inner
        packet.span(&p, &n)
        if n and p[0] == b"{":                   # wrapped in JSON
            inner = packet.sip
            if inner is None:
                self.unreadable += 1
                return 0
            p, n = inner.raw, len(inner.raw)
        if sip_looks(p, n) and read_message(p, n, &said):
            return self.count(p, &said, packet, marks.captured, agent)
        self.unreadable += 1
        return 0

    cdef int count(self, Bytes p, Said* said, Packet packet, uint64_t captured, Agent* agent) except -1:
        cdef Capture capture
        cdef Event event
        cdef Row* row
        cdef int place, what
        capture.time = captured
        capture.agent = agent.key
        capture.source = capture.target = 0
        if self.networks is not None:
            capture.source = self.target_of(packet, SRC_IP4, SRC_IP6)
            capture.target = self.target_of(packet, DST_IP4, DST_IP6)
        if self.calls.see(p, said, &capture, self.now, &event):
            self.calls.tally.count(first_place(capture.source, capture.target), agent.node, said.method, said.response)
            place = second_place(capture.source, capture.target)
            if place:
                self.calls.tally.count(place, 0, said.method, said.response)
            if said.reason.size or said.rtp_stat.size:
                self.rare(p, said, capture.source)
        if event.delayed and (said.method == INVITE or said.method == REGISTER):
            place = first_place(
                capture.target if said.status else capture.source, capture.source if said.status else capture.target
            )
            what = SETUP if said.method == INVITE else REGISTRATION
            row = self.calls.tally.row(place, agent.node)
            row.weight[what] += 1
            row.total[what] += event.delay
        return 0

    cdef int target_of(self, Packet packet, int four, int six) except -1:
        """The target that an address of the packet belongs to; 0: none."""
        cdef Chunk* chunk = packet.address(four, six)
        cdef Known* known
        cdef Sender address
        if chunk == NULL:
            return 0
        if chunk.size == 4:
            mapped(&address, packet.data + chunk.at)
        else:
            memcpy(address.octets, packet.data + chunk.at, 16)
        known = &self.known[mix(address.words[0] ^ address.words[1]) % REMEMBERED]
        if not known.known or known.address.words[0] != address.words[0] or known.address.words[1] != address.words[1]:
            known.address, known.known = address, True
            known.target = self.target_numbers.get(self.networks.longest(sender_text(&address)), 0)
        return known.target

    cdef int rare(self, Bytes p, Said* said, int source) except -1:
        """Headers that few messages have: Reason (RFC 3326), whose Q.850 cause counts, and X-RTP-Stat."""
        target = self.calls.tally.targets[source]
        if said.reason.size:
            reason = p[said.reason.at:said.reason.at + said.reason.size]
            found = _cause.search(reason) if b"850" in reason else None
            if found is not None:
                cause = int(found[1])
                key = (target, str(cause) if cause < 128 else words.OTHER, words.RESPONSES[said.response])
                if key not in self.reasons and len(self.reasons) >= MOST_REASONS:
                    key = (words.OTHER, words.OTHER, words.OTHER)
                self.reasons[key] = self.reasons.get(key, 0) + 1
        if said.rtp_stat.size:
            self.quality.see_rtp_stat(p[said.rtp_stat.at:said.rtp_stat.at + said.rtp_stat.size], target)
        return 0

    # ── between packets ──────────────────────────────────────────────────────────────────────────────────────────────

    def sweep(self, Py_ssize_t worker=0, Py_ssize_t workers=1) -> None:
        """To be called about once a second: what is over ends, rates and means go on. This is `worker` of `workers`."""
        cdef uint64_t now = monotonic()
        cdef double seconds = max(now - self.swept, <uint64_t> 1000) / 1e9
        self.swept = now
        self.agents.sweep(seconds)
        if self.calls is not None:
            self.means.fade(seconds)
            self.calls.tally.fade(exp(-seconds / <double> FADING))
            self.quality.allow(seconds)
            self.calls.sweep(now // 1000, worker, workers)

    def snapshot(self) -> dict:
        """The key "meter" of the books: numbers that add up over workers, under bounded keys."""
        row = self.agents.packets()
        row["agents"] = {"known": len(self.agents), "forgotten": self.agents.forgotten}
        row["route_seconds"] = self.route_ns / 1e9
        if self.calls is None:
            return row
        reasons = {}
        for (target, cause, response), count in self.reasons.items():
            reasons.setdefault(target, {}).setdefault(cause, {})[response] = count
        nodes = self.agents.nodes
        row["sip"] = {
            "messages": self.calls.tally.messages(nodes), "calls": self.calls.tally.calls(), "reasons": reasons,
            "unreadable": self.unreadable, "active": self.calls.active, "evicted": self.calls.evicted,
        }
        row["means"] = self.means.snapshot() | self.calls.tally.means(nodes)
        row["quality"] = self.quality.snapshot()
        return row
