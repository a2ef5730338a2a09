"""Masking of SIP messages and their bodies, and of text that holds them (RFC 3261, 3420, 4235, 5621, 8866).

A body goes by what Content-Type says: SDP keeps its ids, ports and codecs, XML and other text is searched, what is no text
(ISUP, anything encoded) is overwritten. Not here: header fields (`masking_headers`), JSON and packets (`masking`).
"""

from __future__ import annotations

import itertools
import re
from typing import Final

from hepswitch.wire.masking_headers import HeaderMask
from hepswitch.wire.masking_uris import Page, SpentError
from hepswitch.wire.sip import Sip, looks_like_sip

_START: Final = re.compile(
    rb"(?<![^\r\n])(?:\xef\xbb\xbf)?+[ \t\0]*+((?:[A-Za-z]{1,32}+ \S++ sip/2\.0|sip/2\.0 [1-6][0-9][0-9])(?!\S))",
    re.IGNORECASE,
)
_BOUNDARY: Final = re.compile(rb"^--", re.MULTILINE)
_PART: Final = re.compile(rb"--[^\n]*+\n((?:[^\r\n][^\n]*+\n)*+)\r?+\n?+")
_PART_TYPE: Final = re.compile(rb"^content-type[ \t]*+:\s*+([^\s;]++)", re.IGNORECASE | re.MULTILINE)
_PART_CODED: Final = re.compile(
    rb"^content-(?:transfer-)?encoding[ \t]*+:\s*+(?!identity|7bit|8bit|binary)", re.IGNORECASE | re.MULTILINE
)
_NO_TEXT: Final = re.compile(rb"isup|qsig|sms|octet-stream|image/|audio/|video/")
_CONTROLS: Final = re.compile(rb"[\0-\x08\x0b\x0e-\x1f\x7f]")
_SDP_LINE: Final = re.compile(rb"^(?:o=(\S++)|[iep]=([^\n]*+)|[su]=([^\n]*+))", re.MULTILINE)
_XML: Final = re.compile(
    rb"\bdisplay[\w-]*+\s*+=\s*+(?:\"([^\"]*+)|'([^']*+))"
    rb"|<(?:[\w.-]++:)?(?:display[\w-]*+|[\w-]*name|note)(?:\s[^<>]*+)?>([^<]++)"
    rb"|>\s*+(\+?[0-9][0-9().-]*+)\s*+(?=<)",
    re.IGNORECASE,
)
_SIGNAL: Final = re.compile(rb"^[ \t]*+signal[ \t]*+[=:][ \t]*+(\S++)", re.IGNORECASE | re.MULTILINE)
_NORTEL: Final = re.compile(rb"^[ \t]*+d[ \t]*+=[ \t]*+(\S++)", re.IGNORECASE | re.MULTILINE)
_KPML: Final = re.compile(rb'\bdigits\s*+=\s*+"([^"]*+)', re.IGNORECASE)
_KEYS: Final = re.compile(rb"([0-9A-D*#]++)", re.IGNORECASE)


