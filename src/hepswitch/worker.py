"""A worker: one process with an event loop and a `Switch`, told what to do by the supervisor over a socket pair.

Started as `python -m hepswitch.worker FD`. The supervisor writes one JSON object a line and gets one line back for each:
first `{"config": …, "sockets": [fd, …], "worker": n, "memory": fd}` (`memory`: what the workers share, or null), then
`{"do": "stats" | "reload" | "stop"}`. When the supervisor is gone the worker stops as if told to.
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
from hepswitch.routing.script import ScriptError
from hepswitch.switch import Switch

log = structlog.get_logger("hepswitch.worker")

LINE_LIMIT = 16 << 20


async def _serve(channel: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=channel, limit=LINE_LIMIT)

    async def say(message: dict[str, Any]) -> None:
        writer.write(msgspec.json.encode(message) + b"\n")
        await writer.drain()

    first = msgspec.json.decode(await reader.readline())
    config = Config.model_validate(first["config"])
    logs.setup(config.log.level, config.log.format)
    sockets = [socket.socket(fileno=fd) for fd in first["sockets"]]
    memory = None if first["memory"] is None else mmap.mmap(first["memory"], 0)
    try:
        switch = Switch(config, sockets, first["worker"], memory)
        await switch.start()
    except Exception as error:
        if not isinstance(error, (OSError, ScriptError)):  # these say all there is to say
            log.exception("worker cannot start", worker=first["worker"])
        await say({"error": logs.words(error)})
        raise SystemExit(1) from None
    # What lives now lives for good: do not walk it again in every collection.
    gc.collect()
    gc.freeze()
    await say({"ready": True})
    while line := await reader.readline():
        match msgspec.json.decode(line)["do"]:
            case "stats":
                await say({"stats": switch.snapshot()})
            case "reload":
                try:
                    switch.load_route()
                    await say({"reloaded": True})
                except ScriptError as error:
                    await say({"error": str(error)})
            case "stop":
                break
    await switch.stop()
    with contextlib.suppress(ConnectionError):
        await say({"stopped": True, "stats": switch.snapshot()})
    writer.close()


def main() -> None:
    """Entry point of the process; ends when the supervisor says so or is gone."""
    # Terminals and service managers signal every process of a group: the supervisor alone decides what it means.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    uvloop.run(_serve(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
