# cython: language_level=3, boundscheck=False, wraparound=False
"""Who sends packets here, and what: capture agents, in a table of bounded size.

An agent is its capture id, its node name, the address that it sends from and the listener that it sends to. When there is
no room the one that has not sent for longest is forgotten; what it had sent stays counted by node and listener. Packets by
node, type, listener and version are sums over agents, made when somebody asks. Not here: sums over workers (`control.agents`).
"""

from libc.math cimport exp
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

from hepswitch.metering.digest cimport digest, fold
from hepswitch.routing.packet cimport Packet
from hepswitch.routing.sender cimport Sender, sender_text
from hepswitch.wire.index cimport CAPTAGENT_ID, PAYLOAD, TIMESTAMP, Chunk

from hepswitch.books import label
from hepswitch.metering import words

cdef enum:
    FIRST_ROOM = 16
    NOBODY = -1

cdef double LIVE = 86400e6               # µs: who is further from our clock replays what was captured some time
cdef double SKEW_SHARE = 1 / 64.0        # of a new packet in the smoothed skew
cdef double RATE_SECONDS = 5.0           # over which a rate is smoothed

assert len(words.TYPES) <= TYPES


cdef class Agents:
    """At most `most` agents, with labels for `most_nodes` nodes. `seed`: of hashes."""

    def __cinit__(self, int most, int most_nodes, uint64_t seed):
        cdef uint64_t buckets = 16
        while buckets < 2 * <uint64_t> most:
            buckets *= 2
        self.most, self.most_nodes, self.seed, self.mask = most, most_nodes, seed, buckets - 1
        self.heads = <int*> calloc(buckets, sizeof(int))
        if self.heads == NULL:
            raise MemoryError()
        memset(self.heads, 0xFF, buckets * sizeof(int))
        self.oldest = self.newest = NOBODY
        self.who, self.nodes, self.node_numbers = [], [], {}
        self.gone = {}

    def __dealloc__(self):
        free(self.agents)
        free(self.heads)

    def __len__(self) -> int:
        return self.count

    cdef Agent* see(self, Packet packet, const Marks* marks, int type, const Sender* sender, str listener,
                    uint64_t listener_key, uint64_t arrived) except NULL:
        """Count a packet for who sent it. The agent stays valid until the next packet."""
        cdef Chunk* name = marks.first[NODE_NAME]
        cdef Chunk* payload = marks.first[PAYLOAD]
        cdef Agent* agent
        cdef uint64_t number = number_of(packet, marks.first[CAPTAGENT_ID]), key
        cdef double skew
        cdef int at
        key = fold(number ^ sender.words[0] ^ listener_key, sender.words[1] ^ self.seed)
        if name != NULL:
            key = digest(packet.data + name.at, name.size, key)
        at = self.heads[key & self.mask]
        while at != NOBODY and self.agents[at].key != key:
            at = self.agents[at].next
        if at == NOBODY:
            agent = self.add(
                key, number, b"" if name == NULL else packet.data[name.at:name.at + name.size], sender, listener, arrived
            )
        else:
            agent = &self.agents[at]
            if at != self.newest:
                self.touch(at)
        agent.packets[(packet._version - 1) % VERSIONS][type] += 1
        agent.bytes += packet.size
        if payload != NULL:
            agent.payload[type] += payload.size
        agent.last = arrived
        if marks.first[TIMESTAMP] != NULL and sender.words[1]:       # who captures here has our clock
            skew = <double> marks.captured - <double> arrived
            if -LIVE < skew < LIVE and skew:
                agent.timed += 1
                agent.skew += (skew - agent.skew) * max(SKEW_SHARE, 1.0 / agent.timed)
        return agent

    cdef void touch(self, int at) noexcept nogil:
        """Make `at` the newest."""
        cdef Agent* agent = &self.agents[at]
        if agent.older != NOBODY:
            self.agents[agent.older].newer = agent.newer
        else:
            self.oldest = agent.newer
        self.agents[agent.newer].older = agent.older
        agent.older, agent.newer = self.newest, NOBODY
        self.agents[self.newest].newer = at
        self.newest = at

    cdef Agent* add(self, uint64_t key, uint64_t number, bytes name, const Sender* sender, str listener, uint64_t arrived) except NULL:
        cdef Agent* agent
        cdef int at, room
        text = label(name.decode("utf-8", "replace"))
        node = self.node_of(text or str(number))
        known = (number, text, sender_text(sender), listener)
        if self.count == self.most:
            at = self.oldest
            self.forget()
            self.who[at] = known
        else:
            if self.count == self.room:
                room = min(max(2 * self.room, FIRST_ROOM), self.most)
                grown = <Agent*> realloc(self.agents, room * sizeof(Agent))
                if grown == NULL:
                    raise MemoryError()
                self.agents, self.room = grown, room
            at = self.count
            self.who.append(known)
            self.count += 1
        agent = &self.agents[at]
        memset(agent, 0, sizeof(Agent))
        agent.key, agent.node, agent.first = key, node, arrived
        agent.next = self.heads[key & self.mask]
        self.heads[key & self.mask] = at
        agent.older, agent.newer = self.newest, NOBODY
        if self.newest == NOBODY:
            self.oldest = at
        else:
            self.agents[self.newest].newer = at
        self.newest = at
        return agent

    cdef int node_of(self, str label) except -1:
        """The number of a node's label; beyond the most there can be, that of "other"."""
        number = self.node_numbers.get(label)
        if number is None:
            if len(self.nodes) == self.most_nodes:
                self.nodes.append(words.OTHER)
            if len(self.nodes) > self.most_nodes:
                return self.most_nodes
            number = self.node_numbers[label] = len(self.nodes)
            self.nodes.append(label)
        return number

    cdef int forget(self) except -1:
        """Make room: the agent that has not sent for longest goes, its packets stay counted."""
        cdef int at = self.oldest
        cdef Agent* agent = &self.agents[at]
        cdef int* link = &self.heads[agent.key & self.mask]
        _add(self.gone, agent, self.who[at][3], self.nodes[agent.node])
        while link[0] != at:
            link = &self.agents[link[0]].next
        link[0] = agent.next
        self.oldest = agent.newer
        if self.oldest == NOBODY:
            self.newest = NOBODY
        else:
            self.agents[self.oldest].older = NOBODY
        self.forgotten += 1
        return 0

    def sweep(self, double seconds) -> None:
        """Smooth the rates; `seconds` since the last time."""
        cdef double share = 1 - exp(-seconds / RATE_SECONDS)
        cdef Agent* agent
        cdef uint64_t packets
        cdef int at
        for at in range(self.count):
            agent = &self.agents[at]
            packets = _packets(agent)
            agent.rate += ((packets - agent.before) / seconds - agent.rate) * share
            agent.before = packets

    def rows(self) -> list:
        """An object for each agent, as `GET /agents` gives them; `timed` and `skew` (seconds) of the clock."""
        cdef Agent* agent
        cdef uint64_t packets
        cdef bint used[VERSIONS]
        cdef int at, version, type
        found = []
        for at in range(self.count):
            agent = &self.agents[at]
            number, name, address, listener = self.who[at]
            types = {}
            used[0] = used[1] = used[2] = False
            for type in range(TYPES):
                packets = 0
                for version in range(VERSIONS):
                    packets += agent.packets[version][type]
                    used[version] |= agent.packets[version][type] > 0
                if packets:
                    types[words.TYPES[type]] = packets
            versions = [version + 1 for version in range(VERSIONS) if used[version]]
            found.append({
                "captagent_id": number, "node_name": name, "src_ip": address, "listener": listener, "versions": versions,
                "packets": _packets(agent), "bytes": agent.bytes, "rate": agent.rate, "types": types,
                "timed": agent.timed, "skew": agent.skew / 1e6, "first_seen": agent.first / 1e6,
                "last_seen": agent.last / 1e6,
            })
        return found

    def packets(self) -> dict:
        """Packets of all agents, those forgotten too: {"listeners": {listener: {version: {type: packets}}}, "nodes":
        {node: {type: {"packets", "bytes"}}}}, bytes being those of payloads."""
        cdef int at
        found = dict(self.gone)
        for at in range(self.count):
            _add(found, &self.agents[at], self.who[at][3], self.nodes[self.agents[at].node])
        result = {"listeners": {}, "nodes": {}}
        for key, (packets, octets) in found.items():
            if len(key) == 3:
                listener, version, type = key
                result["listeners"].setdefault(listener, {}).setdefault(version, {})[type] = packets
            else:
                node, type = key
                result["nodes"].setdefault(node, {})[type] = {"packets": packets, "bytes": octets}
        return result


cdef uint64_t _packets(Agent* agent) noexcept:
    cdef uint64_t packets = 0
    cdef int version, type
    for version in range(VERSIONS):
        for type in range(TYPES):
            packets += agent.packets[version][type]
    return packets


cdef int _add(dict sums, Agent* agent, str listener, str node) except -1:
    """Add an agent's packets to `sums`, (packets, bytes) by (listener, version, type) and by (node, type)."""
    cdef int version, type
    cdef uint64_t packets
    for type in range(TYPES):
        packets = 0
        for version in range(VERSIONS):
            if agent.packets[version][type]:
                packets += agent.packets[version][type]
                key = (listener, str(version + 1), words.TYPES[type])
                before, _ = sums.get(key, (0, 0))
                sums[key] = (before + agent.packets[version][type], 0)
        if packets:
            before, octets = sums.get((node, words.TYPES[type]), (0, 0))
            sums[node, words.TYPES[type]] = (before + packets, octets + agent.payload[type])
    return 0
