"""For C only: see framing.pxd."""
