# cython: language_level=3, boundscheck=False, wraparound=False
"""What was counted of SIP: messages, calls and delays, by target, direction and node. Plain numbers in plain arrays.

Something between two targets counts for both, as source and as destination; what touches none counts as "unknown". With
targets, rows are not split by node (as in heplify-server): that would multiply the two. Not here: what is counted (`calls`).
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from hepswitch.metering.digest cimport digest
from hepswitch.metering.message cimport METHODS, RESPONSES, UNKNOWN as UNKNOWN_METHOD

from urllib.parse import urlencode

from hepswitch.metering import words
from hepswitch.metering.means import LEAST

UNKNOWN = "unknown"
"""Homer's name for the traffic of no target."""

BOUNDS = (
    (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 40.0, 80.0),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
    (1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0),
)
"""Upper bounds of the buckets, seconds: of setup, registration and duration."""

cdef uint64_t bounds[DELAYS][BUCKETS - 1]

assert (len(words.OUTCOMES), len(words.REGISTERED), len(words.OUTCOMES) - 1) == (OUTCOMES, REGISTERED, UNFINISHED)
for number, row in enumerate(BOUNDS):
    for place, bound in enumerate(row):
        bounds[<int> number][<int> place] = <uint64_t> (bound * 1e6)


cdef class Tally:
    """Counts for `nodes` nodes and the targets that are named with `name`. `seed`: the same in all workers."""

    def __cinit__(self, Py_ssize_t nodes, uint64_t seed):
        self.nodes, self.seed = nodes, seed
        self.targets = [UNKNOWN]
        self.rows = <Row**> calloc(nodes + PLACES, sizeof(Row*))
        self.places[0] = <Place*> calloc(1, sizeof(Place))
        if self.rows == NULL or self.places[0] == NULL:
            raise MemoryError()

    def __dealloc__(self):
        cdef Py_ssize_t i
        if self.rows != NULL:
            for i in range(self.nodes + PLACES):
                free(self.rows[i])
        free(self.rows)
        for i in range(PLACES):
            free(self.places[i])

    def name(self, str target not None) -> int:
        """The number of a target, new or known. ValueError when there have been too many."""
        cdef bytes octets = target.encode()
        cdef int number, place
        if target in self.targets[1:]:
            return self.targets.index(target, 1)
        number = len(self.targets)
        if number >= MOST_TARGETS:
            raise ValueError(f"there have been {MOST_TARGETS - 1} targets since the start: restart to name more")
        for place in (2 * number - 1, 2 * number):
            if self.places[place] == NULL:
                self.places[place] = <Place*> calloc(1, sizeof(Place))
            if self.places[place] == NULL:
                raise MemoryError()
        self.tags[number] = <uint32_t> digest(octets, len(octets), self.seed) | 1
        self.targets.append(target)
        return number

    cdef Row* row(self, int place, int node) except NULL:
        """Where messages are counted: at place 0 by node."""
        cdef Row** at = self.rows + (self.nodes + place if place else node)
        if at[0] == NULL:
            at[0] = <Row*> calloc(1, sizeof(Row))
            if at[0] == NULL:
                raise MemoryError()
        return at[0]

    cdef int count(self, int place, int node, int method, int response) except -1:
        """A message. Beyond MOST_SERIES kinds of messages those of a new one are "other" ones of their node or target: what
        is made up to have many makes no more."""
        cdef Row* row = self.row(place, node)
        cdef uint64_t* counted = &row.counts[method][response]
        if counted[0] == 0:
            if self.series >= MOST_SERIES:
                counted = &row.counts[UNKNOWN_METHOD][UNKNOWN_METHOD]
            else:
                self.series += 1
        counted[0] += 1
        return 0

    cdef int number_of(self, uint32_t tag) noexcept nogil:
        """The target of this tag; 0: none, or one that this worker does not know."""
        cdef int number
        if tag:
            for number in range(1, MOST_TARGETS):
                if self.tags[number] == tag:
                    return number
        return 0

    cdef void attempt(self, int source, int target, bint registration) noexcept nogil:
        self.places[first_place(source, target)].attempts[registration] += 1
        if second_place(source, target):
            self.places[second_place(source, target)].attempts[registration] += 1

    cdef void outcome(self, int source, int target, bint registration, int what) noexcept nogil:
        self.places[first_place(source, target)].outcomes[registration][what] += 1
        if second_place(source, target):
            self.places[second_place(source, target)].outcomes[registration][what] += 1

    cdef void retransmission(self, int source, int target, bint reply) noexcept nogil:
        self.places[first_place(source, target)].retransmitted[reply] += 1
        if second_place(source, target):
            self.places[second_place(source, target)].retransmitted[reply] += 1

    cdef void delay(self, int source, int target, int what, uint64_t us) noexcept nogil:
        cdef int bucket = 0, place = second_place(source, target)
        while bucket < BUCKETS - 1 and us > bounds[what][bucket]:
            bucket += 1
        self.places[first_place(source, target)].delays[what].counts[bucket] += 1
        self.places[first_place(source, target)].delays[what].total += us
        if place:
            self.places[place].delays[what].counts[bucket] += 1
            self.places[place].delays[what].total += us

    cdef int fade(self, double share) except -1:
        """Let the delays of before weigh `share` of what they did."""
        cdef Py_ssize_t i
        cdef int what
        for i in range(self.nodes + PLACES):
            if self.rows[i] != NULL:
                for what in range(2):
                    self.rows[i].weight[what] *= share
                    self.rows[i].total[what] *= share
        return 0

    # ── the books ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def messages(self, list nodes not None) -> dict:
        """Messages by target, direction, node (`nodes`: their labels), method and response."""
        cdef Py_ssize_t i
        found = {}
        for i in range(self.nodes + PLACES):
            if self.rows[i] != NULL:
                target, direction, node = self._labels(i, nodes)
                by_method = _messages(self.rows[i])
                if by_method:
                    found.setdefault(target, {}).setdefault(direction, {})[node] = by_method
        return found

    def means(self, list nodes not None) -> dict:
        """The delays of late in ns, as `means.Means.snapshot` has them: "heplify_kpi_srd" and "heplify_kpi_rrd"."""
        cdef Py_ssize_t i
        cdef int what
        found = {}
        for i in range(self.nodes + PLACES):
            if self.rows[i] == NULL:
                continue
            target, _, node = self._labels(i, nodes)
            labels = urlencode({"target_name": target, "node_id": node})
            for what, name in enumerate(("heplify_kpi_srd", "heplify_kpi_rrd")):
                if self.rows[i].weight[what] >= LEAST:
                    mean = found.setdefault(name, {}).setdefault(labels, {"weight": 0.0, "total": 0.0})
                    mean["weight"] += self.rows[i].weight[what]
                    mean["total"] += self.rows[i].total[what] * 1e3
        return found

    def calls(self) -> dict:
        """Calls, registrations, retransmissions and delays by target and direction."""
        cdef int place
        found = {}
        for place in range(2 * len(self.targets) - 1):
            target, direction = self._place(place)
            found.setdefault(target, {})[direction] = _calls(self.places[place])
        return found

    def _place(self, int place):
        return self.targets[(place + 1) // 2], "" if not place else "src" if place & 1 else "dst"

    def _labels(self, Py_ssize_t i, list nodes):
        return ("unknown", "", nodes[i]) if i < self.nodes else (*self._place(i - self.nodes), "")


cdef dict _messages(Row* row):
    cdef int method, response
    by_method = {}
    for method in range(METHODS):
        by_response = {}
        for response in range(RESPONSES):
            if row.counts[method][response]:
                by_response[words.RESPONSES[response]] = row.counts[method][response]
        if by_response:
            by_method[words.METHODS[method]] = by_response
    return by_method


cdef dict _calls(Place* place):
    cdef int i
    return {
        "attempts": place.attempts[False],
        "outcomes": {word: place.outcomes[False][i] for i, word in enumerate(words.OUTCOMES)},
        "registrations": place.attempts[True],
        "registered": {word: place.outcomes[True][i] for i, word in enumerate(words.REGISTERED)},
        "retransmissions": {"requests": place.retransmitted[0], "replies": place.retransmitted[1]},
        "setup": _histogram(&place.delays[SETUP]),
        "registration": _histogram(&place.delays[REGISTRATION]),
        "duration": _histogram(&place.delays[DURATION]),
    }


cdef dict _histogram(Histogram* histogram):
    """Buckets as they are counted (not cumulative), with the bounds in BOUNDS, and the sum in seconds."""
    cdef int i
    return {"counts": {str(i): histogram.counts[i] for i in range(BUCKETS)}, "sum": histogram.total / 1e6}
