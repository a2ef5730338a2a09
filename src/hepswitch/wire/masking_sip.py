"""Masking of one SIP message, header by header, and of text with URIs and numbers in it (RFC 3261, 3966, 8866).

A mask writes over a copy of the message, never moves anything: `_put` holds the one invariant, equal length. Headers go by
what they carry (`_MASKS`): addresses are taken apart, identifiers and plain values stay, and any header not known is text in
which URIs and numbers are found, so what nobody thought of is masked rather than kept. Not here: which payloads are SIP,
JSON around it, packets (`masking`).
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote_to_bytes

from hepswitch.wire.pseudonyms import MOST_KEPT, Word
from hepswitch.wire.sip import Sip

LONGEST_KEPT: Final = 256
"""Masked addresses of so many bytes are remembered: the messages of a call repeat their From, To and Contact."""

_SCHEMES: Final = rb"sips?|tel|im|pres|xmpp|mailto|callto|h323"
_SCHEME_ENDS: Final = (b"sip:", b"sips:", b"tel:", b"im:", b"pres:", b"xmpp:", b"lto:", b"h323:")
_HEADER: Final = re.compile(rb"([^:\n]*+)(:?)([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?")
_PIECE: Final = re.compile(
    rb'"(?:[^"\\]|\\.)*+(?:"|(?P<open>\\?\Z))|<(?P<uri>[^>]*+)>?|(?P<comma>,)|[^",<]++', re.DOTALL
)
_NO_QUOTES: Final = re.compile(rb"(?P<open>(?!))|<(?P<uri>[^>]*+)>?|(?P<comma>,)|[^,<]++", re.DOTALL)
_WORD: Final = re.compile(rb'(?:[^\s"\\]|\\.)++')
_SCHEME: Final = re.compile(rb"\s*+(?:(" + _SCHEMES + rb"):)?", re.IGNORECASE)
_URI: Final = re.compile(rb"(?:" + _SCHEMES + rb'):[^\s<>"\\]*+', re.IGNORECASE)
_ESCAPED_URI: Final = re.compile(rb"(?:" + _SCHEMES + rb")%3a((?:(?!%40|%3e|%3b)[^&;>\s])*+)", re.IGNORECASE)
_ESCAPED_REPLACES: Final = re.compile(rb"[?&]replaces=((?:(?!%3b)[^&;>\s])*+)", re.IGNORECASE)
_ALL_DIGITS: Final = re.compile(rb"\+?[0-9]++(?=[:;?\s]|\Z)")
_PARAMETER: Final = re.compile(
    rb"(?<!replaces)(?<!tag)=((?:\+|%2b)[0-9().-]++|[0-9]{7,}+)(?=[:;&>?,\s]|\Z)", re.IGNORECASE
)
_VALUE: Final = re.compile(rb"=([^;=]++)")
_DIGITS: Final = rb"(?<![0-9A-Za-z])(?<![0-9]\.)\+?[0-9]{7,17}(?![0-9A-Za-z]|\.[0-9])"
_NUMBER: Final = re.compile(_DIGITS)
_NUMBER_OR_USER: Final = re.compile(rb"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]++(?=@[A-Za-z0-9[])|" + _DIGITS)
_USERNAME: Final = re.compile(rb'\busername\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)|([^\s,"]++))', re.IGNORECASE | re.DOTALL)
_BASE64: Final = re.compile(rb"[A-Za-z0-9_+/=-]")
_LISTED: Final = re.compile(rb"\s*+([^,;\s]++)[^,]*+,?")
_BOUNDARY: Final = re.compile(rb"^--", re.MULTILINE)
_SDP: Final = re.compile(rb"^v=0", re.MULTILINE)
_SDP_LINE: Final = re.compile(rb"^(?:o=(\S++)|[iep]=([^\n]*+))", re.MULTILINE)
_SIGNAL: Final = re.compile(rb"^[ \t]*+signal[ \t]*+[=:][ \t]*+(\S++)", re.IGNORECASE | re.MULTILINE)
_KPML: Final = re.compile(rb'\bdigits\s*+=\s*+"([^"]*+)', re.IGNORECASE)
_KEYS: Final = re.compile(rb"[0-9A-D*#]++", re.IGNORECASE)


class SipMask:
    """The rules, ready for use. `call_id` None: Call-IDs stay. `bodies` are methods in capitals."""

    def __init__(
        self,
        *,
        word: Word,
        call_id: Word | None,
        remove_credentials: bool,
        bodies: frozenset[str],
        dtmf: bool,
        numbers: bool,
    ) -> None:
        self.word = word
        self.call_id = call_id
        self.remove_credentials = remove_credentials
        self.bodies = bodies
        self.dtmf = dtmf
        self.numbers = numbers
        self._kept_addresses = functools.lru_cache(MOST_KEPT)(self._masked_addresses)

    def text(self, text: bytes) -> bytes:
        """Text of any kind with its URIs, users before an @, and numbers masked."""
        out = bytearray(text)
        self._text(out, text, 0, len(text), _NUMBER_OR_USER)
        return bytes(out)

    def message(self, sip: Sip) -> bytes:
        """One message, masked."""
        raw = sip.raw
        out = bytearray(raw)
        removed: list[tuple[int, int]] = []
        at = body = self._start_line(out, raw)
        for match in _HEADER.finditer(raw, at):
            name = match[1]
            body = match.end()
            if not match[2]:
                if name in (b"", b"\r"):
                    body = min(match.end(1) + 1, len(raw))
                    break
                self._text(out, raw, *match.span())
                continue
            mask = _MASKS.get(name) or _MASKS.get(name.strip().lower(), SipMask._text)
            if mask is SipMask._credentials and self.remove_credentials:
                removed.append(match.span())
            else:
                mask(self, out, raw, match.start(3), match.end())
        if body < len(raw):
            self._body(out, sip, body)
        for begin, end in reversed(removed):
            del out[begin:end]
        return bytes(out)

    # ── the head ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _start_line(self, out: bytearray, raw: bytes) -> int:
        """Mask the Request-URI, or the reason phrase; gives where the headers begin."""
        start = len(raw) - len(raw.lstrip(b"\r\n"))
        end = raw.find(b"\n", start)
        end = len(raw) if end < 0 else end
        if raw.startswith(b"SIP/", start):
            self._text(out, raw, start, end)
        else:
            first, last = raw.find(b" ", start, end), raw.rfind(b" ", start, end)
            self._uri(out, raw, first + 1 if first >= 0 else start, last if last > first else end)
        return min(end + 1, len(raw))

    # Each of these masks one header: raw[at:end] is its value with the line end, which is missing where a message was cut.

    def _nothing(self, out: bytearray, raw: bytes, at: int, end: int) -> None:
        """Says nothing about people, or ties messages together."""

    def _call_id(self, out: bytearray, raw: bytes, at: int, end: int) -> None:
        if self.call_id is not None and (value := raw[at:end].strip()):
            begin = raw.index(value, at)
            _put(out, begin, begin + len(value), self.call_id(value))

    def _call_ids(self, out: bytearray, raw: bytes, at: int, end: int) -> None:
        """A comma list of Call-IDs, each with its parameters."""
        if self.call_id is not None:
            for match in _LISTED.finditer(raw, at, end):
                _put(out, *match.span(1), self.call_id(match[1]))

    def _signed(self, out: bytearray, raw: bytes, at: int, end: int) -> None:
        """A PASSporT (RFC 8224): base64 of the very numbers."""
        end = _first(raw, b";", at, end)
        out[at:end] = _BASE64.sub(b"x", raw[at:end])

    def _credentials(self, out: bytearray, raw: bytes, at: int, end: int) -> None:
        self._text(out, raw, at, end, None)
        for match in _USERNAME.finditer(raw, at, end):
            begin, stop = match.span(match.lastindex or 0)
            self._word(out, raw, begin, _first(raw, b"@", begin, stop))

    def _addresses(self, out: bytearray, raw: bytes, at: int, end: int) -> None:
        """A comma list of name-addr or addr-spec (RFC 3261 section 20.10)."""
        masked = self._kept_addresses if end - at <= LONGEST_KEPT else self._masked_addresses
        _put(out, at, end, masked(raw[at:end]))

    # ── addresses and URIs ───────────────────────────────────────────────────────────────────────────────────────────

    def _masked_addresses(self, value: bytes) -> bytes:
        out = bytearray(value)
        self._elements(out, value, 0, len(value) - value.endswith(b"\n"))
        return bytes(out)

    def _elements(self, out: bytearray, raw: bytes, at: int, end: int) -> None:
        """Each element of the list: `"Name" <uri>;parameters`, `Name <uri>` or `uri;parameters`."""
        element = named = at  # where the element begins; where its <uri> ends, else `element`
        pattern = _PIECE
        while at < end:
            match = pattern.match(raw, at, end)
            assert match is not None  # each byte begins one of the pieces
            if match["open"] is not None:  # a quote that is never closed is no quote: as `Sip` reads it
                pattern = _NO_QUOTES
                continue
            at = match.end()
            if match["uri"] is not None:
                self._uri(out, raw, *match.span("uri"))
                if named == element:
                    self._words(out, raw, element, match.start())
                    named = at
            elif match["comma"]:
                self._rest(out, raw, element, named, match.start())
                element = named = at
        self._rest(out, raw, element, named, end)

    def _rest(self, out: bytearray, raw: bytes, element: int, named: int, end: int) -> None:
        """An element's parameters; before them its URI when there was none in <>."""
        if named == element:
            sign = raw.find(b"@", element, end)
            named = raw.find(b";", element if sign < 0 else sign, end)
            named = end if named < 0 else named
            self._uri(out, raw, element, named)
        if named < end:
            self._parameters(out, raw, named, end)

    def _uri(self, out: bytearray, raw: bytes, at: int, end: int) -> None:
        """One URI: its user, password and the numbers in its parameters; `alice@host` without a scheme too."""
        scheme = _SCHEME.match(raw, at, end)
        assert scheme is not None  # it may be empty
        begin = scheme.end()
        if scheme[1] is not None and scheme[1].lower() == b"tel":
            tail = _first(raw, b";?", begin, end)
            self._word(out, raw, begin, tail)
        else:
            tail = raw.find(b"@", begin, end)
            if tail >= 0:
                self._userinfo(out, raw, begin, tail)
                last = raw.rfind(b"@", tail, _first(raw, b";?", tail, end))
                self._word(out, raw, tail + 1, last)  # "alice@home@host": everything before the host
                tail = max(tail, last)
            else:
                tail = begin
                if end == len(raw):  # cut off: what is there may be a user's beginning
                    tail = _first(raw, b":;?", begin, end)
                    self._word(out, raw, begin, tail)
                elif host := _ALL_DIGITS.match(raw, begin, end):
                    self._word(out, raw, *host.span())  # no host is all digits
        self._parameters(out, raw, tail, end)

    def _userinfo(self, out: bytearray, raw: bytes, at: int, sign: int) -> None:
        user = _first(raw, b":;", at, sign)
        self._word(out, raw, at, user)
        if user < sign:
            password = _first(raw, b":", user, sign)
            for match in _VALUE.finditer(raw, user, password):
                self._word(out, raw, *match.span(1))
            out[password + 1 : sign] = b"x" * (sign - password - 1)

    def _parameters(self, out: bytearray, raw: bytes, at: int, end: int) -> None:
        """Numbers, and URIs that hide in headers of a URI (`?Referred-By=%3Csip%3A…`) or in quotes."""
        if raw.find(b"=", at, end) < 0:
            return
        for match in _PARAMETER.finditer(raw, at, end):
            self._word(out, raw, *match.span(1))
        if _may_hold_uri(raw, at, end):
            for match in _URI.finditer(raw, at, end):
                self._uri(out, raw, *match.span())
        if raw.find(b"%", at, end) >= 0:
            for match in _ESCAPED_URI.finditer(raw, at, end):
                self._userinfo(out, raw, *match.span(1))
        if self.call_id is not None:
            for match in _ESCAPED_REPLACES.finditer(raw, at, end):
                _put(out, *match.span(1), _as_escaped(self.call_id(unquote_to_bytes(match[1])), len(match[1])))

    # ── the body ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _body(self, out: bytearray, sip: Sip, at: int) -> None:
        raw = sip.raw
        method = (sip.method or sip.cseq_method or "").upper()
        if method in self.bodies or (sip.header("Content-Encoding") or "identity").lower() != "identity":
            out[at:] = b"x" * (len(raw) - at)
            return
        starts = [at, *(match.start() for match in _BOUNDARY.finditer(raw, at) if match.start() > at), len(raw)]
        for begin, end in itertools.pairwise(starts):  # the parts of multipart: numbers in SDP are its own
            if _SDP.search(raw, begin, end):
                self._sdp(out, raw, begin, end)
            else:
                self._text(out, raw, begin, end)
        if self.dtmf:
            _dialled(out, raw, at, method, (sip.content_type or "").lower())

    def _sdp(self, out: bytearray, raw: bytes, at: int, end: int) -> None:
        """The originator's name, and what i=, e= and p= say about people; ids, ports and codecs stay."""
        self._text(out, raw, at, end, None)
        for match in _SDP_LINE.finditer(raw, at, end):
            if match[2] is not None:
                self._words(out, raw, *match.span(2))
            elif match[1] != b"-":
                self._word(out, raw, *match.span(1))

    # ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _text(self, out: bytearray, raw: bytes, at: int, end: int, more: re.Pattern[bytes] | None = _NUMBER) -> None:
        """URIs wherever they are, and between them (if the rules say so) what `more` finds."""
        if not self.numbers:
            more = None
        if _may_hold_uri(raw, at, end):
            for match in _URI.finditer(raw, at, end):
                if more:
                    self._found(out, raw, at, match.start(), more)
                at = match.end()
                self._uri(out, raw, match.start(), at - len(match[0]) + len(match[0].rstrip(b"',.)]}")))
        if more:
            self._found(out, raw, at, end, more)

    def _words(self, out: bytearray, raw: bytes, at: int, end: int) -> None:
        """A name, word by word: quotes, folds and the number of words stay."""
        self._found(out, raw, at, end, _WORD)

    def _found(self, out: bytearray, raw: bytes, at: int, end: int, pattern: re.Pattern[bytes]) -> None:
        for match in pattern.finditer(raw, at, end):
            self._word(out, raw, *match.span())

    def _word(self, out: bytearray, raw: bytes, at: int, end: int) -> None:
        if at < end:
            _put(out, at, end, self.word(raw[at:end]))


