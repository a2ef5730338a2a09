"""Masking: what a captured payload says about people is replaced; what it says about calls stays.

Users, numbers, display names, credentials, messages and dialled digits go; methods, tags, branches, hosts, Call-IDs (unless
asked for), lengths and the order of everything stay. Every replacement is as long as what it replaces, so Content-Length,
offsets and the structure of the message stay true; only removed headers make a message shorter. What cannot be read is
overwritten, and so is a packet in which masking fails or would cost too much: a mask that fails lets nothing pass.

Not here: what stands for a word (`pseudonyms`), URIs and numbers (`masking_uris`), headers (`masking_headers`), messages and
bodies (`masking_sip`), JSON (`masking_json`), the configuration (`masks`). What no mask finds: docs/howto/privacy.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal

from hepswitch.wire.hep import Hep
from hepswitch.wire.masking_json import is_json, masked_json
from hepswitch.wire.masking_sip import SipMask
from hepswitch.wire.masking_uris import Page, Rules, Steps
from hepswitch.wire.pseudonyms import Pseudonyms, Word, truncation
from hepswitch.wire.sip import looks_like_sip
from hepswitch.wire.values import ChunkView, deflate

Users = Literal["pseudonym", "truncate", "keep"]
Authorization = Literal["remove", "keep"]
CallIds = Literal["keep", "pseudonym"]

SHORTEST_CALL_ID: Final = 8
"""Bytes of a correlation id that is left alone in text; a shorter one could be anything."""

_PAYLOAD: Final = 0x0F
_COMPRESSED: Final = 0x10
_LINE_OF_JSON: Final = re.compile(rb"^[ \t]*+\{[^\r\n]*+", re.MULTILINE)


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
        self._word: Word = (
            pseudonyms.word if users == "pseudonym" else truncation(keep) if users == "truncate" else bytes
        )
        self._call_id: Word = pseudonyms.call_id if call_ids == "pseudonym" else bytes
        self._sip = SipMask(
            Rules(
                word=self._word,
                call_id=pseudonyms.call_id if call_ids == "pseudonym" else None,
                remove_credentials=authorization == "remove",
                bodies=frozenset(method.upper() for method in bodies),
                dtmf=dtmf,
                numbers=numbers,
            )
        )

    def apply(self, hep: Hep) -> bool:
        """Mask the packet in place: the payload, and the correlation id when Call-IDs become pseudonyms. Never raises.

        A payload that came compressed leaves compressed. False when the packet could not be masked (it cannot be inflated,
        the result does not fit, there is too much in it): then its payload is overwritten, and its correlation id goes if
        it should have become a pseudonym.
        """
        try:
            _one_payload(hep)
            self._packet(hep)
        except Exception:  # noqa: BLE001 (whatever it is: nobody must see what a mask was to hide)
            self._overwrite(hep)
            return False
        return True

    def _packet(self, hep: Hep) -> None:
        correlation_id = hep.correlation_id
        payload, compressed = hep.payload, hep.compressed_payload
        if payload is None and compressed:
            raise ValueError("the compressed payload cannot be inflated")
        if payload:
            masked = self.mask(payload, correlation_id)
            if compressed is None:
                hep.payload = masked
            else:
                hep.compressed_payload = deflate(masked)
        if correlation_id and self._call_id is not bytes:
            if bytes(hep).count(b"\0\0\0\x11") > 1:  # in one packet there should be one
                hep.delete("correlation_id")
            hep.correlation_id = self._call_id(correlation_id)

    def _overwrite(self, hep: Hep) -> None:
        if hep.version < 3:
            hep.payload = b"x" * len(hep.payload or b"")
            return
        size = max((chunk.size for chunk in _payloads(hep)), default=0)
        hep.delete("payload")
        hep.payload = b"x" * size
        if self._call_id is not bytes:
            hep.delete("correlation_id")

    def mask(self, payload: bytes, correlation_id: bytes | None = None) -> bytes:
        """The payload, masked. SpentError (a ValueError) when there is more in it than `masking_uris.MOST_STEPS`.

        `correlation_id` is known to be no number: it stays in text of any kind (or becomes its pseudonym).
        """
        steps = Steps()
        known = correlation_id if correlation_id and _tells_a_call(correlation_id) else None
        if looks_like_sip(payload):
            return self._text(payload, known, steps)
        if is_json(payload):
            return self._json(payload, known, steps)
        pieces, at = [], 0
        for match in _LINE_OF_JSON.finditer(payload):
            steps.take(4)
            if is_json(match[0]):
                pieces += [self._text(payload[at : match.start()], known, steps), self._json(match[0], known, steps)]
                at = match.end()
        return b"".join([*pieces, self._text(payload[at:], known, steps)])

    def _json(self, payload: bytes, known: bytes | None, steps: Steps) -> bytes:
        return masked_json(payload, lambda text: self._text(text, known, steps), self._word, steps.take)

    def _text(self, text: bytes, known: bytes | None, steps: Steps) -> bytes:
        """SIP or any other text; what is `known` to be a Call-ID is no number in it, except in SIP, which says so itself."""
        page = Page(text, steps)
        sip = self._sip.page(page)
        if known is not None and not sip:
            call_id, at = self._call_id(known), text.find(known)
            while at >= 0:
                page.put(at, at + len(known), call_id)
                at = text.find(known, at + len(known))
        return page.text()


def _payloads(hep: Hep) -> list[ChunkView]:
    return [chunk for chunk in hep.chunks() if chunk.vendor == 0 and chunk.id in (_PAYLOAD, _COMPRESSED)]


def _one_payload(hep: Hep) -> None:
    """Several payloads in one packet are a mistake, or a way past the mask: the first plain one with content stays.

    When there is none, the first compressed one does.
    """
    raw = bytes(hep)
    if hep.version < 3 or raw.count(b"\0\0\0\x0f") + raw.count(b"\0\0\0\x10") < 2:
        return
    found = _payloads(hep)
    if len(found) < 2:
        return
    kept = min(found, key=lambda chunk: (chunk.size == 0, chunk.id))
    hep.delete("payload")
    hep.set("payload" if kept.id == _PAYLOAD else "compressed_payload", kept.value)


def _tells_a_call(correlation_id: bytes) -> bool:
    """Whether it is unlikely to be a number, or part of one or of a user."""
    return len(correlation_id) >= SHORTEST_CALL_ID and not correlation_id.lstrip(b"+").isdigit()
