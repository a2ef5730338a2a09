# For C only: see index.pxd.
