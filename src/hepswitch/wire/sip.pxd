from hepswitch.wire.sip_scan cimport SipFields


cdef class Sip:
    cdef readonly bytes raw
    cdef SipFields fields
    cdef bint started             # fields: those of the start line are read …
    cdef bint scanned             # … and of the headers …
    cdef bint parsed              # … and what is inside them


cdef Sip sip_of(bytes raw)           # Sip(raw), without the detour through a call of the class
