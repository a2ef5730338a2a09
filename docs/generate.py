"""Writes the reference pages that follow from the code: configuration, commands, chunks, conditions, metrics,
route API. `make docs` runs it.

With --check nothing is written; exit status 1 says that a page is out of date. Not here: pages that people write.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin

import click
from api_page import api_page
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import hepswitch
from hepswitch import cli
from hepswitch.config import Config
from hepswitch.control.metrics import GROUPS
from hepswitch.databases import clickhouse, clickhouse_tables, mysql, mysql_tables, partitions, postgres, sqlite
from hepswitch.databases.layouts import homer5, homer7, opensips
from hepswitch.destinations import file, pcap, rotating, sip, syslog, text, uris
from hepswitch.destinations.stores import KINDS
from hepswitch.filters.fields import FIELDS, FUNCTIONS, Field
from hepswitch.filters.language import DEEPEST
from hepswitch.filters.tokens import LONGEST
from hepswitch.sources.ways import WAYS
from hepswitch.wire import chunks

DOCS = Path(__file__).resolve().parent
SOURCE = DOCS.parent / "src" / "hepswitch"
MADE = "<!-- Written by docs/generate.py (`make docs`); changes here are lost. -->\n\n"


# ── configuration ────────────────────────────────────────────────────────────────────────────────────────────────────


def config_page() -> str:
    """Every table of the file with its keys, from the pydantic models."""
    tables: list[tuple[str, type[BaseModel]]] = [("The top of the file", Config), *_tables_of(Config)]
    parts = [
        "# Configuration\n\n"
        "One TOML file, every key optional; without a file the defaults below hold. Paths are relative to the file. Sizes "
        "are written like `512MiB` or `1GB`, durations like `500ms`, `10s`, `1h30m`, `7d`. Secrets may be `env:NAME` or "
        "`file:PATH`. `hepswitch init` writes a file to start from, `hepswitch check` names every mistake with its line.\n\n"
        "Environment variables override the file: `HEPSWITCH_WORKERS=4`, and with two underscores for each table deeper "
        "`HEPSWITCH_HEP_ROUTE__MODE=sip`.\n"
    ]
    parts += [_table(title, table) for title, table in tables]
    parts += [_listeners(), _stores(), _targets()]
    return "\n".join(parts)


def _tables_of(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The tables below a model with the way in which each is written in the file."""
    for name, field in model.model_fields.items():
        for form, table in _forms(name, field.annotation):
            yield (f"`{form}`{_kind(table)}" if model is Config else f"{_owner(model)}: `{name}` as a table"), table
            yield from _tables_of(table)


def _kind(table: type[BaseModel]) -> str:
    """Which of the kinds of stores it is, by its URL."""
    return next((f' with `url = "{scheme}:…"`' for scheme, kind in KINDS.items() if kind is table), "")


def _owner(model: type[BaseModel]) -> str:
    doc = inspect.cleandoc(model.__doc__ or "")
    return doc.partition(": ")[0] if doc.startswith("`[") else "A destination"


