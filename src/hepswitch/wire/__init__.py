"""bytes ⇄ values: HEP, SIP, frames of a stream, records, captures. No sockets, no configuration.

For any bytes at all, decoding gives a value or raises `errors.WireError`, and nothing else.
"""
