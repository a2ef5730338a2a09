"""A worker: one process with an event loop and a `Switch`, told what to do by the supervisor over a socket pair.

Started as `python -m hepswitch.worker FD`. The supervisor writes one JSON object a line and gets one line back for each:
first `{"config": …, "sockets": [[fd, …], …], "worker": n, "said": {…}, "memory": fd, "bus": [[fd, fd], …]}` (`sockets`:
those of each listener; `memory`: what the workers share, or null; `bus`: ear and mouth of each worker, none when there is
but one), answered with `{"ready": true, "stats": the books}`, then `{"do": …}`:

    stats                             {"stats": the books}
    agents                            {"agents": who sends packets, "forgotten": how many are not known any more}
    dispatcher                        {"sets": every set's policy and nodes}
    set_node, change                  {"changed": true}
    capture, on                       {"capturing": on}
    start_trace, start, number        {"started": true}
    stop_trace, id                    {"stopped": true}
    set_tracing, on, id               {"switched": true}
    watch, watching                   {"watching": true}: `Watching`
    watched, ids                      {"watched": what these taps have found, `Found` by id}; others are taken away
    events                            {"events": the warnings and errors since the last time}
    reload, config, route, changes    {"reloaded": true}
    stop                              {"stopped": true, "stats": the books at the end}

`said` is what was said at run time and holds on, null for a worker that is started first: `nodes` (`NodeChange`, also the
`changes` of a reload), `capturing`, `traces` (`start`: list of number and `TraceStart`, `switches` by id, `on`) and
`watching` (list of `Watching`). What
cannot be done is answered with `{"error": words}`.
When the supervisor is gone the worker stops as if told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import mmap
import signal
import socket
import sys
from typing import Any

import msgspec
import structlog
import uvloop

from hepswitch import logs
from hepswitch.config import Config
from hepswitch.destinations.sets import NodeChange
from hepswitch.routing.script import ScriptError
from hepswitch.switch import Switch
from hepswitch.tracing.bus import Bus
from hepswitch.tracing.dynamic import TraceStart
from hepswitch.tracing.taps import Watching

log = structlog.get_logger("hepswitch.worker")

LINE_LIMIT = 16 << 20
"""Bytes of one message. A longer answer would be taken for a broken line."""

COMPLAIN_EVERY = 60.0
"""Seconds between two log lines about answers that cannot be given."""


async def _serve(channel: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=channel, limit=LINE_LIMIT)

    throttle = logs.Throttle(COMPLAIN_EVERY)

    async def say(message: dict[str, Any]) -> None:
        try:
            line = _line(message)
        except ValueError as error:
            if throttle.due(str(error)) is not None:
                log.error("answer cannot be given", error=str(error))
            line = _line({"error": str(error)})
        writer.write(line)
        await writer.drain()

    first = msgspec.json.decode(await reader.readline())
    config = Config.model_validate(first["config"])
    logs.setup(config.log.level, config.log.format)
    sockets = [[socket.socket(fileno=fd) for fd in numbers] for numbers in first["sockets"]]
    memory = None if first["memory"] is None else mmap.mmap(first["memory"], 0)
    try:
        switch = Switch(config, sockets, first["worker"], memory, _bus(first["worker"], first["bus"]))
        said = first["said"] or {"nodes": [], "capturing": True, "traces": None, "watching": []}
        _apply(switch, said["nodes"])
        switch.context.capturing = said["capturing"]
        await switch.open(again=first["said"] is not None)
        if said["traces"] is not None:
            await _trace_again(switch, said["traces"])
            if switch.tracer.sharing is not None:
                await switch.tracer.sharing.catch_up()
        _watch_again(switch, said["watching"])
        await switch.start()
    except Exception as error:  # noqa: BLE001 (told and logged)
        await say(_trouble(error, "worker cannot start"))
        raise SystemExit(1) from None
    # What lives now lives for good: do not walk it again in every collection.
    gc.collect()
    gc.freeze()
    await say({"ready": True, "stats": switch.snapshot()})
    while line := await reader.readline():
        message = msgspec.json.decode(line)
        if message["do"] == "stop":
            break
        try:
            answer = await _do(switch, message)
        except Exception as error:  # noqa: BLE001 (told and logged)
            answer = _trouble(error, f"{message['do']} failed")
        await say(answer)
    await switch.stop()
    with contextlib.suppress(ConnectionError):
        await say({"stopped": True, "stats": switch.snapshot()})
    writer.close()


def _bus(worker: int, ends: list[list[int]]) -> Bus | None:
    """This worker's place at the bus. The ends that it has no use for are closed."""
    if not ends:
        return None
    pairs = [(socket.socket(fileno=ear), socket.socket(fileno=mouth)) for ear, mouth in ends]
    ear, own_mouth = pairs.pop(worker)
    own_mouth.close()
    mouths = {}
    for number, (other_ear, mouth) in enumerate(pairs):
        other_ear.close()
        mouths[number + (number >= worker)] = mouth
    return Bus(ear, mouths)


