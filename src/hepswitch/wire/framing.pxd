# Size of the whole HEPv3 frame that begins at p, of which `have` bytes are there; 0: not complete. Raises WireError when what
# is there begins no frame.
cdef Py_ssize_t whole_frame(const unsigned char* p, Py_ssize_t have) except -1