def _put(out: bytearray, at: int, end: int, text: bytes) -> None:
    assert len(text) == end - at
    out[at:end] = text


def _may_hold_uri(raw: bytes, at: int, end: int) -> bool:
    """Nearly all text does not: this look is many times faster than the pattern's."""
    if raw.find(b":", at, end) < 0:
        return False
    text = raw[at:end].lower()
    for scheme in _SCHEME_ENDS:  # noqa: SIM110 (a generator costs more than the looks)
        if scheme in text:
            return True
    return False


def _first(raw: bytes, marks: bytes, at: int, end: int) -> int:
    """The first of `marks` in raw[at:end], else `end`."""
    for mark in marks:
        found = raw.find(mark, at, end)
        end = end if found < 0 else found
    return end


def _as_escaped(text: bytes, size: int) -> bytes:
    """`text` with as many characters %-escaped as make it `size` bytes long."""
    count = (size - len(text)) // 2
    return b"".join(b"%%%02X" % letter for letter in text[:count]) + text[count:]


def _dialled(out: bytearray, raw: bytes, at: int, method: str, content_type: str) -> None:
    """Overwrite dialled digits: INFO with `Signal=5` or the bare digit, and KPML (RFC 4730)."""
    spans = []
    if method == "INFO":
        spans = [match.span(1) for match in _SIGNAL.finditer(raw, at)]
        if not spans and content_type.partition(";")[0].strip() == "application/dtmf":
            spans = [match.span() for match in _KEYS.finditer(raw, at)]
    if "kpml" in content_type:
        spans += [match.span(1) for match in _KPML.finditer(raw, at)]
    for begin, end in spans:
        out[begin:end] = b"0" * (end - begin)


