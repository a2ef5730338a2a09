"""The project as a stranger finds it: packaging, documentation that is true, links that lead somewhere, quick help."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import hepswitch
from hepswitch.config import load
from hepswitch.filters.language import parse

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(BLOCK, "", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = page if not path else page.parent / path
        assert there.exists(), f"{_name(page)} links to {target}, which is not there"
        if anchor and there.suffix == ".md":
            assert anchor in _anchors(there), f"{_name(page)} links to {target}: no such heading"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_examples_in_the_pages_are_valid(page: Path, tmp_path: Path) -> None:
    for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            ast.parse(text)
        if language == "toml":
            tomllib.loads(text)


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/howto/*.md")), ids=_name)
def test_configurations_in_the_how_tos_are_accepted(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, name in re.findall(r'"(env|file):([\w.-]+)"', page.read_text(encoding="utf-8")):
        if kind == "env":
            monkeypatch.setenv(name, f"a-secret-of-enough-bytes-{name}")
        else:
            (tmp_path / name).write_text(f"a-secret-of-enough-bytes-{name}")
    for number, (language, text) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8"))):
        if language == "toml":
            path = tmp_path / f"{number}.toml"
            path.write_text(text)
            load(path, environment={})


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_filters_in_commands_are_valid(page: Path) -> None:
    for text in re.findall(r"--filter '([^']+)'", page.read_text(encoding="utf-8")):
        parse(text, ["fraud"])


def test_the_pages_become_a_site(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    for page in ROOT.glob("docs/**/*.md"):
        assert (tmp_path / page.relative_to(ROOT / "docs").with_suffix("") / "index.html").exists(), _name(page)
    for image in ROOT.glob("docs/images/*.png"):
        assert (tmp_path / "images" / image.name).exists()


def test_every_picture_is_shown_and_small() -> None:
    shown = {(page.parent / target).resolve() for page in PAGES for target in LINK.findall(page.read_text("utf-8"))}
    for image in ROOT.glob("docs/images/*"):
        assert image in shown, f"{_name(image)} is shown nowhere"
        assert image.stat().st_size <= 200_000, f"{_name(image)} is larger than a page should load"


def test_the_generated_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_page_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    new = {ROOT / "README.md"}
    while new:
        page = new.pop()
        seen.add(page)
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            there = (page.parent / target.partition("#")[0]).resolve()
            if there.suffix == ".md" and there.exists() and there not in seen:
                new.add(there)
    missing = {_name(page) for page in ROOT.glob("docs/**/*.md")} - {_name(page) for page in seen}
    assert not missing


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == hepswitch.__version__ == version("hepswitch")
    assert f"[{project['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "src" / "hepswitch" / "py.typed").exists()
    for source in (ROOT / "src").rglob("*.pyx"):
        assert source.with_suffix(".pyi").exists(), f"{_name(source)} has no stub"


def test_every_module_says_what_it_is() -> None:
    for source in (ROOT / "src" / "hepswitch").rglob("*.py"):
        text = source.read_text(encoding="utf-8")
        if text.strip():
            assert ast.get_docstring(ast.parse(text)), f"{_name(source)} has no docstring"


def test_a_worker_does_not_load_what_only_readers_need() -> None:
    heavy = ("pyarrow", "duckdb", "starlette", "uvicorn")
    code = f"import sys, hepswitch.worker; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_lake_without_a_remote_part_loads_none_of_what_that_needs(tmp_path: Path) -> None:
    heavy = ("pyarrow.parquet", "pyarrow.fs", "fsspec")
    code = (
        "import contextlib, sys, hepswitch.queries.process\n"
        "from hepswitch.cli import search\n"
        f"with contextlib.suppress(SystemExit): search.cli(['--lake', {str(tmp_path)!r}])\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_route_script_needs_nothing_else() -> None:
    routes = {"hep_route", "sip_route", "policy"}
    state = {"table", "counter", "gauge", "limit", "number_list", "prefix_list", "network_list", "word_list"}
    assert set(importlib.import_module("hepswitch").__all__) == routes | state


def test_the_demo_shows_a_whole_call() -> None:
    done = subprocess.run(
        [sys.executable, "examples/demo.py"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    ladder = done.stdout.partition("$ hepswitch ladder")[2]
    for message in ("INVITE", "200", "ACK", "BYE"):
        assert message in ladder
