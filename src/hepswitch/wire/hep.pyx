# cython: language_level=3
"""Hep: one HEP packet of version 1, 2 or 3 as an editable view of its bytes.

Chunks are found once (`index`); values are decoded when somebody asks (`fields`); edits go into the bytes at once (`raw`),
other versions are written by `convert`. So a packet that nobody changed gives back the bytes that arrived, unknown and
repeated chunks and their order included.

Tolerant in, strict out. Sources: HEP3 Network Protocol Specification rev. 37; for versions 1 and 2 what senders do.
Not here: what chunks are called (`chunks`) and how values are written (`values`), SIP (`sip`), streams (`stream`).
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from hepswitch.wire.convert cimport ROOM_OLD, ROOM_V3, as_old, as_v3
from hepswitch.wire.fields cimport Address, Kind, Number, Octets, chunk_meant, kind_of, vendor_number
from hepswitch.wire.frames cimport Frames
from hepswitch.wire.index cimport (
    CAPTAGENT_ID, COMPRESSED_PAYLOAD, CORRELATION_ID, DST_IP4, DST_IP6, DST_PORT, FAMILY_4, FAMILY_6, HEAD, MOST, PAYLOAD,
    PROTO_FAMILY, PROTO_ID, PROTO_TYPE, SIP, SIP_JSON, SRC_IP4, SRC_IP6, SRC_PORT, TIMESTAMP, TIMESTAMP_US, UDP,
    Chunk,
)
from hepswitch.wire.plain_sip cimport DATAGRAM, STREAM, put_sip
from hepswitch.wire.raw cimport ANY, Raw, too_big
from hepswitch.wire.sip cimport Sip, sip_of
from hepswitch.wire.sip_scan cimport sip_call_id, sip_looks
from hepswitch.wire.sip_text cimport Span

from hepswitch.wire.chunks import GENERIC, ProtoType, by_id, by_name
from hepswitch.wire.values import ChunkView, decode, deflate, encode, inflate, unwrap

cdef uint64_t SAMPLE_SALT = 0x73616D706C696E67u   # whose call a node's is (`balance`) must not decide who is sampled


cdef class Hep(Raw):
    """One HEP packet: `Hep(data)` decodes bytes, `Hep.new()` builds one. WireError when the bytes are no HEP packet.

    `arrival` is when it arrived (seconds since 1970), the time of a packet that carries none.

    Accepted besides what the specification says: the magic `EEP3`; bytes behind the advertised length (ignored and not given
    back); a datagram that is gzip as a whole (`bytes()` gives the inflated packet); a packet that its sender's buffer cut,
    if the payload had begun: then `truncated` is true, the chunks before the cut and the payload's beginning are kept and
    the lengths corrected, for a message's beginning still finds its call. A cut before the payload is WireError "truncated".
    Chunks of an odd size stay as they are: their attributes read as numbers of that size, or None. Versions 1 and 2 go by
    version and family, never by their length byte; trailing NULs are not part of the payload.
    """

    proto_family = Kind(PROTO_FAMILY)
    proto_id = Kind(PROTO_ID)
    src_ip = Address(SRC_IP4)
    dst_ip = Address(DST_IP4)
    src_port = Number(SRC_PORT)
    dst_port = Number(DST_PORT)
    timestamp = Number(TIMESTAMP)
    timestamp_us = Number(TIMESTAMP_US)
    proto_type = Kind(PROTO_TYPE)
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

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

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

    def sampled(self, double share) -> bool:
        """Whether the packet is in a sample of `share` (0..1) of all calls: the packets of one call go the same way.

        By `call_identity` alone, so every machine draws alike; a smaller sample is part of a larger one.
        """
        return (finished(self.call_key() ^ SAMPLE_SALT) >> 11) * (1.0 / 9007199254740992.0) < share

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
                    self.sip_view = sip_of(raw)
        return self.sip_view or None

    @property
    def payload(self):
        """The captured bytes, inflated if they came compressed; None when there are none.

        What cannot be inflated (up to 256 KiB and 64 times its size) gives None: see `compressed_payload`.
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

        Numbers 1 to 12, 15 and 16 mean the same as their names. Without a vendor: the generic chunk, else (by number) the
        first of any vendor. Without a type: the specification's for generic chunks, else bytes; "utf8-string" gives a
        number or an address in words ("RTCP", "2001"). None also when the chunk's size does not fit the type.
        """
        cdef Chunk* found
        cdef int id, owner = ANY if vendor is None else vendor_number(vendor)
        id, name, by_its_name = chunk_meant(chunk)
        if name is not None and owner <= 0 and (type is None or type == "utf8-string" or name == "payload"):
            value = getattr(self, name)
            if value is not None:
                return value if type is None else decode(type, value) if isinstance(value, bytes) else str(value)
        if SRC_IP4 <= id <= DST_IP6 and owner <= 0:
            found = self.address(by_name[name].id, by_name[name].id + 2)
        else:
            found = self.find(max(owner, 0), id)
        if found == NULL and owner == ANY and not by_its_name:
            found = self.find(ANY, id)
        if found == NULL:
            return self.proto_type if id == PROTO_TYPE and owner <= 0 else None
        return self.view(found, type or kind_of(found))

    def chunks(self):
        """Every chunk in order, as `ChunkView`. Of versions 1 and 2 the header's fields, as the chunks they stand for."""
        cdef int i
        cdef Chunk* chunk
        views = []
        for i in range(self.index.count):
            chunk = &self.index.chunks[i]
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

    def set(self, chunk, value, type=None, vendor=None) -> None:
        """Write a chunk by name or number (int, "0x1f", "31"): the first of that number and vendor, else a new one.

        Numbers 1 to 12, 15 and 16 mean the same as their names. Unless given, the vendor is 0 and the type the
        specification's by name, 3 (OpenSIPS) and utf8-string by any other number. Numbers may be given as text, "2001" or
        "0x7d1", the vendor too. ValueError when the type cannot hold the value, when the packet would exceed 65,535 bytes,
        or when its version cannot carry the chunk.
        """
        cdef bytes raw
        cdef int id, owner = ANY if vendor is None else vendor_number(vendor)
        id, name, _ = chunk_meant(chunk)
        if name is not None and owner <= 0:
            if type is None or type in ("utf8-string", by_name[name].type) or name in ("src_ip", "dst_ip", "payload"):
                setattr(self, name, value)
                return
            owner = 0
        elif owner == ANY:
            owner = 3
        if 0 < self._version < 3 and owner == 0 and id in by_id and not SRC_IP4 <= id <= DST_IP6:
            setattr(self, by_id[id].name, value)          # the header says how wide a field is and in which byte order
            return
        raw = encode(type or "utf8-string", value, f"chunk {chunk!r}")
        self.put_value(owner, id, raw, len(raw))

    def delete(self, chunk, vendor=None) -> bool:
        """Remove every chunk of a name, or of a number and (if given) vendor. False when there was none.

        `payload` removes a compressed payload too. ValueError for a field of a HEPv1 or HEPv2 header.
        """
        cdef int owner = ANY if vendor is None else vendor_number(vendor)
        cdef int id
        id, name, by_its_name = chunk_meant(chunk)
        if by_its_name and owner <= 0:
            twin = {"src_ip": SRC_IP6, "dst_ip": DST_IP6, "payload": COMPRESSED_PAYLOAD}.get(name)
            removed = self.remove(0, id)
            return (twin is not None and self.remove(0, twin)) or removed
        return self.remove(owner, id)

    def compress(self) -> bool:
        """Make the payload a gzip chunk (0x10) in the same place. False when there is nothing to win or to compress.

        Versions 1 and 2 have no such chunk: False. The same payload gives the same bytes every time.
        """
        cdef Chunk* chunk = self.find(0, PAYLOAD)
        cdef bytes raw, packed
        if self._version < 3 or chunk == NULL or self.find(0, COMPRESSED_PAYLOAD) != NULL:
            return False
        raw = self.data[chunk.at:chunk.at + chunk.size]
        packed = deflate(raw)
        if len(packed) >= len(raw):
            return False
        self.rename(chunk, COMPRESSED_PAYLOAD)
        self.replace(chunk, packed, len(packed))
        self.inflated = raw                               # and what was read of it as SIP still holds
        return True

    def inflate(self) -> bool:
        """Make a compressed payload (0x10) a plain one (0x0f) in the same place. False when there is none to inflate.

        False too when it cannot be inflated (as `payload` says), or the packet would have more than 65,535 bytes.
        """
        cdef Chunk* chunk = self.find(0, COMPRESSED_PAYLOAD)
        cdef const unsigned char* p = NULL
        cdef Py_ssize_t n = 0
        cdef bytes raw
        if self._version < 3 or chunk == NULL or self.find(0, PAYLOAD) != NULL:
            return False
        self.span(&p, &n)
        if n == 0 or self.size - chunk.size + n > MOST:
            return False
        raw = self.inflated
        self.rename(chunk, PAYLOAD)
        self.replace(chunk, raw, n)
        self.inflated = None
        return True

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
        if version >= DATAGRAM:
            if self.sip is None:
                raise ValueError("there is no SIP in the packet")
            raw = (<Sip> self.sip_view).raw
            return put_sip(frames, raw, (<Sip> self.sip_view).messages() if version == STREAM else None)
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
            return as_old(self, version, out[0], six, p, n)
        room = as_v3(self, out[0], p, n)
        if room > MOST:
            if frames is None:
                free(out[0])
            raise ValueError(too_big(room))
        return room


names_before_payload = list(dict.fromkeys(chunk.name for chunk in GENERIC if chunk.name != "payload"))


cdef uint64_t mixed(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    cdef uint64_t key = 0xCBF29CE484222325u
    cdef Py_ssize_t i
    for i in range(n):
        key = (key ^ p[i]) * 0x100000001B3u
    return finished(key)


cdef inline uint64_t finished(uint64_t key) noexcept nogil:
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9u
    key = (key ^ key >> 27) * 0x94D049BB133111EBu
    return key ^ key >> 31


cdef bytes endpoints(Hep hep):
    pairs = sorted([f"{hep.src_ip}:{hep.src_port}", f"{hep.dst_ip}:{hep.dst_port}"])
    return " ".join(pairs).encode()
