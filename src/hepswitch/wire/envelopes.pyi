from typing import Any

from hepswitch.wire.batch import Batch

class Envelopes:
    """HEPv3 packets made around captured payloads, given to the flow as a batch. Used again and again.

    `listener` and `peer` are the batch's; `captagent_id` (0..4294967295) and `node_name` stand in every packet.
    """

    def __init__(
        self,
        listener: Any,
        captagent_id: int = 2001,
        node_name: str | None = None,
        peer: tuple[str, int] | None = None,
    ) -> None:
        """ValueError when the id is out of range or the name longer than 255 bytes."""
    def add(
        self,
        payload: bytes,
        *,
        src_ip: str,
        src_port: int,
        dst_ip: str,
        dst_port: int,
        time_us: int,
        proto_id: int = 17,
        proto_type: int = 1,
        vlan_id: int | None = None,
        correlation_id: bytes = b"",
    ) -> bool:
        """Put one packet. False when HEP cannot say it: more than 65,535 bytes, or a time (µs since 1970) behind 2106.

        ValueError for what is no address, for addresses of two families, and for numbers out of range.
        """
    def add_whole(self, packet: bytes) -> bool:
        """Put a packet that is HEP already. False when it has more than 65,535 bytes."""
    def batch(self) -> Batch:
        """What was put, arrived now. Views that live until the next `add` or `clear`."""
    def clear(self) -> None:
        """Forget the packets; their memory is used again."""
    def __len__(self) -> int: ...
