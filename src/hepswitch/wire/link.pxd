# Where the IP header begins in p[:n] by its LINKTYPE_, -1 when there is none; *vlan becomes the innermost VLAN id, if there
# is a tag, and is left alone otherwise.
cdef Py_ssize_t network_layer(const unsigned char* p, Py_ssize_t n, int linktype, int* vlan) noexcept nogil
