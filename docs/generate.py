"""Writes the reference pages that follow from the code: configuration, commands, chunks, route API. `make docs` runs it.

With --check nothing is written; exit status 1 says that a page is out of date. Not here: pages that people write.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hepswitch import cli
from hepswitch.config import Config
from hepswitch.destinations.hep import HepDestination
from hepswitch.destinations.lake import LakeStore
from hepswitch.wire import chunks

DOCS = Path(__file__).resolve().parent
SOURCE = DOCS.parent / "src" / "hepswitch"
MADE = "<!-- Written by docs/generate.py (`make docs`); changes here are lost. -->\n\n"


# ── configuration ────────────────────────────────────────────────────────────────────────────────────────────────────


def config_page() -> str:
    """Every table of the file with its keys, from the pydantic models."""
    tables: list[tuple[str, type[BaseModel]]] = [("The top of the file", Config)]
    for name, field in Config.model_fields.items():
        if (table := _nested(field)) is not None:
            tables.append((f"`[{name}]`", table))
    tables += [("`[destinations.NAME]`", HepDestination), ("`[stores.NAME]`", LakeStore)]
    parts = [
        "# Configuration\n\n"
        "One TOML file, every key optional; without a file the defaults below hold. Paths are relative to the file. Sizes "
        "are written like `512MiB` or `1GB`, durations like `500ms`, `10s`, `1h30m`, `7d`. `hepswitch init` writes a file "
        "to start from, `hepswitch check` names every mistake with its line.\n\n"
        "Environment variables override the file: `HEPSWITCH_WORKERS=4`, and with two underscores for each table deeper "
        "`HEPSWITCH_HEP_ROUTE__MODE=sip`.\n"
    ]
    parts += [_table(title, table) for title, table in tables]
    return "\n".join(parts)


def _nested(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a table of its own."""
    kind: Any = field.annotation
    return kind if inspect.isclass(kind) and issubclass(kind, BaseModel) else None


def _table(title: str, model: type[BaseModel]) -> str:
    doc = inspect.cleandoc(model.__doc__ or "") if model is not Config else ""
    doc = doc.partition(": ")[2] if doc.startswith("`[") else doc
    rows = [
        f"| `{name}` | {_default(field)} | {_cell(field.description or '')} |"
        for name, field in model.model_fields.items()
        if _nested(field) is None
    ]
    head = f"## {title}\n\n" + (f"{doc[:1].upper()}{doc[1:]}\n\n" if doc else "")
    return head + "\n".join(["| key | default | meaning |", "| --- | --- | --- |", *rows]) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "none"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1 << 20:
        return f"`{_binary(value)}`"
    if isinstance(value, float):
        return f"`{value:g}s`"
    if isinstance(value, list):
        return "`[" + ", ".join(f'"{item}"' for item in value) + "]`"
    if isinstance(value, dict):
        return "none"
    return f"`{value}`"


def _binary(value: int) -> str:
    for shift, unit in ((30, "GiB"), (20, "MiB")):
        if value % (1 << shift) == 0:
            return f"{value >> shift}{unit}"
    return str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def commands_page() -> str:
    """The help of every command, as a terminal shows it."""
    parts = ["# Commands\n\nExit status: 0 done, 1 it did not work, 2 wrong use or wrong configuration.\n"]
    for name in cli.COMMANDS:
        command = cli.main.get_command(click.Context(cli.main), name)
        if command is None:
            raise LookupError(f"the command {name} is listed but not there")
        parts += _help(command, f"hepswitch {name}")
    return "\n".join(parts)


def _help(command: click.Command, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100)
    yield f"## {name}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from _help(each, f"{name} {each.name}")


