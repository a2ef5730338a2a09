"""The labels that measures have: methods, responses, outcomes, protocol types. What is not among them is "other".

A label never comes from a packet, so that hostile SIP cannot make series. Not here: node names and targets, which are
bounded in number (`[metrics]`).
"""

from __future__ import annotations

from typing import Final

from hepswitch.wire.chunks import PROTO_TYPES

OTHER: Final = "other"

METHODS: Final = (
    "INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "OPTIONS", "PRACK", "UPDATE", "INFO", "SUBSCRIBE", "NOTIFY", "REFER",
    "MESSAGE", "PUBLISH", OTHER,
)  # fmt: skip
"""Methods by their number. RFC 3261 and its extensions, as registered with IANA."""

STATUSES: Final = (
    100, 180, 181, 182, 183, 199, 200, 202, 204, 300, 301, 302, 305, 380, 400, 401, 402, 403, 404, 405, 406, 407, 408,
    410, 412, 413, 414, 415, 416, 417, 420, 421, 422, 423, 424, 425, 428, 429, 430, 433, 436, 437, 438, 439, 440, 469,
    470, 480, 481, 482, 483, 484, 485, 486, 487, 488, 489, 491, 493, 494, 500, 501, 502, 503, 504, 505, 513, 555, 580,
    600, 603, 604, 606, 607, 608,
)  # fmt: skip
"""Status codes registered with IANA."""

RESPONSES: Final = (*METHODS, *(str(status) for status in STATUSES))
"""What a message is, by its number: a request's method or a reply's status. Homer's label `response`."""

OUTCOMES: Final = (
    "answered",
    "user",
    "canceled",
    "redirected",
    "ineffective",
    "client",
    "server",
    "global",
    "unfinished",
)
"""What comes of a call attempt, so that the ratios of RFC 6076 and ITU-T E.425 are sums of whole classes:

answered 2xx · user 480 486 600 603 (the callee was reached or is known to be away) · canceled 487 · redirected 3xx ·
ineffective 408 500 503 504 · client, server, global: other 4xx, 5xx, 6xx · unfinished: no final reply in time, or a challenge
that was not taken up. SER = answered / (attempts - redirected), SEER adds user, ISA = ineffective / attempts, ASR = answered
/ attempts, NER = (answered + user + canceled) / attempts.
"""

REGISTERED: Final = ("registered", "failed", "unfinished")
"""What comes of a registration attempt."""

TYPES: Final = tuple(
    {1: "sip", 5: "rtcp", 34: "rtpagent", 35: "rtcpxr", 38: "horaclifix", 53: "dns", 100: "log"}.get(
        number, str(number)
    )
    for number in sorted(PROTO_TYPES)
) + (OTHER,)
"""Protocol types by their number here, in heplify-server's words; those without a word there go by their number."""

TYPE_NUMBERS: Final = bytes(
    sorted(PROTO_TYPES).index(number) if number in PROTO_TYPES else len(TYPES) - 1 for number in range(256)
)
"""For each byte of the chunk proto_type its place in TYPES."""


def outcome_of(status: int) -> int:
    """The number in OUTCOMES of a final status (200..699)."""
    if status < 300:
        word = "answered"
    elif status < 400:
        word = "redirected"
    elif status in {480, 486, 600, 603}:
        word = "user"
    elif status == 487:
        word = "canceled"
    elif status in {408, 500, 503, 504}:
        word = "ineffective"
    else:
        word = {4: "client", 5: "server"}.get(status // 100, "global")
    return OUTCOMES.index(word)
