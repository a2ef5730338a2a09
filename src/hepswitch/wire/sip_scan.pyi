# For C only: see sip_scan.pxd.
