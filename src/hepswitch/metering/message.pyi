# For C only: see message.pxd.