_MASKS: Final[dict[bytes, Callable[[SipMask, bytearray, bytes, int, int], None]]] = {
    written.encode(): mask
    for mask, names in {
        SipMask._nothing: "via v cseq rseq rack max-forwards content-type c content-length l content-encoding e "
        "content-disposition mime-version expires min-expires session-expires x min-se date timestamp allow supported k "
        "require proxy-require unsupported accept accept-encoding accept-language event o allow-events u "
        "subscription-state user-agent server www-authenticate proxy-authenticate authentication-info session-id "
        "p-charging-vector security-client security-server security-verify",
        SipMask._addresses: "from f to t contact m p-asserted-identity p-preferred-identity remote-party-id diversion "
        "history-info referred-by b refer-to r record-route route path service-route p-called-party-id "
        "p-associated-uri reply-to p-served-user p-profile-key p-charge-info p-refused-uri-list",
        SipMask._credentials: "authorization proxy-authorization",
        SipMask._call_id: "call-id i x-cid x-callid x-call-id",
        SipMask._call_ids: "in-reply-to replaces join target-dialog same-session",
        SipMask._signed: "identity y",
    }.items()
    for name in names.split()
    for written in (name, name.title(), name.upper())
}
"""How a header is masked, by its name in lower case and as it is usually written; any other is text."""
