"""Masking of header fields, and of text in which some lines are header fields (RFC 3261 section 20, RFC 8224).

Headers go by what they carry (`_MASKS`): addresses are taken apart, identifiers and plain values stay, and any header not
known is text in which secrets, URIs, users and numbers are found, so what nobody thought of is masked rather than kept. Text
that is no SIP (logs, the second half of a message) goes by the same table, line by line. Not here: whole messages and their
bodies (`masking_sip`), URIs and numbers (`masking_uris`).
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable
from typing import Final

from hepswitch.wire.masking_uris import Page, UriMask, first

_HEADER: Final = re.compile(rb"([^:\n]*+)(:?)([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?")
_BLANKS: Final = bytes(range(33))
_BARE_RETURN: Final = re.compile(rb"\r(?!\n)")
_CALL_ID_NAME: Final = re.compile(rb"(?:call-?id|-cid)\Z")
_LISTED: Final = re.compile(rb"\s*+([^,;\s]++)[^,]*+,?")
_BASE64: Final = re.compile(rb"[A-Za-z0-9_+/=-]")
_DIGEST: Final = re.compile(rb"\s*+digest\s", re.IGNORECASE)
_OTHER_CREDENTIALS: Final = re.compile(rb"\s*+\S++\s*+(.*)\Z", re.DOTALL)
_USER: Final = (
    rb"\busername(?:\*\s*+=\s*+(?:[\w-]*+'[\w-]*+')?+|\"?+\s*+[=:]\s*+)"
    rb'(?:"(?P<quoted>(?:[^"\\]|\\.)*+)|(?P<user>[^\s,;"]++))'
)
_USERNAME: Final = re.compile(_USER, re.IGNORECASE | re.DOTALL)
_SECRET: Final = re.compile(
    rb"authorization\"?+\s*+[:=](?P<all>[^\r\n]*+)"
    rb"|\b(?:basic|bearer)[ \t]++(?P<token>[\w.~+/=-]{8,}+)"
    rb"|" + _USER + rb"|\b(?:response|cnonce|ha1|password)\s*+=\s*+"
    rb'(?![1-6][0-9][0-9]\b)(?:"(?P<hidden>(?:[^"\\]|\\.)*+)|(?P<secret>[^\s,;"]++))',
    re.IGNORECASE | re.DOTALL,
)
_SECRET_WORDS: Final = (b"authorization", b"username", b"response", b"cnonce", b"basic", b"bearer", b"ha1", b"password")


class HeaderMask(UriMask):
    """Masks headers, and text."""

    def headers(self, page: Page, at: int, end: int, remove: bool) -> int:
        """Header fields to the blank line behind them; gives where the body begins.

        `remove`: headers that shall go leave the page, else they are overwritten.
        """
        raw = page.raw
        broken = _BARE_RETURN.search(raw, at, end) is not None
        for match in _HEADER.finditer(raw, at, end):
            name = match[1]
            mask = _MASKS.get(name)
            if mask is HeaderMask._nothing and not broken:
                continue
            page.steps.take()
            begin, stop = match.start(3), match.end()
            if not match[2]:
                if name in (b"", b"\r"):
                    return min(match.end(1) + 1, end)
                self.text(page, *match.span())
                continue
            mask = mask or _mask_of(name)
            if remove and mask is HeaderMask._credentials and self.rules.remove_credentials:
                page.removed.append(match.span())
            mask(self, page, begin, stop)
            if broken and (found := _BARE_RETURN.search(raw, begin, stop)):  # no line end, and yet some read it so
                page.blank(found.end(), found.end() + len(raw[found.end() : stop].rstrip(b"\r\n")))
        return end

    def free(self, page: Page, at: int, end: int) -> None:
        """Text of any kind. Lines that are header fields go by the table."""
        raw = page.raw
        starts = _LINE.match(raw, at, end) if raw[at - 1 : at] in (b"", b"\r", b"\n") else None
        for match in itertools.chain([starts] if starts else [], _NEXT_LINE.finditer(raw, at, end)):
            page.steps.take(2)
            begin, stop = match.span(2)
            self.text(page, at, begin)
            _mask_of(match[1])(self, page, begin, min(stop + 1 + raw.startswith(b"\r\n", stop), end))
            at = stop
        self.text(page, at, end)

    def text(self, page: Page, at: int, end: int) -> None:
        """Text without lines: secrets, URIs, names before them, users before an @, numbers."""
        text = page.raw[at:end].lower()
        for word in _SECRET_WORDS:
            if word in text:
                break
        else:
            self.uris(page, at, end, self.rules.numbers)
            return
        for match in _SECRET.finditer(page.raw, at, end):
            page.steps.take()
            self.uris(page, at, match.start(), self.rules.numbers)
            at = match.end()
            begin, stop = match.span(match.lastgroup or 0)
            if match.lastgroup in ("quoted", "user"):
                self.word(page, begin, first(page.raw, b"@", begin, stop))
            elif match.lastgroup == "all":
                self._credentials(page, begin, stop)
            else:
                page.blank(begin, stop)
        self.uris(page, at, end, self.rules.numbers)

    # Each of these masks one header: raw[at:end] is its value with the line end, which is missing where a message was cut.

    def _nothing(self, page: Page, at: int, end: int) -> None:
        """Says nothing about people, or ties messages together."""

    def _call_id(self, page: Page, at: int, end: int) -> None:
        if self.rules.call_id is not None and (value := page.raw[at:end].strip()):
            begin = page.raw.index(value, at)
            page.put(begin, begin + len(value), self.rules.call_id(value))

    def _call_ids(self, page: Page, at: int, end: int) -> None:
        """A comma list of Call-IDs, each with its parameters."""
        if self.rules.call_id is not None:
            for match in _LISTED.finditer(page.raw, at, end):
                page.put(*match.span(1), self.rules.call_id(match[1]))

    def _signed(self, page: Page, at: int, end: int) -> None:
        """A PASSporT (RFC 8224): base64 of the very numbers."""
        end = first(page.raw, b";", at, end)
        page.out[at:end] = _BASE64.sub(b"x", page.raw[at:end])

    def _credentials(self, page: Page, at: int, end: int) -> None:
        """Of a digest the user, if the rest may stay; of any other scheme (Basic, Bearer) everything but its name."""
        raw = page.raw
        if self.rules.remove_credentials:
            begin = end - len(raw[at:end].lstrip())
            page.blank(begin, begin + len(raw[begin:end].rstrip()))
        elif _DIGEST.match(raw, at, end):
            self.uris(page, at, end, False)
            for match in _USERNAME.finditer(raw, at, end):
                begin, stop = match.span(match.lastgroup or 0)
                self.word(page, begin, first(raw, b"@", begin, stop))
        elif other := _OTHER_CREDENTIALS.match(raw, at, end):
            begin = other.start(1)
            page.blank(begin, begin + len(other[1].rstrip()))


_MASKS: Final[dict[bytes, Callable[[HeaderMask, Page, int, int], None]]] = {
    written.encode(): mask
    for mask, names in {
        HeaderMask._nothing: "via v cseq rseq rack max-forwards content-type c content-length l content-encoding e "
        "content-disposition mime-version expires min-expires session-expires x min-se date timestamp allow supported k "
        "require proxy-require unsupported accept accept-encoding accept-language event o allow-events u "
        "subscription-state user-agent server www-authenticate proxy-authenticate authentication-info session-id "
        "p-charging-vector security-client security-server security-verify",
        HeaderMask.addresses: "from f to t contact m p-asserted-identity p-preferred-identity remote-party-id diversion "
        "history-info referred-by b refer-to r record-route route path service-route p-called-party-id "
        "p-associated-uri reply-to p-served-user p-profile-key p-charge-info p-refused-uri-list",
        HeaderMask._credentials: "authorization proxy-authorization",
        HeaderMask._call_id: "call-id i x-cid x-callid x-call-id",
        HeaderMask._call_ids: "in-reply-to replaces join target-dialog same-session",
        HeaderMask._signed: "identity y",
    }.items()
    for name in names.split()
    for written in (name, name.title(), name.upper())
}
"""How a header is masked, by its name in lower case and as it is usually written; any other is text."""

_LINE: Final = re.compile(
    rb"[ \t]*+(?=[a-z])("
    + b"|".join(
        sorted(
            name
            for name, mask in _MASKS.items()
            if name.islower()
            and (name in (b"via", b"cseq") or (mask is not HeaderMask._nothing and name not in (b"i", b"y")))
        )
    )
    + rb")[ \t]*+:([^\r\n]*+)",
    re.IGNORECASE,
)
"""A line of text that is one of the headers that tell something, without folds: text is indented for other reasons too."""
_NEXT_LINE: Final = re.compile(rb"[\r\n]" + _LINE.pattern, re.IGNORECASE)


@functools.lru_cache(1024)
def _mask_of(name: bytes) -> Callable[[HeaderMask, Page, int, int], None]:
    name = name.strip(_BLANKS).lower()
    mask = _MASKS.get(name)
    if mask is None:
        if b"authorization" in name:
            return HeaderMask._credentials
        return HeaderMask._call_id if _CALL_ID_NAME.search(name) else HeaderMask.text
    return mask
