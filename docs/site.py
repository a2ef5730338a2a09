"""A hook of mkdocs (mkdocs.yml): the README is the first page, and files of the repository that pages link to come along.

Not here: the reference pages (`generate`).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
README = "README.md"
LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=[)#])")
"""What a link of Markdown leads to, if that is a file."""


def on_files(files: Files, config: Any) -> Files:
    """Add the README and what pages link to outside of docs/."""
    waiting = [README, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    seen: set[str] = set()
    while waiting:
        page = waiting.pop()
        for path in _links(page):
            if path not in seen and not path.startswith("docs/"):
                seen.add(path)
                waiting += [path] if path.endswith(".md") else []
    for path in sorted(seen | {README}):
        if path.endswith(".md"):
            files.append(File.generated(config, _uri(path), content=_moved(path, (ROOT / path).read_text())))
        else:
            files.append(File.generated(config, _uri(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let the links of a page of docs/ lead to where its files are in the site."""
    return markdown if page.file.generated_by else _moved(f"docs/{page.file.src_uri}", markdown)


def _links(page: str) -> Iterator[str]:
    """The files that a page links to, as paths in the repository."""
    for target in LINK.findall((ROOT / page).read_text()):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
        if (ROOT / path).is_file():
            yield path


def _moved(page: str, text: str) -> str:
    """The page's text with the links that it needs in its new place."""
    here = posixpath.dirname(_uri(page))

    def link(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), found[1]))
        return posixpath.relpath(_uri(path), here or ".") if (ROOT / path).is_file() else found[1]

    return LINK.sub(link, text)


def _uri(path: str) -> str:
    """Where a file of the repository is in the site."""
    if path == README:
        return "index.md"
    return path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}"
