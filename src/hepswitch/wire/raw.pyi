class Raw:
    """The bytes of one HEP packet and the index of its chunks. For C: see raw.pxd; Python uses `Hep`."""