class SipMask(HeaderMask):
    """Masks a page: SIP as SIP, wherever it begins, and other text as text."""

    def page(self, page: Page) -> bool:
        """Mask it. True when the whole page is SIP."""
        raw = page.raw
        if looks_like_sip(raw):
            start = 0
        else:  # a log with a message in it, or something stands before the start line
            match = _START.search(raw) if b"sip/2.0" in raw.lower() else None
            start = match.start(1) if match else len(raw)
            self.free(page, 0, start)
        if start == len(raw):
            return False
        whole = start == 0
        pieces = Sip(raw[start:]).messages()
        for piece in pieces:
            found = raw.index(piece, start)
            self.free(page, start, found)
            start = found + len(piece)
            self.message(page, found, start)
        self.free(page, start, len(raw))
        return whole

    def message(self, page: Page, at: int, end: int) -> None:
        """One message."""
        page.steps.take(3)
        body = self.headers(page, self._start_line(page, at, end), end, True)
        if body < end:
            sip = Sip(page.raw[at:end])
            try:
                self._body(page, sip, body, end)
            except SpentError:
                page.blank(body, end)

    def _start_line(self, page: Page, start: int, end: int) -> int:
        """Mask the Request-URI, or the reason phrase; gives where the headers begin."""
        raw = page.raw
        start = end - len(raw[start:end].lstrip(b"\r\n"))
        stop = raw.find(b"\n", start, end)
        stop = end if stop < 0 else stop
        if raw[start : start + 4].upper() == b"SIP/":
            self.text(page, start, stop)
        else:
            begin, last = raw.find(b" ", start, stop), raw.rfind(b" ", start, stop)
            self.uri(page, begin + 1 if begin >= 0 else start, last if last > begin else stop)
        return min(stop + 1, end)

    # ── bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _body(self, page: Page, sip: Sip, at: int, end: int) -> None:
        method = (sip.method or sip.cseq_method or "").upper()
        if method in self.rules.bodies or (sip.header("Content-Encoding") or "identity").lower() != "identity":
            page.blank(at, end)
            return
        kind = (sip.content_type or "").partition(";")[0].strip().lower().encode("utf-8", "surrogateescape")
        if kind.startswith(b"multipart/") or (not kind and page.raw.startswith(b"--", at, end)):
            starts = [
                at,
                *(match.start() for match in _BOUNDARY.finditer(page.raw, at, end) if match.start() > at),
                end,
            ]
            for begin, stop in itertools.pairwise(starts):
                self._part(page, begin, stop)
        else:
            self._content(page, at, end, kind)

    def _part(self, page: Page, at: int, end: int) -> None:
        """A part of a multipart body, from its boundary on (RFC 2046 section 5.1)."""
        page.steps.take(4)
        match = _PART.match(page.raw, at, end)
        if match is None:  # before the first boundary, or the end of the last part
            self._content(page, at, end, b"")
            return
        self.free(page, at, match.end())
        if _PART_CODED.search(match[1]):
            page.blank(match.end(), end)
        else:
            kind = _PART_TYPE.search(match[1])
            self._content(page, match.end(), end, kind[1].lower() if kind else b"")

    def _content(self, page: Page, at: int, end: int, kind: bytes) -> None:
        """What one body or part says, by its type (b"": not told)."""
        raw = page.raw
        if kind == b"application/sdp" or (not kind and raw[at:end].lstrip().startswith(b"v=0")):
            self._sdp(page, at, end)
        elif _NO_TEXT.search(kind) or not _readable(raw[at:end]):
            page.blank(at, end)
        elif kind in (b"message/sipfrag", b"message/sip"):
            if looks_like_sip(raw[at:end]):
                at = self._start_line(page, at, end)
            at = self.headers(page, at, end, False)
            self._content(page, at, end, b"text/plain")
        elif b"xml" in kind:
            self._xml(page, at, end)
        else:
            self.free(page, at, end)
        if self.rules.dtmf:
            _dialled(page, at, end, kind)

    def _sdp(self, page: Page, at: int, end: int) -> None:
        """The originator's name, and what i=, e=, p=, s= and u= say about people; ids, ports and codecs stay."""
        self.uris(page, at, end, False)
        for match in _SDP_LINE.finditer(page.raw, at, end):
            if match[3] is not None:
                self.uris(page, *match.span(3), self.rules.numbers)
            elif match[2] is not None:
                self.words(page, *match.span(2))
            elif match[1] != b"-":
                self.word(page, *match.span(1))

    def _xml(self, page: Page, at: int, end: int) -> None:
        """Names in attributes and elements, elements that hold nothing but a number; the rest is text."""
        for match in _XML.finditer(page.raw, at, end):
            begin, stop = match.span(match.lastindex or 0)
            self.free(page, at, begin)
            if match.lastindex == 4:
                self.word(page, begin, stop)
            else:
                self.words(page, begin, stop)
            at = stop
        self.free(page, at, end)


def _readable(text: bytes) -> bool:
    if _CONTROLS.search(text):
        return False
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _dialled(page: Page, at: int, end: int, kind: bytes) -> None:
    """Overwrite dialled digits: `Signal=5`, the bare digit, `d=5` (Nortel), and KPML (RFC 4730)."""
    if kind == b"application/dtmf":
        pattern = _KEYS if _SIGNAL.search(page.raw, at, end) is None else _SIGNAL
    elif b"kpml" in kind:
        pattern = _KPML
    else:
        pattern = _NORTEL if b"digits" in kind else _SIGNAL
    for match in pattern.finditer(page.raw, at, end):
        page.steps.take()
        page.blank(*match.span(1), by=b"0")
