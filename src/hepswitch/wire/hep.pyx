# cython: language_level=3
"""Hep: one HEP packet of version 1, 2 or 3 as an editable view of its bytes.

Chunks are found once and kept in an index; values are decoded when somebody asks. The buffer is valid HEP at all times: an
edit of equal size is done in place, any other moves the bytes behind it at once. So a packet that nobody changed gives
back the bytes that arrived, unknown and repeated chunks and their order included.

Tolerant in, strict out. Sources: HEP3 Network Protocol Specification rev. 37; for versions 1 and 2 what senders do.
Not here: what chunks are called (`chunks`) and how values are written (`values`), SIP (`sip`), streams (`stream`).
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, memset

from hepswitch.wire.frames cimport Frames
from hepswitch.wire.sip cimport Sip, Span, sip_call_id, sip_looks

from hepswitch.wire.chunks import GENERIC, ProtoType, by_id, by_name
from hepswitch.wire.errors import WireError
from hepswitch.wire.values import ChunkView, decode, encode, inflate, unwrap

cdef extern from "<arpa/inet.h>" nogil:
    const char* inet_ntop(int family, const void* address, char* out, unsigned int room)
    int inet_pton(int family, const char* text, void* out)
    enum: AF_INET
    enum: AF_INET6

cdef enum:
    PROTO_FAMILY = 0x01
    PROTO_ID = 0x02
    SRC_IP4 = 0x03
    DST_IP4 = 0x04
    SRC_IP6 = 0x05
    DST_IP6 = 0x06
    SRC_PORT = 0x07
    DST_PORT = 0x08
    TIMESTAMP = 0x09
    TIMESTAMP_US = 0x0A
    PROTO_TYPE = 0x0B
    CAPTAGENT_ID = 0x0C
    PAYLOAD = 0x0F
    COMPRESSED_PAYLOAD = 0x10
    CORRELATION_ID = 0x11

    SIP = 1
    SIP_JSON = 50
    UDP = 17
    FAMILY_4 = 2                 # as Linux numbers them; that is what packets hold
    FAMILY_6 = 10
    HEAD = 6                     # of a packet, and of a chunk
    OLD_TIME = 12                # bytes of the time block of version 2
    MOST = 65535
    ROOM_V3 = 160                # more than all but the payload takes when an older packet becomes version 3
    ROOM_OLD = 52

cdef uint64_t YEAR_2000 = 946684800
cdef uint64_t YEAR_2100 = 4102444800
cdef int ANY = -1                # vendor: whichever


# ── attributes ───────────────────────────────────────────────────────────────────────────────────────────────────────

cdef class Field:
    """An attribute that stands for a generic chunk. None when the packet has no such chunk; setting None deletes it."""

    cdef int id
    cdef readonly str name
    cdef readonly str type

    def __cinit__(self, int id):
        self.id = id
        self.name, self.type = by_id[id].name, by_id[id].type

    @property
    def __doc__(self):
        return f"{by_id[self.id].doc} (chunk 0x{self.id:02x}, {self.type})"

    def __delete__(self, instance):
        (<Hep?> instance).delete(self.name)


cdef class Number(Field):
    cdef int width
    cdef bint is_type

    def __cinit__(self, int id):
        self.width = {"uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8}[self.type]
        self.is_type = id == PROTO_TYPE

    def __get__(self, instance, owner):
        cdef uint64_t value = 0
        if instance is None:
            return self
        if not (<Hep?> instance).number(self.id, &value):
            return None
        return kinds[value] if self.is_type and value < 256 else value

    def __set__(self, instance, value):
        cdef uint64_t number
        if value is None:
            (<Hep?> instance).delete(self.name)
            return
        if self.is_type and isinstance(value, str):
            value = ProtoType.named(value)
        try:
            number = value
        except OverflowError:
            raise ValueError(out_of_range(self.name, self.width, value)) from None
        (<Hep?> instance).put_number(self.id, self.width, number, self.name)


cdef class Octets(Field):
    def __get__(self, instance, owner):
        cdef Hep hep
        cdef Chunk* chunk
        if instance is None:
            return self
        hep = <Hep?> instance
        chunk = hep.find(0, self.id)
        if chunk == NULL:
            return None
        raw = hep.data[chunk.at:chunk.at + chunk.size]
        return raw.decode("utf-8", "surrogateescape") if self.type == "utf8-string" else raw

    def __set__(self, instance, value):
        cdef bytes raw
        if value is None:
            (<Hep?> instance).delete(self.name)
            return
        raw = encode(self.type, value, self.name)
        (<Hep?> instance).put_value(0, self.id, raw, len(raw))


cdef class Address(Field):
    def __get__(self, instance, owner):
        cdef Hep hep
        cdef Chunk* chunk
        cdef char text[46]
        if instance is None:
            return self
        hep = <Hep?> instance
        chunk = hep.address(self.id, self.id + 2)
        if chunk == NULL:
            return None
        inet_ntop(AF_INET if chunk.size == 4 else AF_INET6, hep.data + chunk.at, text, sizeof(text))
        return (<bytes> text).decode("ascii")

    def __set__(self, instance, value):
        if value is None:
            (<Hep?> instance).delete(self.name)
        else:
            (<Hep?> instance).put_address(self.id, self.id + 2, value, self.name)


# ── the packet ───────────────────────────────────────────────────────────────────────────────────────────────────────

cdef class Hep:
    """One HEP packet: `Hep(data)` decodes bytes, `Hep.new()` builds one. WireError when the bytes are no HEP packet.

    `arrival` is when it arrived (seconds since 1970), the time of a packet that carries none.

    Accepted besides what the specification says: the magic `EEP3`; bytes behind the advertised length (ignored and not given
    back); a datagram that is gzip as a whole (`bytes()` gives the inflated packet); a packet that its sender's buffer cut,
    if the payload had begun: then `truncated` is true, the chunks before the cut and the payload's beginning are kept and
    the lengths corrected, for a message's beginning still finds its call. A cut before the payload is WireError "truncated".
    Chunks of an odd size stay as they are: their attributes read as numbers of that size, or None. Versions 1 and 2 go by
    version and family, never by their length byte; trailing NULs are not part of the payload.
    """

    proto_family = Number(PROTO_FAMILY)
    proto_id = Number(PROTO_ID)
    src_ip = Address(SRC_IP4)
    dst_ip = Address(DST_IP4)
    src_port = Number(SRC_PORT)
    dst_port = Number(DST_PORT)
    timestamp = Number(TIMESTAMP)
    timestamp_us = Number(TIMESTAMP_US)
    proto_type = Number(PROTO_TYPE)
    captagent_id = Number(CAPTAGENT_ID)
    keep_alive = Number(0x0D)
    auth_key = Octets(0x0E)
    compressed_payload = Octets(COMPRESSED_PAYLOAD)
    correlation_id = Octets(CORRELATION_ID)
    vlan_id = Number(0x12)
    node_name = Octets(0x13)
    src_mac = Number(0x14)
    dst_mac = Number(0x15)
    ethernet_type = Number(0x16)
    tcp_flags = Number(0x17)
    ip_tos = Number(0x18)
    mos = Number(0x20)
    r_factor = Number(0x21)
    geo_location = Octets(0x22)
    jitter = Number(0x23)
    transaction_type = Octets(0x24)
    json_keys = Octets(0x25)
    tag_values = Octets(0x26)
    tag_type = Number(0x27)
    event_type = Number(0x28)
    group_id = Octets(0x29)

    def __init__(self, data, arrival=None):
        cdef bytes raw = bytes(data)
        self.load(raw, len(raw), True)
        if self.data != self.owned:
            self.keeper = raw
        if arrival is not None:
            self.arrival = arrival

    def __dealloc__(self):
        free(self.owned)
        free(self.index)

    @staticmethod
    def new(payload=b"", *, int version=3, **chunks):
        """A packet with `payload` (bytes, str, or None for none) and the chunks given by name, and `time` (seconds).

        `proto_id` is 17 and `proto_type` 1 unless given; `proto_family` follows the source address. ValueError for a value
        out of range, TypeError for a name that there is not.
        """
        cdef Hep hep = Hep.__new__(Hep)
        cdef unsigned char empty[HEAD]
        memcpy(empty, b"HEP3\0\6", HEAD)
        hep.load(empty, HEAD, True)
        hep.own(512)
        family = FAMILY_6 if ":" in str(chunks.get("src_ip") or chunks.get("dst_ip")) else FAMILY_4
        chunks = {"proto_family": family, "proto_id": UDP, "proto_type": SIP} | chunks
        if "time" in chunks:
            us = round(chunks.pop("time") * 1e6)
            chunks |= {"timestamp": us // 1000000, "timestamp_us": us % 1000000}
        for name in names_before_payload:
            if name in chunks:
                setattr(hep, name, chunks.pop(name))
        if chunks:
            raise TypeError(f"no chunk is called {next(iter(chunks))!r}")
        hep.payload = payload
        hep.version = version
        return hep

    # ── decoding ─────────────────────────────────────────────────────────────────────────────────────────────────────

    cdef int load(self, unsigned char* data, Py_ssize_t size, bint frozen) except -1:
        self.data, self.size, self.frozen = data, size, frozen
        self.chunk_count = 0
        self.little_time = self.truncated = False
        self.arrival_us = 0
        self.keeper = self.sip_view = self.inflated = None
        if size >= HEAD and (memcmp(data, b"HEP3", 4) == 0 or memcmp(data, b"EEP3", 4) == 0):
            self._version = 3
            return self.index_v3()
        if size >= 1 and (data[0] == 1 or data[0] == 2):
            self._version = data[0]
            return self.index_old()
        if size >= 2 and data[0] == 0x1F and data[1] == 0x8B:
            return self.load_gzip(data, size)
        return self.fail(0, "bad magic" if size >= HEAD else "too short")

    cdef int fail(self, Py_ssize_t offset, str reason) except -1:
        self.data, self.size, self._version, self.chunk_count = NULL, 0, 0, 0
        raise WireError(offset, reason)

    cdef int load_gzip(self, unsigned char* data, Py_ssize_t size) except -1:
        found = inflate(data[:size])
        if found is None:
            self.fail(0, "bad gzip")
        if len(found) > MOST or found[:2] == b"\x1f\x8b":
            self.fail(0, "bad length" if len(found) > MOST else "bad magic")
        self.load(<bytes> found, len(found), True)
        return self.detach()

    cdef int index_v3(self) except -1:
        cdef const unsigned char* p = self.data
        cdef Py_ssize_t at = HEAD, length, total = p[4] << 8 | p[5]
        cdef Chunk* chunk
        cdef int count = 0
        if total < HEAD:
            self.fail(4, "bad length")
        if total > self.size:
            return self.salvage()
        while at < total:
            if total - at < HEAD:
                self.fail(at, "bad chunk length")
            length = p[at + 4] << 8 | p[at + 5]
            if length < HEAD or length > total - at:
                self.fail(at + 4, "bad chunk length")
            if count == self.chunk_room:
                self.more_index()
            chunk = &self.index[count]
            chunk.vendor = <uint16_t> (p[at] << 8 | p[at + 1])
            chunk.id = <uint16_t> (p[at + 2] << 8 | p[at + 3])
            chunk.at = <uint32_t> (at + HEAD)
            chunk.size = <uint32_t> (length - HEAD)
            count += 1
            at += length
        self.chunk_count = count
        self.size = total
        return 0

    cdef int salvage(self) except -1:
        """Keep what is there of a packet that its sender cut, if the payload had begun."""
        cdef unsigned char* p
        cdef Py_ssize_t at = HEAD, length
        cdef bint payload = False, found = False
        self.detach()
        p = self.data
        while self.size - at >= HEAD:
            payload = p[at] == 0 and p[at + 1] == 0 and p[at + 2] == 0 and p[at + 3] == PAYLOAD
            length = p[at + 4] << 8 | p[at + 5]
            if length < HEAD:
                self.fail(at + 4, "bad chunk length")
            if length > self.size - at:
                if payload and self.size - at > HEAD:
                    found = True
                    put16(p + at + 4, self.size - at)
                    at = self.size
                break
            found = found or payload
            at += length
        if not found:
            self.fail(4, "truncated")
        self.size = at
        put16(p + 4, at)
        self.truncated = True
        return self.index_v3()

    cdef int index_old(self) except -1:
        """Versions 1 and 2: the header's fields as the chunks that they correspond to."""
        cdef const unsigned char* p = self.data
        cdef Py_ssize_t at, size = 4, end = self.size
        cdef int four = 0
        if end < 8:
            self.fail(0, "too short")
        if is_six(p[2]):
            size, four = 16, 2
        elif p[2] != FAMILY_4:
            self.fail(2, "unknown family")
        at = 8 + 2 * size
        if end < at + (OLD_TIME if self._version == 2 else 0):
            self.fail(0, "too short")
        self.note(PROTO_FAMILY, 2, 1)
        self.note(PROTO_ID, 3, 1)
        self.note(SRC_IP4 + four, 8, size)
        self.note(DST_IP4 + four, 8 + size, size)
        self.note(SRC_PORT, 4, 2)
        self.note(DST_PORT, 6, 2)
        if self._version == 2:
            self.little_time = time_is_little(p + at)
            self.note(TIMESTAMP, at, 4)
            self.note(TIMESTAMP_US, at + 4, 4)
            self.note(CAPTAGENT_ID, at + 8, 2)
            at += OLD_TIME
        while end > at and p[end - 1] == 0:
            end -= 1
        return self.note(PAYLOAD, at, end - at)

    cdef int note(self, int id, Py_ssize_t at, Py_ssize_t size) except -1:
        cdef Chunk* chunk
        if self.chunk_count == self.chunk_room:
            self.more_index()
        chunk = &self.index[self.chunk_count]
        chunk.vendor, chunk.id = 0, <uint16_t> id
        chunk.at, chunk.size = <uint32_t> at, <uint32_t> size
        self.chunk_count += 1
        return 0

    cdef int more_index(self) except -1:
        cdef int room = max(2 * self.chunk_room, 32)
        grown = <Chunk*> realloc(self.index, room * sizeof(Chunk))
        if grown == NULL:
            raise MemoryError()
        self.index, self.chunk_room = grown, room
        return 0

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    cdef Chunk* find(self, int vendor, int id) noexcept nogil:
        cdef int i
        for i in range(self.chunk_count):
            if self.index[i].id == id and (self.index[i].vendor == vendor or vendor == ANY):
                return &self.index[i]
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

    cdef int span(self, const unsigned char** p, Py_ssize_t* n) except -1:
        cdef Chunk* chunk = self.find(0, PAYLOAD)
        p[0], n[0] = NULL, 0
        if chunk != NULL:
            p[0], n[0] = self.data + chunk.at, chunk.size
            return 0
        chunk = self.find(0, COMPRESSED_PAYLOAD)
        if chunk == NULL:
            return 0
        if self.inflated is None:
            # Plain SIP here is what OpenSIPS relays after inflating.
            raw = self.data[chunk.at:chunk.at + chunk.size]
            self.inflated = raw if sip_looks(raw, len(raw)) else inflate(raw) or b""
        p[0], n[0] = <bytes> self.inflated, len(<bytes> self.inflated)
        return 0

    cdef uint64_t captured_us(self) noexcept nogil:
        cdef uint64_t seconds = 0, micro = 0
        if not self.number(TIMESTAMP, &seconds) or seconds == 0 or seconds >> 32:
            return self.arrival_us
        if not self.number(TIMESTAMP_US, &micro) or micro >> 32:
            micro = 0
        return seconds * 1000000 + micro

    cdef bint identity(self, const unsigned char** p, Py_ssize_t* n) except -1:
        """The Call-ID or correlation id, in memory that lives as long as the packet stays as it is."""
        cdef uint64_t kind = 0
        cdef Span span
        cdef Chunk* chunk
        self.number(PROTO_TYPE, &kind)
        if kind <= SIP or kind == SIP_JSON:
            self.span(p, n)
            if n[0] and p[0][0] == b"{":
                if self.sip is not None:
                    p[0], n[0] = (<Sip> self.sip_view).raw, len((<Sip> self.sip_view).raw)
            if sip_looks(p[0], n[0]) and sip_call_id(p[0], n[0], &span) and span.size:
                p[0] += span.at
                n[0] = span.size
                return True
        chunk = self.find(0, CORRELATION_ID)
        if chunk == NULL or chunk.size == 0:
            return False
        p[0], n[0] = self.data + chunk.at, chunk.size
        return True

    cdef uint64_t call_key(self) except? 0:
        """`call_identity` as a number: FNV-1a (64 bits) and the finaliser of splitmix64. The same on every machine."""
        cdef const unsigned char* p = NULL
        cdef Py_ssize_t n = 0
        if self.identity(&p, &n):
            return mixed(p, n)
        pairs = endpoints(self)
        return mixed(pairs, len(pairs))

    @property
    def call_identity(self) -> bytes:
        """What the packets of one call share: the SIP Call-ID, else the correlation id, else both endpoints, sorted."""
        cdef const unsigned char* p = NULL
        cdef Py_ssize_t n = 0
        return p[:n] if self.identity(&p, &n) else endpoints(self)

    @property
    def sip(self):
        """The payload as `Sip`, unwrapped from JSON if need be; None when it is not SIP."""
        cdef const unsigned char* p = NULL
        cdef Py_ssize_t n = 0
        cdef uint64_t kind = 0
        if self.sip_view is None:
            self.sip_view = False
            self.number(PROTO_TYPE, &kind)
            if kind <= SIP or kind == SIP_JSON:
                self.span(&p, &n)
                raw = unwrap(p[:n]) if n and p[0] == b"{" else p[:n]
                if raw is not None and sip_looks(raw, len(raw)):
                    self.sip_view = Sip(raw)
        return self.sip_view or None

    @property
    def payload(self):
        """The captured bytes, inflated if they came compressed; None when there are none.

        What cannot be inflated (up to 1 MiB) gives None: see `compressed_payload`.
        """
        cdef const unsigned char* p = NULL
        cdef Py_ssize_t n = 0
        self.span(&p, &n)
        if n == 0 and self.find(0, PAYLOAD) == NULL:
            return None
        return p[:n]

    @payload.setter
    def payload(self, value):
        if value is None:
            self.delete("payload")
        else:
            self.put_payload(encode("octet-string", value, "payload"))

    @property
    def time_us(self) -> int:
        """When the packet was captured, µs since 1970: its own time, else (absent or zero) that of its arrival."""
        return self.captured_us()

    @time_us.setter
    def time_us(self, value):
        if not 0 <= value < 1000000 << 32:
            raise ValueError(f"HEP holds times from 1970 to 2106, not {value} µs")
        self.timestamp = value // 1000000
        self.timestamp_us = value % 1000000

    @property
    def time(self) -> float:
        """`time_us` in seconds."""
        return self.captured_us() / 1e6

    @time.setter
    def time(self, double value):
        if not 0 <= value < 4294967296.0:
            raise ValueError(f"HEP holds times from 1970 to 2106, not {value} s")
        self.time_us = round(value * 1e6)

    @property
    def arrival(self) -> float:
        """When the packet arrived, seconds since 1970; 0.0 when nobody said."""
        return self.arrival_us / 1e6

    @arrival.setter
    def arrival(self, double value):
        if not 0 <= value < 1e12:
            raise ValueError(f"{value} is no time of arrival: seconds since 1970 are expected")
        self.arrival_us = <uint64_t> (value * 1e6 + 0.5)

    def get(self, chunk, type=None, vendor=None):
        """The value of a chunk by name or number (int, "0x1f", "31"), or None when the packet has no such chunk.

        Without a vendor: the generic chunk of that number, else the first of any vendor. Without a type: the specification's
        for generic chunks, else bytes. None also when the chunk's size does not fit the type.
        """
        cdef Chunk* found
        name = chunk.lower() if isinstance(chunk, str) else chunk
        if name in by_name and type is None and not vendor:
            return getattr(self, name)
        if name == "payload" and not vendor:
            return None if self.payload is None else decode(type, self.payload)
        if name in ("src_ip", "dst_ip") and not vendor:
            found = self.address(by_name[name].id, by_name[name].id + 2)
        else:
            found = self.find(0 if vendor is None else vendor, chunk_number(chunk))
        if found == NULL and vendor is None and name not in by_name:
            found = self.find(ANY, chunk_number(chunk))
        if found == NULL:
            return self.proto_type if not vendor and chunk_number(chunk) == PROTO_TYPE else None
        return self.view(found, type or kind_of(found))

    def chunks(self):
        """Every chunk in order, as `ChunkView`. Of versions 1 and 2 the header's fields, as the chunks they stand for."""
        cdef int i
        cdef Chunk* chunk
        views = []
        for i in range(self.chunk_count):
            chunk = &self.index[i]
            kind = kind_of(chunk)
            name = by_id[chunk.id].name if chunk.vendor == 0 and chunk.id in by_id else ""
            value = self.view(chunk, kind)
            if value is None:
                value = self.data[chunk.at:chunk.at + chunk.size]
            views.append(ChunkView(chunk.vendor, chunk.id, name, kind, chunk.size, value))
        return views

    cdef object view(self, Chunk* chunk, str kind):
        cdef bint little = self.little_time and chunk.id >= TIMESTAMP and chunk.id <= CAPTAGENT_ID
        raw = self.data[chunk.at:chunk.at + chunk.size]
        return decode(kind, raw[::-1] if little else raw)

    def __bytes__(self):
        return self.data[:self.size] if self.size else b""

    def __repr__(self):
        kind = self.proto_type
        return (f"<Hep v{self._version} {self.src_ip}:{self.src_port} → {self.dst_ip}:{self.dst_port} "
                f"{'?' if kind is None else kind!s}, {self.size} bytes>")

    def copy(self) -> Hep:
        """A packet of its own with the same bytes and arrival."""
        cdef Hep twin = Hep.__new__(Hep)
        if self.size:
            twin.load(self.data, self.size, True)
            twin.detach()
        twin.arrival_us = self.arrival_us
        twin.truncated = self.truncated
        return twin

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
            while after < self.index + self.chunk_count and self._version == 3:
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
        self.note(id, self.size + HEAD, n)
        self.index[self.chunk_count - 1].vendor = <uint16_t> vendor
        self.size = size
        put16(self.data + 4, size)
        return 0

    cdef bint remove(self, int vendor, int id) except -1:
        cdef Chunk* chunk = self.find(vendor, id)
        cdef Py_ssize_t start, length
        cdef int i
        if chunk == NULL:
            return False
        if self._version < 3:
            raise ValueError(f"every HEPv{self._version} packet has this field: set hep.version = 3 first to delete it")
        self.sip_view = self.inflated = None
        self.detach()
        while chunk != NULL:
            start, length = chunk.at - HEAD, chunk.size + HEAD
            memmove(self.data + start, self.data + start + length, self.size - start - length)
            self.size -= length
            for i in range(<int> (chunk - self.index), self.chunk_count - 1):
                self.index[i] = self.index[i + 1]
                self.index[i].at -= <uint32_t> length
            self.chunk_count -= 1
            chunk = self.find(vendor, id)
        put16(self.data + 4, self.size)
        return True

    def set(self, chunk, value, type=None, vendor=None) -> None:
        """Write a chunk by name or number (int, "0x1f", "31"): the first of that number and vendor, else a new one.

        Unless given, the vendor is 0 and the type the specification's by name, 3 (OpenSIPS) and utf8-string by number.
        ValueError when the type cannot hold the value, when the packet would exceed 65,535 bytes, or when its version cannot
        carry the chunk.
        """
        cdef bytes raw
        cdef int id = chunk_number(chunk)
        name = chunk.lower() if isinstance(chunk, str) else chunk
        if name in by_name and not vendor:
            if type is None or name in ("src_ip", "dst_ip", "payload"):
                setattr(self, name, value)
                return
            vendor = 0
        if vendor is None:
            vendor = 3
        if not 0 <= vendor <= 0xFFFF:
            raise ValueError(f"a vendor is a number 0..65535, not {vendor!r}")
        if 0 < self._version < 3 and vendor == 0 and id in by_id and not SRC_IP4 <= id <= DST_IP6:
            setattr(self, by_id[id].name, value)          # the header says how wide a field is and in which byte order
            return
        raw = encode(type or "utf8-string", value, f"chunk {chunk!r}")
        self.put_value(vendor, id, raw, len(raw))

    def delete(self, chunk, vendor=None) -> bool:
        """Remove every chunk of a name, or of a number and (if given) vendor. False when there was none.

        `payload` removes a compressed payload too. ValueError for a field of a HEPv1 or HEPv2 header.
        """
        name = chunk.lower() if isinstance(chunk, str) else chunk
        if name in by_name and not vendor:
            id = by_name[name].id
            twin = {"src_ip": SRC_IP6, "dst_ip": DST_IP6, "payload": COMPRESSED_PAYLOAD}.get(name)
            removed = self.remove(0, id)
            return (twin is not None and self.remove(0, twin)) or removed
        return self.remove(ANY if vendor is None else vendor, chunk_number(chunk))

    # ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def version(self) -> int:
        """1, 2 or 3. Setting it converts the packet at once, with every field that the target can carry.

        ValueError when the target cannot carry the packet at all: versions 1 and 2 hold SIP between addresses of one family.
        From version 1 the arrival becomes the packet's time; a capture id above 65,535 becomes 0 in version 2, "unknown".
        """
        return self._version

    @version.setter
    def version(self, int value):
        cdef unsigned char* out = NULL
        cdef Py_ssize_t size
        cdef uint64_t arrival_us = self.arrival_us
        cdef bint truncated = self.truncated
        if value == self._version:
            return
        size = self.encode(value, &out, None)
        free(self.owned)
        self.owned, self.owned_room = out, size
        self.load(out, size, False)
        self.arrival_us, self.truncated = arrival_us, truncated

    cdef int write_to(self, Frames frames, int version) except -1:
        cdef unsigned char* out = NULL
        if version == 0 or version == self._version:
            return frames.put(self.data, self.size)
        return frames.commit(self.encode(version, &out, frames))

    cdef Py_ssize_t encode(self, int version, unsigned char** out, Frames frames) except -1:
        """Write the packet in another version into frames' reserve, or without frames into new memory at out."""
        cdef const unsigned char* p = NULL
        cdef Py_ssize_t n = 0, room
        cdef uint64_t kind = 0
        cdef Chunk* source = self.address(SRC_IP4, SRC_IP6)
        cdef Chunk* target = self.address(DST_IP4, DST_IP6)
        if not 1 <= version <= 3:
            raise ValueError(f"there are HEP versions 1, 2 and 3, not {version}")
        if self._version == 0:
            self.refuse("")
        self.span(&p, &n)
        if version < 3 and self._version == 3:
            self.number(PROTO_TYPE, &kind)
            if kind != SIP and self.sip is None:          # type 0 or none at all is SIP when it looks like it
                raise ValueError(f"HEPv{version} carries nothing but SIP, and this is {ProtoType(kind)}")
            if source != NULL and target != NULL and source.size != target.size:
                raise ValueError(f"HEPv{version} carries two addresses of one family, not {self.src_ip} and {self.dst_ip}")
            if n and p[0] == b"{" and self.sip is not None:
                p, n = (<Sip> self.sip_view).raw, len((<Sip> self.sip_view).raw)
        room = n + (ROOM_V3 if version == 3 else ROOM_OLD)
        if n + ROOM_OLD > MOST:
            raise ValueError(too_big(n + ROOM_OLD))
        if frames is None:
            out[0] = <unsigned char*> malloc(room)
            if out[0] == NULL:
                raise MemoryError()
        else:
            out[0] = frames.reserve(room)
        if version < 3:
            six = source.size == 16 if source != NULL else target != NULL and target.size == 16
            return self.encode_old(version, out[0], six, p, n)
        room = self.encode_v3(out[0], p, n)
        if room > MOST:
            if frames is None:
                free(out[0])
            raise ValueError(too_big(room))
        return room

    cdef Py_ssize_t encode_v3(self, unsigned char* out, const unsigned char* payload, Py_ssize_t n) noexcept:
        cdef unsigned char* at = out + HEAD
        cdef uint64_t us = self.captured_us(), value = 0
        cdef Chunk* chunk
        cdef int i
        memcpy(out, b"HEP3", 4)
        for i in range(self.chunk_count):
            chunk = &self.index[i]
            if chunk.id <= DST_PORT:
                at = chunk_at(at, chunk.id, self.data + chunk.at, chunk.size)
        if us:
            at = number_chunk(at, TIMESTAMP, 4, us // 1000000)
            at = number_chunk(at, TIMESTAMP_US, 4, us % 1000000)
        at = number_chunk(at, PROTO_TYPE, 1, SIP)
        if self.number(CAPTAGENT_ID, &value):
            at = number_chunk(at, CAPTAGENT_ID, 4, value)
        at = chunk_at(at, PAYLOAD, payload, n)
        if at - out <= MOST:
            put16(out + 4, at - out)
        return at - out

    cdef Py_ssize_t encode_old(self, int version, unsigned char* out, bint six, const unsigned char* payload, Py_ssize_t n) noexcept:
        cdef int width = 16 if six else 4, i
        cdef uint64_t value = 0, us = self.captured_us()
        cdef Chunk* chunk
        cdef unsigned char* at = out + 8 + 2 * width
        memset(out, 0, ROOM_OLD)
        out[0], out[1], out[2] = <unsigned char> version, <unsigned char> (8 + 2 * width), FAMILY_6 if six else FAMILY_4
        out[3] = <unsigned char> value if self.number(PROTO_ID, &value) else UDP
        for i in range(2):
            if self.number(SRC_PORT + i, &value):
                put16(out + 4 + 2 * i, value & 0xFFFF)
            chunk = self.address(SRC_IP4 + i, SRC_IP6 + i)
            if chunk != NULL:
                memcpy(out + 8 + width * i, self.data + chunk.at, width)
        if version == 2:
            put_number_at(at, 4, us // 1000000, True)
            put_number_at(at + 4, 4, us % 1000000, True)
            if self.number(CAPTAGENT_ID, &value) and value <= 0xFFFF:
                put_number_at(at + 8, 2, value, True)
            at += OLD_TIME
        if n:
            memcpy(at, payload, n)
        return at + n - out


kinds = [ProtoType(number) for number in range(256)]
names_before_payload = list(dict.fromkeys(chunk.name for chunk in GENERIC if chunk.name != "payload"))


# ── small things ─────────────────────────────────────────────────────────────────────────────────────────────────────

cdef inline void put16(unsigned char* p, Py_ssize_t value) noexcept nogil:
    p[0] = <unsigned char> (value >> 8 & 0xFF)
    p[1] = <unsigned char> (value & 0xFF)


cdef inline bint is_six(uint64_t family) noexcept nogil:
    """AF_INET6 as Linux, Windows, NetBSD, FreeBSD and macOS number it: senders write their own."""
    return family == 10 or family == 23 or family == 24 or family == 28 or family == 30


cdef inline uint64_t number_at(const unsigned char* p, Py_ssize_t size, bint little) noexcept nogil:
    cdef uint64_t value = 0
    cdef Py_ssize_t i
    for i in range(size):
        value = value << 8 | p[size - 1 - i if little else i]
    return value


cdef inline void put_number_at(unsigned char* p, int size, uint64_t value, bint little) noexcept nogil:
    cdef int i
    for i in range(size):
        p[i if little else size - 1 - i] = <unsigned char> (value >> 8 * i & 0xFF)


cdef bint time_is_little(const unsigned char* p) noexcept nogil:
    """Senders write the time of version 2 in their own byte order: take the one that makes sense, else the usual one."""
    cdef int i
    cdef uint64_t seconds
    for i in range(2):
        seconds = number_at(p, 4, i == 0)
        if YEAR_2000 <= seconds < YEAR_2100 and number_at(p + 4, 4, i == 0) < 1000000:
            return i == 0
    return True


cdef inline unsigned char* chunk_at(unsigned char* out, int id, const unsigned char* p, Py_ssize_t n) noexcept:
    put16(out, 0)
    put16(out + 2, id)
    put16(out + 4, n + HEAD)
    if n:
        memcpy(out + HEAD, p, n)
    return out + HEAD + n


cdef inline unsigned char* number_chunk(unsigned char* out, int id, int width, uint64_t value) noexcept:
    cdef unsigned char packed[8]
    put_number_at(packed, width, value, False)
    return chunk_at(out, id, packed, width)


cdef uint64_t mixed(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    cdef uint64_t key = 0xCBF29CE484222325u
    cdef Py_ssize_t i
    for i in range(n):
        key = (key ^ p[i]) * 0x100000001B3u
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9u
    key = (key ^ key >> 27) * 0x94D049BB133111EBu
    return key ^ key >> 31


cdef bytes endpoints(Hep hep):
    pairs = sorted([f"{hep.src_ip}:{hep.src_port}", f"{hep.dst_ip}:{hep.dst_port}"])
    return " ".join(pairs).encode()


cdef str kind_of(Chunk* chunk):
    return by_id[chunk.id].type if chunk.vendor == 0 and chunk.id in by_id else "octet-string"


cdef int chunk_number(chunk) except -1:
    """The number of a chunk given by name, as a number, or as a number's text. ValueError when it is none of them."""
    number = chunk
    if isinstance(chunk, str):
        if chunk.lower() in by_name:
            return by_name[chunk.lower()].id
        try:
            number = int(chunk, 0)
        except ValueError:
            number = -1
    if not isinstance(number, int) or not 0 <= number <= 0xFFFF:
        raise ValueError(f"no chunk is called {chunk!r}: use a name such as captagent_id, or a number 0..65535")
    return number


cdef str out_of_range(name, int width, value):
    return f"{name} takes a number 0..{int.from_bytes(b'\xff' * width)}, not {value}"


cdef str too_big(size):
    return f"the packet would have {size} bytes; HEP allows {MOST}"