def _forms(name: str, kind: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """`[name]`, `[name.NAME]` or `[[name]]`, and the model behind it; nothing when the key is no table."""
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        yield f"[{name}]", kind
        return
    origin = get_origin(kind)
    form = f"[{name}.NAME]" if origin is dict else f"[[{name}]]" if origin is list else None
    for part in get_args(kind):
        for found, model in _forms(name, part):
            yield form or found, model


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


def _listeners() -> str:
    """What each way in says about itself."""
    schemes: dict[Any, list[str]] = {}
    for scheme, way in WAYS.items():
        schemes.setdefault(way, []).append(f"`{scheme}:`")
    head = "## Listeners\n\nWhat `listen` may name. Which when: [where SIP comes from](../howto/capture.md).\n"
    return "\n".join([head, *(_module(", ".join(names), way) for way, names in schemes.items())])


def _targets() -> str:
    """What each of the destinations that belong to traces alone says about itself."""
    head = (
        "## Targets of traces\n\nWhat `to` of `[traces.NAME]` and `hepswitch ctl trace start --to` may name, besides "
        "`store:NAME` and `destination:NAME`. What they are for: [trace calls](../howto/tracing.md).\n"
    )
    modules = (
        ("`hep:` and `sip:`", uris), ("What goes to `sip:`", sip), ("`file:`", file), ("`pcap:`", pcap),
        ("`rotating`", rotating), ("`text`", text), ("`syslog`", syslog),
    )  # fmt: skip
    return "\n".join([head, *(_module(title, module) for title, module in modules)])


def _stores() -> str:
    """What the stores that have no page of their own say about themselves."""
    head = (
        "## Stores\n\nThe lake has [its own page](../lake.md). How to [store in a database](../howto/databases.md).\n"
    )
    modules = (
        ("`postgresql:`", postgres), ("`mysql:`, `mariadb:`", mysql), ("Tables of `mysql:`", mysql_tables),
        ("`sqlite:`", sqlite), ("`clickhouse:`, `clickhouses:`", clickhouse), ("Tables of `clickhouse:`", clickhouse_tables),
        ("`opensips`", opensips), ("`homer5`", homer5), ("`homer7`", homer7), ("Partitions of `homer7`", partitions),
    )  # fmt: skip
    return "\n".join([head, *(_module(title, module) for title, module in modules)])


def _module(title: str, module: ModuleType) -> str:
    """A module's docstring without what it says to programmers."""
    said = inspect.cleandoc(module.__doc__ or "").partition("Not here:")[0].rstrip()
    return f"### {title}\n\n{said}\n"


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

STATE_PARTS = (
    ("state/tables.py", "Table", "What `table()` gives."),
    ("state/counters.py", "Counter", "What `counter()` gives."),
    ("state/counters.py", "Gauge", "What `gauge()` gives."),
    ("state/lists.py", "Numbers", "What `number_list()` gives."),
    ("state/lists.py", "Prefixes", "What `prefix_list()` gives."),
    ("state/lists.py", "NetworkList", "What `network_list()` gives."),
    ("state/lists.py", "Words", "What `word_list()` gives."),
)


def route_page() -> str:
    """The classes that a route script meets, from their stubs."""
    parts = [
        "# Route API\n\n"
        "A route file is Python. It marks at most one function with `@hep_route` (called once for every HEP packet) and at "
        "most one with `@sip_route` (called with the SIP message after `resume_sip()`, or for every packet in mode "
        '`"sip"`). What they return is ignored. How to write one: [the tutorial](../tutorial.md).\n'
    ]
    for stub, name, said in PARTS:
        parts.append("\n".join(_class(SOURCE / stub, name, said)))
    parts.append("\n".join(_state()))
    for module, name, said in STATE_PARTS:
        parts.append("\n".join(_class(SOURCE / module, name, said)))
    return "\n".join(parts)


def _state() -> Iterator[str]:
    """The functions that give a script what it keeps between packets."""
    tree = ast.parse((SOURCE / "state" / "__init__.py").read_text(encoding="utf-8"))
    yield "## State\n"
    yield (
        "What a script keeps between packets, by name: `from hepswitch import counter, table`. Each worker has its own; it "
        "survives a reload of the script. Nothing in it blocks.\n"
    )
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in hepswitch.__all__:
            yield _function(node, writable=False)
    yield ""


def _class(path: Path, name: str, said: str) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    yield f"## {name}\n"
    yield " ".join(filter(None, [said, ast.get_docstring(found) or ""])) + "\n"
    setters = {node.name for node in found.body if isinstance(node, ast.FunctionDef) and _decorated(node, "setter")}
    for node in found.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield f"- `{node.target.id}: {ast.unparse(node.annotation)}`"
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not _decorated(node, "setter"):
            yield _function(node, node.name in setters)
    yield ""


def _decorated(node: ast.FunctionDef, name: str) -> bool:
    return any(ast.unparse(decorator).endswith(name) for decorator in node.decorator_list)


def _function(node: ast.FunctionDef, writable: bool) -> str:
    returns = ast.unparse(node.returns) if node.returns else "None"
    if _decorated(node, "property"):
        head = f"`{node.name}: {returns}`" + (" (writable)" if writable else "")
    else:
        node.args.args = [argument for argument in node.args.args if argument.arg != "self"]
        head = f"`{node.name}({ast.unparse(node.args)}) → {returns}`"
    doc = (ast.get_docstring(node) or "").replace("\n", "\n  ")
    return f"- {head}" + (f"  \n  {doc}" if doc else "")


# ── conditions ───────────────────────────────────────────────────────────────────────────────────────────────────────


CONDITIONS = """# Conditions

One language says which packets are meant: in rules, for a destination, for a trace (`hepswitch ctl trace start
--filter`), in `hepswitch search --filter`.

    sip.method in [INVITE, BYE] and src_ip in 10.0.0.0/8 and not sip.user_agent ~ "friendly-scanner"

| written | holds when |
| --- | --- |
| `sip.to_tag` | the packet has it, and it is not empty |
| `src_port = 5060`, `==` | it is equal. Numbers may be hexadecimal: `0x13c4` |
| `sip.method != OPTIONS` | it is not equal, or absent |
| `sip.status >= 400`, `<` `<=` `>` | the number compares so |
| `src_port in 5060..5090` | the number is in the range, both ends included |
| `sip.method in [INVITE, "BYE"]` | it is one of them |
| `src_ip in 10.0.0.0/8`, `ip in [10.0.0.0/8, 2001:db8::/32, 192.0.2.1]` | the address is in one of the networks |
| `caller in @fraud` | it is in the list of that name |
| `sip.user_agent ~ "(?i)scanner"` | the regular expression (Python's `re`) is found in it; `(?i)` for any case |
| `sip.user_agent contains "scan"` | the text is a part of it |
| `not …`, `… and …`, `… or …`, `( … )` | `not` binds closest, then `and`, then `or` |
| `not in`, `!~` | the opposite of `in` and `~` |

A test of something that the packet does not have is false, so `!=`, `!~` and `not in` are then true: `sip.method != OPTIONS`
is true of RTCP. Write `sip and sip.method != OPTIONS` where that is not meant.

A value is a word (`alice`, `+4930123`, `alice@example.com`, `10.0.0.1`) or text in double quotes. In quotes `\\"` and
`\\\\` stand for `"` and `\\`; any other backslash stands for itself, as regular expressions need it. Text compares letter by
letter, in its case. Octets compare as UTF-8 text. Payload types and IP protocols have names ([these](chunks.md)):
`proto_type = RTCP`, `proto_id in [TCP, TLS]`. `192.0.2.1` and `::ffff:192.0.2.1` are the same address.

A regular expression runs on whatever packets say: one like `(a+)+$`, which tries without end, holds up a worker. Prefer
`contains` and plain expressions.

A mistake is shown at its place, before any packet is looked at:

    no field is called 'sip.metod'; did you mean sip.method?
      sip.metod = INVITE
      ^

A condition has at most {longest} characters and nests at most {deepest} deep. In a lake, one that uses a regular expression,
a network, or what is read from `payload` or `chunks`, looks at that column of every packet that fulfils the other
conditions: give `--since` too.

## Fields

"In a lake" is what `hepswitch search --filter` can ask: the column, or the column that it is read from; "–" is not kept
there.
"""


def filters_page() -> str:
    """The language of conditions, and the table of its fields."""
    rows = [
        f"| `{field.call or field.name}` | {field.kind} | {_cell(field.doc)} | {_in_a_lake(field)} |"
        for field in [*FIELDS.values(), *FUNCTIONS.values()]
    ]
    said = CONDITIONS.replace("{longest}", str(LONGEST)).replace("{deepest}", str(DEEPEST))
    return "\n".join([said, "| field | type | meaning | in a lake |", "| --- | --- | --- | --- |", *rows]) + "\n"


def _in_a_lake(field: Field) -> str:
    if field.any_of:
        return ", ".join(f"`{FIELDS[name].lake}`" for name in field.any_of)
    return "–" if field.lake is None else f"`{field.lake}`"


# ── metrics ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def metrics_page() -> str:
    """Every family of metrics that `/metrics` may show."""
    parts = [
        "# Metrics\n\n"
        "What `GET /metrics` of the control listener says to Prometheus. How to scrape it, with a dashboard and alerts: "
        "[Prometheus and Grafana](../howto/prometheus.md). Counters are sums over all workers, those that died included; "
        "they begin at 0 when the switch starts unless something else is said. Labels come from the configuration, or are "
        "bounded.\n"
    ]
    for group in GROUPS:
        rows = [
            f"| `{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {_cell(each.text)} |"
            for each in group.families
        ]
        said = f"{group.text}\n\n" if group.text else ""
        head = ["| metric | kind | labels | meaning |", "| --- | --- | --- | --- |"]
        parts.append(f"## {group.title}\n\n{said}" + "\n".join([*head, *rows]) + "\n")
    return "\n".join(parts)


# ── all ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

PAGES: dict[str, Callable[[], str]] = {
    "config.md": config_page,
    "commands.md": commands_page,
    "chunks.md": chunks_page,
    "filters.md": filters_page,
    "metrics.md": metrics_page,
    "route.md": route_page,
    "api.md": api_page,
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
