from typing import Any

from hepswitch.wire.chunks import ProtoFamily, ProtoId, ProtoType
from hepswitch.wire.fields import Address, Kind, Number, Octets, Text
from hepswitch.wire.raw import Raw
from hepswitch.wire.sip import Sip
from hepswitch.wire.values import ChunkView, Value

class Hep(Raw):
    """One HEP packet: `Hep(data)` decodes bytes, `Hep.new()` builds one. WireError when the bytes are no HEP packet.

    `arrival` is when it arrived (seconds since 1970), the time of a packet that carries none.

    Accepted besides what the specification says: the magic `EEP3`; bytes behind the advertised length (ignored and not given
    back); a datagram that is gzip as a whole (`bytes()` gives the inflated packet); a packet that its sender's buffer cut,
    if the payload had begun: then `truncated` is true, the chunks before the cut and the payload's beginning are kept and
    the lengths corrected, for a message's beginning still finds its call. A cut before the payload is WireError "truncated".
    Chunks of an odd size stay as they are: their attributes read as numbers of that size, or None. Versions 1 and 2 go by
    version and family, never by their length byte; trailing NULs are not part of the payload.
    """

    proto_family: Kind[ProtoFamily]
    proto_id: Kind[ProtoId]
    src_ip: Address
    dst_ip: Address
    src_port: Number
    dst_port: Number
    timestamp: Number
    timestamp_us: Number
    proto_type: Kind[ProtoType]
    captagent_id: Number
    keep_alive: Number
    auth_key: Octets
    compressed_payload: Octets
    correlation_id: Octets
    vlan_id: Number
    node_name: Text
    src_mac: Number
    dst_mac: Number
    ethernet_type: Number
    tcp_flags: Number
    ip_tos: Number
    mos: Number
    r_factor: Number
    geo_location: Octets
    jitter: Number
    transaction_type: Octets
    json_keys: Octets
    tag_values: Octets
    tag_type: Number
    event_type: Number
    group_id: Octets
    @property
    def truncated(self) -> bool:
        """True when the sender cut the packet: what is there of it was kept."""
    @property
    def hops(self) -> list[int]:
        """The ids of the switches that passed the packet on, in order (see `chunks.TRAIL`)."""
    def __init__(self, data: bytes | bytearray | memoryview, arrival: float | None = None) -> None: ...
    @staticmethod
    def new(payload: bytes | str | None = b"", *, version: int = 3, **chunks: Any) -> Hep:
        """A packet with `payload` (bytes, str, or None for none) and the chunks given by name, and `time` (seconds).

        `proto_id` is 17 and `proto_type` 1 unless given; `proto_family` follows the source address. ValueError for a value
        out of range, TypeError for a name that there is not.
        """
    def __bytes__(self) -> bytes: ...
    @property
    def version(self) -> int:
        """1, 2 or 3. Setting it converts the packet at once, with every field that the target can carry.

        ValueError when the target cannot carry the packet at all: versions 1 and 2 hold SIP between addresses of one family.
        From version 1 the arrival becomes the packet's time; a capture id above 65,535 becomes 0 in version 2, "unknown".
        """
    @version.setter
    def version(self, value: int) -> None: ...
    @property
    def payload(self) -> bytes | None:
        """The captured bytes, inflated if they came compressed; None when there are none.

        What cannot be inflated (up to 256 KiB and 64 times its size) gives None: see `compressed_payload`.
        """
    @payload.setter
    def payload(self, value: bytes | bytearray | memoryview | str | None) -> None: ...
    @property
    def sip(self) -> Sip | None:
        """The payload as `Sip`, unwrapped from JSON if need be; None when it is not SIP."""
    @property
    def call_identity(self) -> bytes:
        """What the packets of one call share: the SIP Call-ID, else the correlation id, else both endpoints, sorted."""
    def sampled(self, share: float) -> bool:
        """Whether the packet is in a sample of `share` (0..1) of all calls: the packets of one call go the same way.

        By `call_identity` alone, so every machine draws alike; a smaller sample is part of a larger one.
        """
    @property
    def time(self) -> float:
        """`time_us` in seconds."""
    @time.setter
    def time(self, value: float) -> None: ...
    @property
    def time_us(self) -> int:
        """When the packet was captured, µs since 1970: its own time, else (absent or zero) that of its arrival."""
    @time_us.setter
    def time_us(self, value: int) -> None: ...
    @property
    def arrival(self) -> float:
        """When the packet arrived, seconds since 1970; 0.0 when nobody said."""
    @arrival.setter
    def arrival(self, value: float) -> None: ...
    def get(self, chunk: int | str, type: str | None = None, vendor: int | str | None = None) -> Value | None:
        """The value of a chunk by name or number (int, "0x1f", "31"), or None when the packet has no such chunk.

        Numbers 1 to 12, 15 and 16 mean the same as their names. Without a vendor: the generic chunk, else (by number) the
        first of any vendor. Without a type: the specification's for generic chunks, else bytes; "utf8-string" gives a
        number or an address in words ("RTCP", "2001"). None also when the chunk's size does not fit the type.
        """
    def set(self, chunk: int | str, value: Value, type: str | None = None, vendor: int | str | None = None) -> None:
        """Write a chunk by name or number (int, "0x1f", "31"): the first of that number and vendor, else a new one.

        Numbers 1 to 12, 15 and 16 mean the same as their names. Unless given, the vendor is 0 and the type the
        specification's by name, 3 (OpenSIPS) and utf8-string by any other number. Numbers may be given as text, "2001" or
        "0x7d1", the vendor too. ValueError when the type cannot hold the value, when the packet would exceed 65,535 bytes,
        or when its version cannot carry the chunk.
        """
    def delete(self, chunk: int | str, vendor: int | str | None = None) -> bool:
        """Remove every chunk of a name, or of a number and (if given) vendor. False when there was none.

        `payload` removes a compressed payload too. ValueError for a field of a HEPv1 or HEPv2 header.
        """
    def chunks(self) -> list[ChunkView]:
        """Every chunk in order, as `ChunkView`. Of versions 1 and 2 the header's fields, as the chunks they stand for."""
    def compress(self) -> bool:
        """Make the payload a gzip chunk (0x10) in the same place. False when there is nothing to win or to compress.

        Versions 1 and 2 have no such chunk: False. The same payload gives the same bytes every time.
        """
    def inflate(self) -> bool:
        """Make a compressed payload (0x10) a plain one (0x0f) in the same place. False when there is none to inflate.

        False too when it cannot be inflated (as `payload` says), or the packet would have more than 65,535 bytes.
        """
    def copy(self) -> Hep:
        """A packet of its own with the same bytes and arrival."""
