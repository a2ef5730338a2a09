def network_at(linktype: int, frame: bytes, vlan: int = -1) -> tuple[int, int]:
    """(where the IP header begins, the innermost VLAN id) of a frame; -1 where there is none, `vlan` without a tag.

    `linktype`: LINKTYPE_ numbers of tcpdump.org.
    """

def network_behind(ethertype: int, data: bytes, vlan: int = -1) -> tuple[int, int]:
    """The same of what a header that names this EtherType is followed by; VLAN tags and whole Ethernet frames too."""
