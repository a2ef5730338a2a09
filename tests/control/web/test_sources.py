"""What the page's files may not hold: a way from text to markup or to code, inline script and style, other servers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hepswitch.control

WEB = Path(hepswitch.control.__file__).parent / "web"
FILES = sorted(path for path in WEB.rglob("*") if path.suffix in (".js", ".html", ".css", ".svg"))
EVERYWHERE = {
    "an address of another server": r"https?://(?!www\.w3\.org/2000/svg\b)",
    "a request of whichever server": r"""(?:fetch|import|EventSource|WebSocket|Worker)\s*\(\s*["'`](?!/[^/]|\.{1,2}/)""",
    "a style sheet of elsewhere": r"@import|url\(",
}
SCRIPTS = {
    "text that becomes markup": r"(?:inner|outer|insertAdjacent|set)HTML|createContextualFragment|parseFromString|srcdoc",
    "a document that is written": r"document\.write",
    "text that becomes code": r"\beval\b|\bFunction\s*\(|(?:setTimeout|setInterval)\s*\(\s*[\"'`]|javascript:",
    "a listener as an attribute": r"""setAttribute\(\s*["'`]on|\.on(?:click|error|load|input|change|key\w+)\s*=""",
    "a cookie": r"document\.cookie",
}
PAGES = {
    "an inline style": r"\sstyle\s*=|<style\b",
    "an inline listener": r"\son\w+\s*=",
    "an inline script": r"<script\b(?![^>]*\ssrc=\"/web/)",
    "an address of code": r"javascript:",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(WEB)))
def test_a_file_of_the_page_holds_nothing_of_the_kind(path: Path) -> None:
    text = path.read_text()
    rules = EVERYWHERE | (SCRIPTS if path.suffix == ".js" else {}) | (PAGES if path.suffix in (".html", ".svg") else {})

    found = [f"{what}: {match[0]!r}" for what, rule in rules.items() for match in re.finditer(rule, text)]

    assert not found


@pytest.mark.parametrize(
    "text",
    [
        "box.innerHTML = x",
        "new Function(x)",
        "setTimeout('x()', 1)",
        "node.onclick = x",
        "a.href = 'javascript:x'",
        'fetch("https://x")',
        'import("//x/y.js")',
    ],
)
def test_the_rules_see_what_they_forbid(text: str) -> None:
    assert any(re.search(rule, text) for rule in (EVERYWHERE | SCRIPTS).values())


def test_every_page_is_a_whole_document() -> None:
    for path in WEB.glob("*.html"):
        text = path.read_text()
        assert text.startswith("<!doctype html>\n<html lang=")
        for part in ('<header class="top" id="top">', '<main id="main"', "<h1", "<noscript>", 'class="skip"'):
            assert part in text, f"{path.name} has no {part}"
        for name in re.findall(r'(?:src|href)="/web/([^"]+)"', text):
            assert (WEB / name).is_file(), f"{path.name} names {name}, which is not there"