# ── chunks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def chunks_page() -> str:
    """The table of chunks, and the names of vendors, payload types and IP protocols."""
    rows = [f"| 0x{chunk.id:02x} | `{chunk.name}` | {chunk.type} | {_cell(chunk.doc)} |" for chunk in chunks.GENERIC]
    return "\n".join((
        "# Chunks\n",
        "The names of a packet's chunks, as attributes in a route, as keys of `hepswitch decode`. Versions 1 and 2 carry "
        "the first ten and the payload in their fixed header; version 2 the time and the capture id too. Chunks of other "
        "vendors and unknown ones are reached by number: `hep.get(0x1f, vendor=3)`.\n",
        "| id | name | type | meaning |", "| --- | --- | --- | --- |", *rows, "",
        "## Vendors\n", "| id | vendor |", "| --- | --- |",
        *(f"| {number} | {name} |" for number, name in chunks.VENDORS.items()), "",
        "## Payload types (`proto_type`)\n", "| number | name |", "| --- | --- |",
        *(f"| {number} | {name} |" for number, name in chunks.PROTO_TYPES.items()), "",
        "## IP protocols (`proto_id`)\n", "| number | name |", "| --- | --- |",
        *(f"| {number} | {name} |" for number, name in chunks.IP_PROTOCOLS.items()), "",
    ))  # fmt: skip


# ── route API ────────────────────────────────────────────────────────────────────────────────────────────────────────

PARTS = (
    ("routing/packet.pyi", "Packet", "What a `@hep_route` function gets. It is a `Hep` too: see below."),
    ("routing/packet.pyi", "Message", "What a `@sip_route` function gets. It is a `Sip` too: see below."),
    ("routing/packet.pyi", "Received", ""),
    ("wire/hep.pyi", "Hep", ""),
    ("wire/sip.pyi", "Sip", ""),
)


def route_page() -> str:
    """The classes that a route script meets, from their stubs."""
    parts = [
        "# Route API\n\n"
        "A route file is Python. It marks at most one function with `@hep_route` (called once for every HEP packet) and at "
        "most one with `@sip_route` (called with the SIP message after `resume_sip()`, or for every packet in mode "
        '`"sip"`). What they return is ignored. How to write one: [the tutorial](../tutorial.md).\n'
    ]
    for file, name, said in PARTS:
        parts.append("\n".join(_class(SOURCE / file, name, said)))
    return "\n".join(parts)


def _class(path: Path, name: str, said: str) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    yield f"## {name}\n"
    yield " ".join(filter(None, [said, ast.get_docstring(found) or ""])) + "\n"
    setters = {node.name for node in found.body if isinstance(node, ast.FunctionDef) and _decorated(node, "setter")}
    for node in found.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield f"- `{node.target.id}: {ast.unparse(node.annotation)}`"
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("__") and not _decorated(node, "setter"):
            yield _function(node, node.name in setters)
    yield ""


def _decorated(node: ast.FunctionDef, name: str) -> bool:
    return any(ast.unparse(decorator).endswith(name) for decorator in node.decorator_list)


def _function(node: ast.FunctionDef, writable: bool) -> str:
    returns = ast.unparse(node.returns) if node.returns else "None"
    if _decorated(node, "property"):
        head = f"`{node.name}: {returns}`" + (" (writable)" if writable else "")
    else:
        node.args.args = node.args.args[1:]
        head = f"`{node.name}({ast.unparse(node.args)}) → {returns}`"
    doc = (ast.get_docstring(node) or "").replace("\n", "\n  ")
    return f"- {head}" + (f"  \n  {doc}" if doc else "")


# ── all ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

PAGES: dict[str, Callable[[], str]] = {
    "config.md": config_page,
    "commands.md": commands_page,
    "chunks.md": chunks_page,
    "route.md": route_page,
}


def main() -> int:
    stale = 0
    for name, page in PAGES.items():
        path = DOCS / "reference" / name
        text = MADE + page().rstrip() + "\n"
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if "--check" in sys.argv:
            print(f"docs/reference/{name} is out of date: run make docs", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/reference/{name}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
