"""The commands of MI, with the names, parameters, results and errors that OpenSIPS has (core, statistics, dispatcher,
sipcapture, tracer). What has no counterpart here is not there: `which` lists what is.

Not here: how a command is called (`mi`), what it comes to (`supervisor`).
"""

from __future__ import annotations

import platform
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec import MsgspecError, convert

from hepswitch import __version__
from hepswitch.control.jsonrpc import INVALID_PARAMS, CallError
from hepswitch.control.mi import Command, Recipe
from hepswitch.control.protocol import Switch
from hepswitch.control.refusal import RefusedError
from hepswitch.control.statistics import GAUGES, chosen, statistics
from hepswitch.destinations.hep_node import Administration
from hepswitch.destinations.sets import NodeChange
from hepswitch.tracing.dynamic import TraceStart

OK = "OK"

PARTITION = "default"
"""OpenSIPS can have several dispatchers; here is one, and its sets have names instead of numbers."""

ROUTE_KEYS = ("hep_route", "rule", "lists", "masks")
"""What a route is made of."""

NODE_STATES: Mapping[str, Administration] = {
    **dict.fromkeys("a1p2", "enabled"),
    **dict.fromkeys("i0", "disabled"),
}
"""Of an enabled node its health decides, which is probed all the time: probing is what `p` asks for."""

TRACE_KINDS = {
    "hep": "HEP",
    "destination": "HEP",
    "sip": "SIP",
    "store": "Database",
    "file": "File",
    "pcap": "PCAP",
    "syslog": "Syslog",
}
"""What a target of a trace is, by how it begins. To OpenSIPS, what begins otherwise is the URL of a database."""

START_WORDS = {"scope": "scope", "type": "types", "seconds": "seconds", "packets": "packets"}
"""Parameters of tracer:start, and what `TraceStart` calls them."""

COMMANDS: dict[str, Command] = {}
"""Every command by each of its names."""

Run = Callable[..., Awaitable[Any]]


def _command(name: str, *older: str, recipes: tuple[str, ...] = ("",)) -> Callable[[Run], Run]:
    """Make a function a command. Its docstring is the command's help."""

    def register(run: Run) -> Run:
        command = Command(name, run.__doc__ or "", [Recipe(text) for text in recipes], run)
        COMMANDS.update(dict.fromkeys((name, *older), command))
        return run

    return register


# ── core ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@_command("version")
async def _version(_: Switch) -> Any:
    """prints the version of the switch"""
    return {"Server": f"hepswitch ({__version__} ({platform.machine()}/{platform.system().lower()}))"}


@_command("uptime")
async def _uptime(switch: Switch) -> Any:
    """prints when the switch was started, and for how long it runs"""
    now, up = time.time(), (await switch.stats())["uptime"]
    return {"Now": time.ctime(now), "Up since": time.ctime(now - up), "Up time": f"{int(up)} [sec]"}


@_command("ps")
async def _ps(switch: Switch) -> Any:
    """lists all processes of the switch"""
    rows = enumerate(switch.processes())
    return {"Processes": [{"ID": number, "PID": each.pid, "Type": each.kind} for number, each in rows]}


@_command("which", recipes=("", "command"))
async def _which(_: Switch, command: str | None = None) -> Any:
    """lists the commands, those of a module, or the parameters of one of them"""
    if command is None:
        return list(COMMANDS)
    if command in COMMANDS:
        return [recipe.params for recipe in COMMANDS[command].recipes]
    module = command.removesuffix(":")
    return [name for name, each in COMMANDS.items() if each.module == module] or _unknown(command)


@_command("help", recipes=("", "mi_cmd"))
async def _help(_: Switch, mi_cmd: str | None = None) -> Any:
    """prints what a command is for"""
    if mi_cmd is None:
        return "Usage: help mi_cmd - returns information about 'mi_cmd'"
    command = COMMANDS.get(mi_cmd) or _unknown(mi_cmd)
    return {"Help": f"{command.help}. {command.usage}", "Exported by": command.module}


def _unknown(command: str) -> Any:
    raise CallError(404, "unknown MI command", f"{command!r} is neither a command nor a module: `which` lists them")


@_command("reload_routes")
async def _reload_routes(switch: Switch) -> Any:
    """reads the route, its rules, lists and masks again"""
    await switch.reload(ROUTE_KEYS)
    return OK


# ── statistics ───────────────────────────────────────────────────────────────────────────────────────────────────────


