# For C only: see convert.pxd.
