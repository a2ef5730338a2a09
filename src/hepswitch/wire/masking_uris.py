"""The page that a mask writes on, and the words, URIs and numbers on it (RFC 3261 sections 19 and 20.10, RFC 3966).

A mask writes over a copy of the text and never moves anything: `Page.put` holds the one invariant, equal length. What it
does is counted in `Steps`, so that no text costs more than its length and `MOST_STEPS`: each pattern consumes what it looks
at, nothing calls itself for a URI within a URI. Not here: which words are whose, header by header (`masking_headers`).
"""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from hepswitch.wire.pseudonyms import MOST_KEPT, Word

MOST_STEPS: Final = 2000
"""Headers, words, URIs, elements of lists and parts of bodies in one payload. A large message has a few hundred."""

LONGEST_KEPT: Final = 256
"""Masked addresses of so many bytes are remembered: the messages of a call repeat their From, To and Contact."""

LONGEST_NAME: Final = 64
"""Bytes before `<sip:…>` in text that may be a name without quotes."""

_SCHEMES: Final = rb"sips?|tel|im|pres|xmpp|mailto|callto|h323"
_SCHEME_ENDS: Final = (b"sip:", b"sips:", b"tel:", b"im:", b"pres:", b"xmpp:", b"lto:", b"h323:")
_PIECE: Final = re.compile(
    rb'"(?:[^"\\]|\\.)*+(?:"|(?P<open>\\?\Z))|<(?P<uri>[^>]*+)>?|(?P<comma>,)|[^",<]++', re.DOTALL
)
_NO_QUOTES: Final = re.compile(rb"(?P<open>(?!))|<(?P<uri>[^>]*+)>?|(?P<comma>,)|[^,<]++", re.DOTALL)
_WORD: Final = re.compile(rb'(?:[^\s"\\]|\\.)++')
_SCHEME: Final = re.compile(rb"\s*+(?:(" + _SCHEMES + rb"):)?", re.IGNORECASE)
_URI: Final = re.compile(rb"<?(?P<uri>(?:" + _SCHEMES + rb'):[^\s<>"\\]*+)', re.IGNORECASE)
_NESTED: Final = re.compile(rb"(?<=[=;?&,'\"<(|\s])(?:" + _SCHEMES + rb"):", re.IGNORECASE)
_ESCAPED_URI: Final = re.compile(rb"(?:" + _SCHEMES + rb")%3a((?:(?!%40|%3e|%3b)[^&;>\s])*+)", re.IGNORECASE)
_ESCAPED_NAME: Final = re.compile(rb"(?<!tag)=((?:(?!%3c)[^&=;>\s])++)%3c", re.IGNORECASE)
_ESCAPED_WORD: Final = re.compile(rb"(?:(?!%2[02])[^+])++")
_ESCAPED_REPLACES: Final = re.compile(rb"[?&]replaces=((?:(?!%3b)[^&;>\s])*+)", re.IGNORECASE)
_NUMBER_AS_HOST: Final = re.compile(
    rb"(?!(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?:[:;?\s]|\Z))((?:\+|%2b)?\(?[0-9][0-9().-]*+)(?=[:;?\s]|\Z)", re.IGNORECASE
)
_PARAMETER: Final = re.compile(
    rb"(?<!replaces)(?<!tag)=((?:\+|%2b)[0-9().-]++|[0-9]{7,}+)(?=[:;&>?,\s]|\Z)", re.IGNORECASE
)
_TEL_PARAMETER: Final = re.compile(rb"=((?:\+|%2b)?[0-9][0-9().-]*+)(?=[:;&>?,\s]|\Z)", re.IGNORECASE)
_VALUE: Final = re.compile(rb"=([^;=]++)")
_NUMBER: Final = re.compile(
    rb"[+0-9](?:(?<=\+)[0-9](?:[().-]?[0-9]){6,16}+(?![0-9A-Za-z])"
    rb"|(?<![0-9A-Za-z].)(?<![0-9]\..)(?:(?<=\+)[0-9])?[0-9]{6,16}(?![0-9A-Za-z]|\.[0-9]))",
    re.DOTALL,
)
_NUMBER_OR_USER: Final = re.compile(
    rb"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]++(?=@[A-Za-z0-9[])|" + _NUMBER.pattern, re.DOTALL
)
_BEFORE_A_NAME: Final = bytes(10 if chr(i) in ':=,;<>|()[]{}"\r\n' else i for i in range(256))


class SpentError(ValueError):
    """There is more on a page than `MOST_STEPS`: nobody writes so but to keep a switch busy."""