def _line(message: dict[str, Any]) -> bytes:
    """`message` as one line. ValueError when it cannot be written, or is too long."""
    line = msgspec.json.encode(message) + b"\n"
    if len(line) > LINE_LIMIT:
        kinds = ", ".join(message)
        raise ValueError(
            f"an answer ({kinds}) has more than {LINE_LIMIT} bytes: does the script keep too many counters?"
        )
    return line


async def _do(switch: Switch, message: dict[str, Any]) -> dict[str, Any]:
    """Do what the supervisor says; the answer."""
    match message["do"]:
        case "stats":
            return {"stats": switch.snapshot()}
        case "agents":
            return {"agents": switch.meter.agents.rows(), "forgotten": switch.meter.agents.forgotten}
        case "dispatcher":
            return {"sets": switch.sets.info()}
        case "set_node":
            _apply(switch, [message["change"]])
            return {"changed": True}
        case "capture":
            switch.context.capturing = message["on"]
            return {"capturing": switch.context.capturing}
        case "reload":
            await switch.reload(Config.model_validate(message["config"]), route=message["route"])
            _apply(switch, message["changes"])
            return {"reloaded": True}
        case "start_trace":
            try:
                await switch.start_trace(msgspec.convert(message["start"], TraceStart), message["number"])
            except ValueError as error:
                return {"error": str(error)}
            return {"started": True}
        case "stop_trace":
            switch.stop_trace(message["id"])
            return {"stopped": True}
        case "set_tracing":
            switch.set_tracing(message["on"], message["id"])
            return {"switched": True}
        case "watch":
            switch.watch(msgspec.convert(message["watching"], Watching))
            return {"watching": True}
        case "watched":
            return {"watched": switch.taps.take(message["ids"])}
        case "events":
            return {"events": logs.recent.take()}
        case unknown:
            raise ValueError(f"the supervisor says {unknown!r}: not the same version?")


async def _trace_again(switch: Switch, said: dict[str, Any]) -> None:
    """Trace as the worker did that this one replaces."""
    switch.set_tracing(said["on"], None)
    for id, on in said["switches"].items():
        switch.set_tracing(on, id)
    for number, start in msgspec.convert(said["start"], list[tuple[int, TraceStart]]):
        try:
            await switch.start_trace(start, number)
        except (OSError, ValueError) as error:  # packets matter more
            log.error("trace cannot be started again", trace=start.id, error=logs.words(error))


def _watch_again(switch: Switch, said: list[dict[str, Any]]) -> None:
    for watching in msgspec.convert(said, list[Watching]):
        try:
            switch.watch(watching)
        except ValueError as error:  # its list is gone; packets matter more
            log.warning("packets cannot be watched again", filter=watching.filter, error=str(error))


def _apply(switch: Switch, changes: list[dict[str, Any]]) -> None:
    for change in msgspec.convert(changes, list[NodeChange]):
        switch.sets.set_node(change)


def _trouble(error: Exception, what: str) -> dict[str, Any]:
    if not isinstance(error, (OSError, ScriptError)):  # these say all there is to say
        log.exception(what, exc_info=error)
    return {"error": logs.words(error)}


def main() -> None:
    """Entry point of the process; ends when the supervisor says so or is gone."""
    # Terminals and service managers signal every process of a group: the supervisor alone decides what it means.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    uvloop.run(_serve(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