@_command("statistics:get", "get_statistics", recipes=("statistics",))
async def _get_statistics(switch: Switch, statistics: list[str]) -> Any:
    """prints the values of statistics: all, a group (tracer:), or one"""
    return await _statistics(switch, statistics)


@_command("statistics:list", "list_statistics", recipes=("", "statistics"))
async def _list_statistics(switch: Switch, statistics: list[str] | None = None) -> Any:
    """lists the statistics and their kinds"""
    found = await _statistics(switch, statistics or ["all"])
    return {name: "non-incremental" if name in GAUGES else "incremental" for name in found}


@_command("statistics:reset", "reset_statistics", recipes=("statistics",))
async def _reset_statistics(switch: Switch, statistics: list[str]) -> Any:
    """is refused: the books are never reset"""
    await _statistics(switch, statistics)
    raise CallError(406, "Not acceptable", "the books of a switch are never reset: take the difference of two readings")


async def _statistics(switch: Switch, wanted: list[str]) -> dict[str, int]:
    found = chosen(statistics(await switch.stats()), wanted)
    if not found:
        raise CallError(404, "Statistics Not Found", f"no statistic is called {', '.join(wanted)}: see list_statistics")
    return found


# ── dispatcher ───────────────────────────────────────────────────────────────────────────────────────────────────────


@_command("dispatcher:list", "ds_list", recipes=("[full] [partition]",))
async def _ds_list(switch: Switch, full: str = "0", partition: str = PARTITION) -> Any:
    """lists the sets and their destinations; full=1: with weight and priority"""
    _check_partition(partition)
    sets = await switch.dispatcher()
    rows = [
        {"id": name, "Destinations": [_ds_row(node, full != "0") for node in row["nodes"]]}
        for name, row in sets.items()
    ]
    return {"PARTITIONS": [{"name": PARTITION, "SETS": rows}]}


def _ds_row(node: Mapping[str, Any], full: bool) -> dict[str, Any]:
    states = node["state"].split(",")  # one for each worker that sees it differently
    state = next((word for word in ("active", "probing") if word in states), "inactive")
    row = {"URI": node["url"], "state": state.capitalize(), "first_hit_counter": node["accepted"]}
    return row | ({"weight": node["weight"], "priority": node["priority"]} if full else {})


@_command("dispatcher:set_state", "ds_set_state", recipes=("state group address",))
async def _ds_set_state(switch: Switch, state: str, group: str, address: str) -> Any:
    """sets a destination active (a), inactive (i: it gets nothing new) or probing (p: its health decides)"""
    if state[:1].lower() not in NODE_STATES:
        raise CallError(500, "Bad state value", f"{state!r} is no state: say a, i or p")
    partition, _, name = group.rpartition(":")
    _check_partition(partition or PARTITION)
    try:
        await switch.set_node(NodeChange(name, address, NODE_STATES[state[:1].lower()]))
    except RefusedError as error:
        if error.status == 404:
            raise CallError(404, "destination not found", str(error)) from error
        raise
    return OK


@_command("dispatcher:reload", "ds_reload", recipes=("[partition]",))
async def _ds_reload(switch: Switch, partition: str = PARTITION) -> Any:
    """reads the destinations of the configuration file again"""
    _check_partition(partition)
    try:
        await switch.reload(["destinations"])
    except RefusedError as error:
        raise CallError(500, "ERROR Reloading data", str(error)) from error
    return OK


def _check_partition(partition: str) -> None:
    if partition != PARTITION:
        raise CallError(404, "ERROR Unknown partition", f"there is one partition, {PARTITION!r}, not {partition!r}")


# ── sipcapture ───────────────────────────────────────────────────────────────────────────────────────────────────────


@_command("sipcapture:capture", "sip_capture", recipes=("", "capture_mode"))
async def _capture(switch: Switch, capture_mode: str | None = None) -> Any:
    """says whether packets are stored, or switches that on or off"""
    if capture_mode is None:
        return {"SIP capturing": _mode(switch.capturing)}
    await switch.set_capture(_is_on(capture_mode))
    return OK