class Steps:
    """What may still be done to one payload."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MOST_STEPS

    def take(self, count: int = 1) -> None:
        """Count what is about to be done. SpentError when that is too much."""
        self.left -= count
        if self.left < 0:
            raise SpentError(f"more than {MOST_STEPS} words and headers in one payload")


class Page:
    """A text, and its masked copy: as long as the text, until `text` leaves out the headers in `removed`."""

    __slots__ = ("out", "raw", "removed", "steps")

    def __init__(self, raw: bytes, steps: Steps) -> None:
        self.raw = raw
        self.out = bytearray(raw)
        self.removed: list[tuple[int, int]] = []
        self.steps = steps

    def put(self, at: int, end: int, text: bytes) -> None:
        self.steps.take()
        if len(text) != end - at:
            raise ValueError(f"{end - at} bytes cannot become {len(text)}")
        self.out[at:end] = text

    def blank(self, at: int, end: int, by: bytes = b"x") -> None:
        """Overwrite what cannot or shall not be read."""
        self.out[at:end] = by * (end - at)

    def text(self) -> bytes:
        """What became of the text."""
        for begin, end in reversed(self.removed):
            del self.out[begin:end]
        self.removed.clear()
        return bytes(self.out)


@dataclass(frozen=True)
class Rules:
    """What to mask. `call_id` None: Call-IDs stay. `bodies` are methods in capitals."""

    word: Word
    call_id: Word | None
    remove_credentials: bool
    bodies: frozenset[str]
    dtmf: bool
    numbers: bool


class UriMask:
    """Masks words, URIs, lists of addresses, and the URIs, users and numbers in text."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._kept_addresses = functools.lru_cache(MOST_KEPT)(self._masked_addresses)

    # ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def word(self, page: Page, at: int, end: int) -> None:
        if at < end:
            page.put(at, end, self.rules.word(page.raw[at:end]))

    def words(self, page: Page, at: int, end: int) -> None:
        """A name, word by word: quotes, folds and the number of words stay."""
        self.found(page, at, end, _WORD)

    def found(self, page: Page, at: int, end: int, pattern: re.Pattern[bytes], group: int = 0) -> None:
        """Each word that the pattern finds."""
        raw, word = page.raw, self.rules.word
        for match in pattern.finditer(raw, at, end):
            begin, stop = match.span(group)
            if begin < stop:
                page.put(begin, stop, word(raw[begin:stop]))

    # ── lists of addresses ───────────────────────────────────────────────────────────────────────────────────────────

    def addresses(self, page: Page, at: int, end: int) -> None:
        """A comma list of name-addr or addr-spec (RFC 3261 section 20.10), with its line end if it has one."""
        if end - at <= LONGEST_KEPT:
            page.put(at, end, self._kept_addresses(page.raw[at:end]))
        else:
            page.put(at, end, self._masked_addresses(page.raw[at:end], page.steps))

    def _masked_addresses(self, value: bytes, steps: Steps | None = None) -> bytes:
        page = Page(value, steps or Steps())
        self._elements(page, 0, len(value) - value.endswith(b"\n"))
        return page.text()

    def _elements(self, page: Page, at: int, end: int) -> None:
        """Each element of the list: `"Name" <uri>;parameters`, `Name <uri>` or `uri;parameters`."""
        element = named = at  # where the element begins; where its <uri> ends, else `element`
        pattern = _PIECE
        while at < end:
            match = pattern.match(page.raw, at, end)
            assert match is not None  # each byte begins one of the pieces
            page.steps.take()
            if match["open"] is not None:  # a quote that is never closed is no quote: as `Sip` reads it
                pattern = _NO_QUOTES
                continue
            at = match.end()
            if match["uri"] is not None:
                self.uri(page, *match.span("uri"))
                if named == element:
                    self.words(page, element, match.start())
                    named = at
            elif match["comma"]:
                self._rest(page, element, named, match.start())
                element = named = at
        self._rest(page, element, named, end)

    def _rest(self, page: Page, element: int, named: int, end: int) -> None:
        """An element's parameters; before them its URI when there was none in <>."""
        if named == element:
            sign = page.raw.find(b"@", element, end)
            named = page.raw.find(b";", element if sign < 0 else sign, end)
            named = end if named < 0 else named
            self.uri(page, element, named)
        self._parameters(page, named, self._nested(page, named, end))

    # ── URIs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def uri(self, page: Page, at: int, end: int) -> None:
        """A URI with or without a scheme, and those in its parameters and headers."""
        scheme = _SCHEME.match(page.raw, at, end)
        assert scheme is not None  # it may be empty
        first = self._nested(page, scheme.end(), end)
        # "sip:alice;x=sip:pw@host" has a user, and its @ stands in what looks like another URI.
        self._one(page, at, first, first < end and page.raw.find(b"@", first, end) >= 0)

    def _nested(self, page: Page, at: int, end: int) -> int:
        """Mask the URIs that are in another one, or in parameters; gives where the first of them begins, else `end`."""
        if not may_hold_uri(page.raw, at, end):
            return end
        starts = [match.start() for match in _NESTED.finditer(page.raw, at, end)]
        for begin, stop in itertools.pairwise([*starts, end]):
            self._one(page, begin, stop)
        return starts[0] if starts else end

    def _one(self, page: Page, at: int, end: int, user: bool = False) -> None:
        """One URI: its user, password and the numbers in its parameters; `alice@host` without a scheme too.

        `user`: what stands before its port or parameters is a user, even if no @ follows.
        """
        page.steps.take()
        raw = page.raw
        scheme = _SCHEME.match(raw, at, end)
        assert scheme is not None
        begin = scheme.end()
        if scheme[1] is not None and scheme[1].lower() == b"tel":
            tail = first(raw, b";?", begin, end)
            self.word(page, begin, tail)
            self._parameters(page, tail, end, _TEL_PARAMETER)
            return
        tail = raw.find(b"@", begin, end)
        if tail >= 0:
            self._userinfo(page, begin, tail)
            last = raw.rfind(b"@", tail, first(raw, b";?", tail, end))
            self.word(page, tail + 1, last)  # "alice@home@host": everything before the host
            tail = max(tail, last)
        else:
            tail = begin
            if user or end == len(raw):  # cut off: what is there may be a user's beginning
                tail = first(raw, b":;?", begin, end)
                self.word(page, begin, tail)
            elif number := _NUMBER_AS_HOST.match(raw, begin, end):  # no host is written so
                self.word(page, *number.span(1))
            elif scheme[1] is None:  # "urn:…", or no URI at all
                self.found(page, begin, first(raw, b";?", begin, end), _NUMBER)
        self._parameters(page, tail, end)

    def _userinfo(self, page: Page, at: int, sign: int) -> None:
        user = first(page.raw, b":;", at, sign)
        self.word(page, at, user)
        if user < sign:
            password = first(page.raw, b":", user, sign)
            self.found(page, user, password, _VALUE, 1)
            page.blank(password + 1, sign)

    def _parameters(self, page: Page, at: int, end: int, numbers: re.Pattern[bytes] = _PARAMETER) -> None:
        """Numbers, and what a URI's headers say %-escaped: names, URIs, Call-IDs (`?Referred-By=%22A%22%3Csip%3A…`)."""
        raw = page.raw
        if raw.find(b"=", at, end) < 0:
            return
        self.found(page, at, end, numbers, 1)
        if raw.find(b"%", at, end) >= 0:
            for match in _ESCAPED_NAME.finditer(raw, at, end):
                self.found(page, *match.span(1), _ESCAPED_WORD)
            for match in _ESCAPED_URI.finditer(raw, at, end):
                self._userinfo(page, *match.span(1))
        if self.rules.call_id is not None:
            for match in _ESCAPED_REPLACES.finditer(raw, at, end):
                text = self.rules.call_id(unquote_to_bytes(match[1]))
                page.put(*match.span(1), _as_escaped(text, len(match[1])))

    # ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def uris(self, page: Page, at: int, end: int, numbers: bool) -> None:
        """URIs wherever they are, names before `<sip:…>`, and if asked for users before an @ and numbers elsewhere."""
        raw = page.raw
        if may_hold_uri(raw, at, end):
            for match in _URI.finditer(raw, at, end):
                gap, begin = match.start(), match.start("uri")
                if gap < begin:
                    gap = self._name_before(page, at, gap)
                if numbers:
                    self._told(page, at, gap)
                at = match.end()
                self.uri(page, begin, at - len(match[0]) + len(match[0].rstrip(b"',.)]}")))
        if numbers:
            self._told(page, at, end)

    def _told(self, page: Page, at: int, end: int) -> None:
        self.found(page, at, end, _NUMBER if page.raw.find(b"@", at, end) < 0 else _NUMBER_OR_USER)

    def _name_before(self, page: Page, at: int, end: int) -> int:
        """Mask the name before `<sip:…>`: what is in quotes, else the words back to a mark. Gives where it begins."""
        raw = page.raw
        end = at + len(raw[at:end].rstrip(b" \t"))
        if raw[end - 1 : end] == b'"' and end - 1 > at:
            begin = raw.rfind(b'"', at, end - 1)
            while begin > at and raw[begin - 1] == 0x5C:
                page.steps.take()
                begin = raw.rfind(b'"', at, begin)
        else:
            begin = max(at, end - LONGEST_NAME)
            begin += raw[begin:end].translate(_BEFORE_A_NAME).rfind(b"\n") + 1
        begin = max(begin, at)
        self.words(page, begin, end)
        return begin


def may_hold_uri(raw: bytes, at: int, end: int) -> bool:
    """Nearly all text does not: this look is many times faster than the pattern's."""
    if raw.find(b":", at, end) < 0:
        return False
    text = raw[at:end].lower()
    for scheme in _SCHEME_ENDS:  # noqa: SIM110 (a generator costs more than the looks)
        if scheme in text:
            return True
    return False


def first(raw: bytes, marks: bytes, at: int, end: int) -> int:
    """The first of `marks` in raw[at:end], else `end`."""
    for mark in marks:
        found = raw.find(mark, at, end)
        end = end if found < 0 else found
    return end


def _as_escaped(text: bytes, size: int) -> bytes:
    """`text` with as many characters %-escaped as make it `size` bytes long."""
    count = (size - len(text)) // 2
    return b"".join(b"%%%02X" % letter for letter in text[:count]) + text[count:]
