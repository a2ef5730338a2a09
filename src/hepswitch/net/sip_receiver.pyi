import socket

from hepswitch.net.udp import UdpReceiver

def tell_more(sock: socket.socket) -> None:
    """Have the kernel note with each datagram that comes to `sock` which address it was sent to, and when it came."""

class SipReceiver(UdpReceiver):
    """A `UdpReceiver` whose batches are HEP packets around the SIP that came; what is no SIP is counted.

    The address and time that a packet tells are those of the kernel if `tell_more` was called, else the address that
    the socket is bound to and the time of the read.
    """