# ── tracer ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@_command("tracer:trace", "trace", "sip_trace", recipes=("", "id", "mode", "id mode"))
async def _trace(switch: Switch, id: str | None = None, mode: str | None = None) -> Any:
    """says what is traced and whereto, or switches tracing, or one trace of the configuration, on or off"""
    if mode is not None:
        try:
            await switch.set_tracing(_is_on(mode), id)
        except RefusedError as error:
            raise _refused(error, 400) from error
        return OK
    told = await switch.traces()
    if id is not None and id not in told["traces"]:
        raise CallError(400, "Bad trace id value", f"there is no trace {id!r}")
    rows = [row for name, trace in told["traces"].items() if id in (None, name) for row in _trace_rows(name, trace)]
    return ({} if id is not None else {"global": _mode(told["on"])}) | {"trace destinations": rows}


def _trace_rows(name: str, trace: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for each target of a trace."""
    rows = []
    for target in trace["to"]:
        kind, address = _parted(target)
        row: dict[str, Any] = {"name": name, "type": TRACE_KINDS[kind], "uri": address, "state": _mode(trace["on"])}
        if trace["dynamic"]:
            row |= {"state": "dynamic", "filters": [{"filter": trace["filter"]}] if trace["filter"] else []}
        rows.append(row)
    return rows


@_command("tracer:start", "trace_start", recipes=("id uri [filter] [scope] [type] [seconds] [packets]", "filter"))
async def _trace_start(switch: Switch, filter: list[str] | None = None, **said: str) -> Any:
    """starts a trace to uri; filter: a list of caller=…, callee=…, ip=… and conditions, all of which must hold"""
    filters = filter or []
    if "id" not in said:  # opensips-cli puts all that was said without names into the list
        if len(filters) < 2:
            raise CallError(*INVALID_PARAMS, f"Too few or too many parameters ({COMMANDS['tracer:start'].usage})")
        said["id"], said["uri"], *filters = filters
    wanted = {"id": said["id"], "to": [await _target(switch, said["uri"])]} | _conditions(filters)
    wanted |= {key: said[name] for name, key in START_WORDS.items() if name in said}
    try:
        await switch.start_trace(convert(wanted, TraceStart, strict=False))
    except (RefusedError, MsgspecError) as error:
        raise _refused(error, 500) from error
    return OK


@_command("tracer:stop", "trace_stop", recipes=("id",))
async def _trace_stop(switch: Switch, id: str) -> Any:
    """stops the dynamic traces of this id"""
    try:
        await switch.stop_trace(id)
    except RefusedError as error:
        raise _refused(error, 400) from error
    return OK


async def _target(switch: Switch, uri: str) -> str:
    """Where a trace goes to: hep:NAME is one of the switch's destinations, if there is one of that name."""
    kind, rest = _parted(uri)
    if kind not in TRACE_KINDS:
        kinds = ", ".join(f"{kind}:" for kind in TRACE_KINDS)
        raise CallError(
            406, "DB not acceptable", f"{uri!r} is nothing to trace to: it has to begin with one of {kinds}"
        )
    if kind != "hep":
        return uri
    if rest in await switch.dispatcher():
        return f"destination:{rest}"
    return uri if "mark" in rest else f"{uri};mark=no"  # opensips-cli's own `trace` ends at a chunk of another vendor


def _parted(target: str) -> tuple[str, str]:
    """What begins a target (`syslog@udp://…` has no colon there), and the rest."""
    kind = target.partition(":")[0].partition("@")[0]
    return kind, target.removeprefix(kind).removeprefix(":")


def _conditions(filters: list[str]) -> dict[str, str]:
    """The conditions of `TraceStart`."""
    said: dict[str, str] = {}
    expressions = []
    for text in filters:
        name, equals, value = text.partition("=")
        name = name.lower()
        if not equals or name not in ("caller", "callee", "ip"):
            expressions.append(text)
        elif name in said:
            raise CallError(500, "Bad parameter value", f"{name} is there twice, and both cannot hold")
        else:
            said[name] = value
    if expressions:
        said["filter"] = expressions[0] if len(expressions) == 1 else " and ".join(f"({text})" for text in expressions)
    return said


def _refused(error: Exception, code: int) -> CallError:
    """As OpenSIPS' tracer answers what cannot be done: one phrase, with our words behind it."""
    return CallError(code, "Bad parameter value", str(error))


def _mode(on: bool) -> str:
    return "on" if on else "off"


def _is_on(mode: str) -> bool:
    if mode.lower() not in ("on", "off"):
        raise CallError(500, "Bad parameter value", f"a mode is 'on' or 'off', not {mode!r}")
    return mode.lower() == "on"
