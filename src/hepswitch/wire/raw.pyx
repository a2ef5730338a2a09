# cython: language_level=3
"""Raw: the bytes of one HEP packet of any version with the index of its chunks, and every edit of them.

The buffer is valid HEP at all times: an edit of equal size is done in place, any other moves the bytes behind it at once.
Not here: finding the chunks (`index`), attributes (`fields`), what a packet means and its other versions (`hep`, `convert`).
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memmove

from hepswitch.wire.frames cimport Frames
from hepswitch.wire.index cimport (
    COMPRESSED_PAYLOAD, FAMILY_4, FAMILY_6, HEAD, MOST, PAYLOAD, PROTO_FAMILY, PROTO_TYPE, SIP, SRC_IP4, SRC_IP6,
    TIMESTAMP, TIMESTAMP_US,
    Chunk, index_old, index_v3, is_six, note, number_at, put16, put_number_at, salvage,
)

from hepswitch.wire.chunks import by_id
from hepswitch.wire.errors import WireError
from hepswitch.wire.values import inflate

cdef enum:
    NUMBERED = 16            # bytes of chunks.NUMBER

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* out)
    enum: AF_INET
    enum: AF_INET6


cdef class Raw:
    """The bytes of one HEP packet and the index of its chunks. For C: see raw.pxd; Python uses `Hep`."""

    def __dealloc__(self):
        free(self.owned)
        free(self.index.chunks)

    # ── loading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    cdef int load(self, unsigned char* data, Py_ssize_t size, bint frozen) except -1:
        self.data, self.size, self._version = NULL, 0, 0     # no packet until the bytes have proved to be one
        self.index.count = 0
        self.frozen = frozen
        self.little_time = self.truncated = False
        self.arrival_us = 0
        self.keeper = self.sip_view = self.inflated = None
        if size >= HEAD and (memcmp(data, b"HEP3", 4) == 0 or memcmp(data, b"EEP3", 4) == 0):
            if data[4] << 8 | data[5] > size:
                return self.load_cut(data, size)
            self.size = index_v3(&self.index, data, size)
            self._version = 3
        elif size >= 1 and (data[0] == 1 or data[0] == 2):
            self.little_time = index_old(&self.index, data, size)
            self.size = size
            self._version = data[0]
        elif size >= 2 and data[0] == 0x1F and data[1] == 0x8B:
            return self.load_gzip(data, size)
        else:
            raise WireError(0, "bad magic" if size >= HEAD else "too short")
        self.data = data
        return 0

    cdef int load_gzip(self, unsigned char* data, Py_ssize_t size) except -1:
        found = inflate(data[:size], MOST)
        if found is None:
            raise WireError(0, "bad gzip")
        if found[:2] == b"\x1f\x8b":
            raise WireError(0, "bad magic")
        self.load(<bytes> found, len(found), True)
        return self.detach()

    cdef int load_cut(self, unsigned char* data, Py_ssize_t size) except -1:
        """Keep what is there of a packet that its sender cut, with the lengths corrected."""
        cdef Py_ssize_t cut
        size = salvage(data, size, &cut)
        self.data, self.size = data, size
        self.detach()
        put16(self.data + 4, size)
        if cut:
            put16(self.data + cut + 4, size - cut)
        index_v3(&self.index, self.data, size)
        self._version, self.truncated = 3, True
        return 0

    # ── finding ──────────────────────────────────────────────────────────────────────────────────────────────────────

    cdef Chunk* find(self, int vendor, int id) noexcept nogil:
        cdef int i
        for i in range(self.index.count):
            if self.index.chunks[i].id == id and (self.index.chunks[i].vendor == vendor or vendor == ANY):
                return &self.index.chunks[i]
        return NULL

    cdef bint number(self, int id, uint64_t* out) noexcept nogil:
        cdef Chunk* chunk = self.find(0, id)
        if chunk == NULL:
            if id != PROTO_TYPE or not 0 < self._version < 3:
                return False
            out[0] = SIP                          # versions 1 and 2 carry nothing else, and no byte that says so
            return True
        if not 1 <= chunk.size <= 8:
            return False
        out[0] = number_at(self.data + chunk.at, chunk.size, self.little_time and id >= TIMESTAMP)
        return True

    cdef Chunk* address(self, int four, int six) noexcept nogil:
        cdef Chunk* a = self.find(0, four)
        cdef Chunk* b = self.find(0, six)
        cdef uint64_t family = FAMILY_4
        if a != NULL and a.size != 4:
            a = NULL
        if b != NULL and b.size != 16:
            b = NULL
        if a == NULL or b == NULL:
            return b if a == NULL else a
        self.number(PROTO_FAMILY, &family)
        return b if is_six(family) else a

    cdef uint64_t captured_us(self) noexcept nogil:
        cdef uint64_t seconds = 0, micro = 0
        if not self.number(TIMESTAMP, &seconds) or seconds == 0 or seconds >> 32:
            return self.arrival_us
        self.number(TIMESTAMP_US, &micro)
        return seconds * 1000000 + min(micro, <uint64_t> 999999)      # more is no fraction of a second

    cdef bint numbered(self, uint64_t* queue, uint64_t* number) noexcept nogil:
        cdef Chunk* chunk = self.find(OWN_VENDOR, NUMBER_ID)
        if chunk == NULL or chunk.size != NUMBERED:
            return False
        queue[0] = number_at(self.data + chunk.at, 8, False)
        number[0] = number_at(self.data + chunk.at + 8, 8, False)
        return True

    cdef int trail(self, uint32_t id) noexcept nogil:
        cdef int i, hops = 0
        cdef bint among = False
        cdef Chunk* chunk
        for i in range(self.index.count):
            chunk = &self.index.chunks[i]
            if chunk.vendor == OWN_VENDOR and chunk.id == TRAIL_ID and chunk.size == 4:
                hops += 1
                among = among or number_at(self.data + chunk.at, 4, False) == id
        return -hops if among else hops

    @property
    def hops(self) -> list[int]:
        """The ids of the switches that passed the packet on, in order (see `chunks.TRAIL`)."""
        cdef int i
        cdef Chunk* chunk
        found = []
        for i in range(self.index.count):
            chunk = &self.index.chunks[i]
            if chunk.vendor == OWN_VENDOR and chunk.id == TRAIL_ID and chunk.size == 4:
                found.append(number_at(self.data + chunk.at, 4, False))
        return found

    # ── editing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    cdef int detach(self) except -1:
        return self.own(self.size)

    cdef int own(self, Py_ssize_t room) except -1:
        """Make data ours to write, with room for as many bytes."""
        if self.data == self.owned and room <= self.owned_room:
            return 0
        if room > self.owned_room:
            mine = self.data == self.owned
            grown = <unsigned char*> realloc(self.owned, room)
            if grown == NULL:
                raise MemoryError()
            if mine:
                self.data = grown
            self.owned, self.owned_room = grown, room
        if self.data != self.owned:
            memcpy(self.owned, self.data, self.size)
            self.data = self.owned
        self.frozen = False
        self.keeper = None
        return 0

    cdef int refuse(self, str name) except -1:
        if self._version == 0:
            raise ValueError("there is no packet to edit: its bytes were no HEP")
        raise ValueError(f"HEPv{self._version} cannot carry this {name}: set hep.version = 3 first")

    cdef int put_number(self, int id, int width, uint64_t value, str name) except -1:
        cdef Chunk* chunk = self.find(0, id)
        cdef unsigned char out[8]
        if width < 8 and value >> 8 * width:
            raise ValueError(out_of_range(name, width, value))
        if self._version < 3:
            if id == PROTO_TYPE and value == SIP and self._version:
                return 0
            if chunk == NULL or value >> 8 * chunk.size or (id == PROTO_FAMILY and is_six(value) != is_six(self.data[2])):
                self.refuse(name)
            if id == PROTO_FAMILY and not is_six(value) and value != FAMILY_4:
                self.refuse(name)
            width = <int> chunk.size
        if id == PROTO_TYPE:
            self.sip_view = None
        if chunk != NULL and chunk.size == <uint32_t> width:
            if self.frozen:
                self.detach()
            put_number_at(self.data + chunk.at, width, value, self.little_time and id >= TIMESTAMP)
            return 0
        put_number_at(out, width, value, False)
        return self.put_value(0, id, out, width)

    cdef int put_value(self, int vendor, int id, const unsigned char* p, Py_ssize_t n) except -1:
        cdef Chunk* chunk = self.find(vendor, id)
        if vendor == 0 and (id == PAYLOAD or id == COMPRESSED_PAYLOAD or id == PROTO_TYPE):
            self.sip_view = self.inflated = None
        if self._version < 3 and (chunk == NULL or (n != <Py_ssize_t> chunk.size and id != PAYLOAD)):
            self.refuse(by_id[id].name if vendor == 0 and id in by_id else f"chunk 0x{id:02x} of vendor {vendor}")
        return self.append(vendor, id, p, n) if chunk == NULL else self.replace(chunk, p, n)

    cdef int put_address(self, int four, int six, value, str name) except -1:
        cdef unsigned char packed[16]
        cdef Chunk* chunk
        cdef bytes text = str(value).encode("ascii", "replace")
        cdef bint is6 = inet_pton(AF_INET, text, packed) != 1
        cdef int id = six if is6 else four, other = four if is6 else six, n = 16 if is6 else 4
        cdef uint64_t family = 0
        if is6 and inet_pton(AF_INET6, text, packed) != 1 or b"\0" in text:
            raise ValueError(f"{name} takes an IPv4 or IPv6 address, not {value!r}")
        chunk = self.find(0, id)
        if self._version < 3 and chunk == NULL:
            self.refuse(f"{name} beside an address of the other family" if self._version else name)
        if chunk == NULL and self.find(0, other) != NULL:
            self.rename(self.find(0, other), id)          # in the same place: order is kept
        self.put_value(0, id, packed, n)
        self.remove(0, other)
        if self._version == 3 and (four == SRC_IP4 or self.address(SRC_IP4, SRC_IP6) == NULL):
            if not self.number(PROTO_FAMILY, &family) or is_six(family) != is6 or not (is6 or family == FAMILY_4):
                self.put_number(PROTO_FAMILY, 1, FAMILY_6 if is6 else FAMILY_4, "proto_family")
        return 0

    cdef int put_payload(self, bytes value) except -1:
        cdef Chunk* chunk = self.find(0, COMPRESSED_PAYLOAD)
        if chunk != NULL and self.find(0, PAYLOAD) == NULL:
            if self.size - chunk.size + len(value) > MOST:
                raise ValueError(too_big(self.size - chunk.size + len(value)))
            self.rename(chunk, PAYLOAD)
        self.put_value(0, PAYLOAD, value, len(value))
        if chunk != NULL:
            self.remove(0, COMPRESSED_PAYLOAD)
        return 0

    cdef int replace(self, Chunk* chunk, const unsigned char* p, Py_ssize_t n) except -1:
        cdef Py_ssize_t at = chunk.at, end = at + chunk.size, delta = n - <Py_ssize_t> chunk.size
        cdef Chunk* after
        if self._version < 3 and chunk.id == PAYLOAD:     # NULs behind it go
            delta -= self.size - end
            end = self.size
        if self.size + delta > MOST:
            raise ValueError(too_big(self.size + delta))
        self.own(max(self.size, self.size + delta))
        if delta:
            memmove(self.data + at + n, self.data + end, self.size - end)
            self.size += delta
            if self._version == 3:
                put16(self.data + at - 2, n + HEAD)
                put16(self.data + 4, self.size)
            after = chunk + 1
            while after < self.index.chunks + self.index.count and self._version == 3:
                after.at = <uint32_t> (<Py_ssize_t> after.at + delta)
                after += 1
        chunk.size = <uint32_t> n
        if n:
            memcpy(self.data + at, p, n)
        return 0

    cdef int rename(self, Chunk* chunk, int id) except -1:
        if self.frozen:
            self.detach()
        chunk.id = <uint16_t> id
        put16(self.data + chunk.at - 4, id)
        return 0

    cdef int append(self, int vendor, int id, const unsigned char* p, Py_ssize_t n) except -1:
        cdef Py_ssize_t size = self.size + HEAD + n
        cdef unsigned char* out
        if size > MOST:
            raise ValueError(too_big(size))
        if self.data != self.owned or size > self.owned_room:
            self.own(size + 64)                           # who adds one chunk adds more
        out = self.data + self.size
        put16(out, vendor)
        put16(out + 2, id)
        put16(out + 4, n + HEAD)
        if n:
            memcpy(out + HEAD, p, n)
        note(&self.index, vendor, id, self.size + HEAD, n)
        self.size = size
        put16(self.data + 4, size)
        return 0

    cdef int unnumber(self) except -1:
        cdef Chunk* chunk = self.find(OWN_VENDOR, NUMBER_ID)
        if chunk == NULL:
            return 0
        if chunk == &self.index.chunks[self.index.count - 1] and not self.frozen:
            self.size = chunk.at - HEAD                   # where its sender has put it: nothing moves
            self.index.count -= 1
            put16(self.data + 4, self.size)
        else:
            self.remove(OWN_VENDOR, NUMBER_ID)
        return 0

    cdef bint remove(self, int vendor, int id) except -1:
        cdef Chunk* chunk = self.find(vendor, id)
        cdef Chunk* kept = chunk
        cdef Chunk* end = self.index.chunks + self.index.count
        cdef Py_ssize_t size
        if chunk == NULL:
            return False
        if self._version < 3:
            raise ValueError(f"every HEPv{self._version} packet has this field: set hep.version = 3 first to delete it")
        self.sip_view = self.inflated = None
        self.detach()
        size = chunk.at - HEAD
        while chunk < end:                                # what stays moves up, chunk by chunk
            if chunk.id != id or (chunk.vendor != vendor and vendor != ANY):
                memmove(self.data + size, self.data + chunk.at - HEAD, HEAD + chunk.size)
                kept[0] = chunk[0]
                kept.at = <uint32_t> (size + HEAD)
                size += HEAD + kept.size
                kept += 1
            chunk += 1
        self.index.count = <int> (kept - self.index.chunks)
        self.size = size
        put16(self.data + 4, size)
        return True


cdef bint add_hop(Frames frames, uint32_t id) except -1:
    cdef unsigned char* value = extend(frames, TRAIL_ID, 4)
    if value == NULL:
        return False
    put_number_at(value, 4, id, False)
    return True


cdef bint add_number(Frames frames, uint64_t queue, uint64_t number) except -1:
    cdef unsigned char* value = extend(frames, NUMBER_ID, NUMBERED)
    if value == NULL:
        return False
    put_number_at(value, 8, queue, False)
    put_number_at(value + 8, 8, number, False)
    return True


cdef unsigned char* extend(Frames frames, int id, Py_ssize_t n) except? NULL:
    """A chunk of ours at the end of the last frame: where its n bytes go. NULL: only HEPv3 has room for it, and only up to the
    largest packet; other frames stay as they are."""
    cdef Py_ssize_t start = frames.ends[frames.last - 2] if frames.last - frames.first > 1 else frames.head
    cdef Py_ssize_t size = frames.tail - start
    cdef unsigned char* out
    if size < HEAD or size + HEAD + n > MOST or frames.data[start] < b"E":   # versions 1 and 2 begin with their number
        return NULL
    out = frames.reserve(HEAD + n)                               # may move the frames
    put16(out, OWN_VENDOR)
    put16(out + 2, id)
    put16(out + 4, HEAD + n)
    put16(out - size + 4, size + HEAD + n)
    frames.tail += HEAD + n
    frames.ends[frames.last - 1] = frames.tail
    return out + HEAD


cdef str out_of_range(str name, int width, value):
    return f"{name} takes a number 0..{int.from_bytes(b'\xff' * width)}, not {value}"


cdef str too_big(Py_ssize_t size):
    return f"the packet would have {size} bytes; HEP allows {MOST}"
