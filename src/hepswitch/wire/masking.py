"""Masking: what a captured payload says about people is replaced; what it says about calls stays.

Users, numbers, display names, credentials, messages and dialled digits go; methods, tags, branches, hosts, Call-IDs (unless
asked for), lengths and the order of everything stay. Every replacement is as long as what it replaces, so Content-Length,
offsets and the structure of the message stay true; only removed headers make a message shorter. What cannot be read is
overwritten. Any bytes give bytes, in time that grows with their number: each pattern here consumes what it looks at.

Not here: what stands for a word (`pseudonyms`), headers and URIs (`masking_sip`), the configuration (`masks`). Not
masked: hosts and addresses, device identities (`+sip.instance`), User-Agent, names in headers that are not known and in
free text, numbers there that are written with spaces, and chunks besides the payload and (if asked) the correlation id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final, Literal

from hepswitch.wire.hep import Hep
from hepswitch.wire.masking_sip import SipMask
from hepswitch.wire.pseudonyms import Pseudonyms, Word, truncation
from hepswitch.wire.sip import Sip

Users = Literal["pseudonym", "truncate", "keep"]
Authorization = Literal["remove", "keep"]
CallIds = Literal["keep", "pseudonym"]

SHORTEST_CALL_ID: Final = 8
"""Bytes of a correlation id that is left alone in text; a shorter one could be anything."""

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_TWO_PAYLOADS: Final = b"\0\0\0\x0f"


class Masker:
    """Masks payloads and packets by one set of rules. Reading `masks.MaskTable` tells what each of them means.

    `key` (bytes) makes pseudonyms; it is needed when `users` or `call_ids` is "pseudonym" (ValueError).
    """

    def __init__(
        self,
        *,
        users: Users = "pseudonym",
        key: bytes = b"",
        keep: int = 4,
        authorization: Authorization = "remove",
        bodies: Iterable[str] = ("MESSAGE",),
        dtmf: bool = True,
        call_ids: CallIds = "keep",
        numbers: bool = True,
    ) -> None:
        if not key and "pseudonym" in (users, call_ids):
            raise ValueError("pseudonyms need a key")
        pseudonyms = Pseudonyms(key)
        word: Word = pseudonyms.word if users == "pseudonym" else truncation(keep) if users == "truncate" else bytes
        self._call_id: Word = pseudonyms.call_id if call_ids == "pseudonym" else bytes
        self._rules = SipMask(
            word=word,
            call_id=pseudonyms.call_id if call_ids == "pseudonym" else None,
            remove_credentials=authorization == "remove",
            bodies=frozenset(method.upper() for method in bodies),
            dtmf=dtmf,
            numbers=numbers,
        )

    def apply(self, hep: Hep) -> None:
        """Mask the packet in place: the payload, and the correlation id when Call-IDs become pseudonyms.

        A payload that came compressed leaves compressed. One that cannot be inflated, or whose masked form would not fit
        the packet, is overwritten.
        """
        _one_payload(hep)
        payload, correlation_id = hep.payload, hep.correlation_id
        compressed = hep.compressed_payload
        if payload is None and compressed is not None:
            hep.compressed_payload = b"x" * len(compressed)
        elif payload:
            masked = self.mask(payload, hep.sip, correlation_id)
            try:
                hep.payload = masked
            except ValueError:  # JSON written again may be longer: an odd number's text, for example
                hep.payload = b"x" * len(payload)
            if compressed is not None:
                hep.compress()
        if correlation_id:
            hep.correlation_id = self._call_id(correlation_id)

    def mask(self, payload: bytes, sip: Sip | None, correlation_id: bytes | None = None) -> bytes:
        """The payload, masked. `sip` is the SIP in it (`Hep.sip`), None for anything else.

        `correlation_id` is known to be no number: it stays in text of any kind (or becomes its pseudonym).
        """
        if sip is None:
            return self._other(payload, correlation_id)
        if payload[:1] == b"{":
            return self._wrapped(payload, sip, correlation_id)
        return self._messages(sip)

    def _messages(self, sip: Sip) -> bytes:
        """Every message of one payload, and what is between them."""
        pieces = sip.messages()
        if len(pieces) <= 1:
            return self._rules.message(sip)
        masked, at = [], 0
        for piece in pieces:
            found = sip.raw.index(piece, at)
            masked += [sip.raw[at:found], self._rules.message(Sip(piece))]
            at = found + len(piece)
        return b"".join([*masked, sip.raw[at:]])

    def _wrapped(self, payload: bytes, sip: Sip, correlation_id: bytes | None) -> bytes:
        """SIP in `{"payload": "…"}`, and the other strings beside it."""
        try:
            found = json.loads(self._strings(payload, correlation_id).decode("utf-8", "surrogateescape"))
            found["payload"] = self._messages(sip).decode("utf-8", "surrogateescape")
            return json.dumps(found, separators=(",", ":")).encode()
        except RecursionError:  # nested as deep as JSON may be at all
            return b"x" * len(payload)

    def _other(self, payload: bytes, correlation_id: bytes | None) -> bytes:
        if _is_json(payload):
            return self._strings(payload, correlation_id)
        return self._text(payload, correlation_id)

    def _strings(self, payload: bytes, correlation_id: bytes | None) -> bytes:
        """JSON with its strings masked. Its numbers are counters, times and SSRCs: they stay, and so does its grammar."""
        return _STRING.sub(lambda match: self._string(match[0], correlation_id), payload)

    def _string(self, quoted: bytes, correlation_id: bytes | None) -> bytes:
        if b"\\" not in quoted:
            return self._text(quoted, correlation_id)
        text = json.loads(quoted.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogatepass")
        return json.dumps(self._text(text, correlation_id).decode("utf-8", "surrogatepass")).encode()

    def _text(self, text: bytes, correlation_id: bytes | None) -> bytes:
        if correlation_id is None or correlation_id not in text or not _tells_a_call(correlation_id):
            return self._rules.text(text)
        return self._call_id(correlation_id).join(self._rules.text(piece) for piece in text.split(correlation_id))


def _one_payload(hep: Hep) -> None:
    """Several payload chunks in one packet are a mistake, or a way past the mask: the first stays."""
    if bytes(hep).count(_TWO_PAYLOADS) > 1 and sum(chunk.name == "payload" for chunk in hep.chunks()) > 1:
        payload = hep.payload
        hep.delete("payload")
        hep.payload = payload


def _tells_a_call(correlation_id: bytes) -> bool:
    """Whether it is unlikely to be a number, or part of one or of a user."""
    return len(correlation_id) >= SHORTEST_CALL_ID and not correlation_id.lstrip(b"+").isdigit()


def _is_json(payload: bytes) -> bool:
    if payload.lstrip()[:1] not in (b"{", b"["):
        return False
    try:
        json.loads(payload.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return False
    return True
