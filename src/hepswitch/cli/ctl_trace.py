"""`hepswitch ctl trace` and `ctl capture`: what a running switch traces, and whether it stores."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from hepswitch.cli.remote import Remote, remote_options
from hepswitch.cli.tables import plain, print_table

COLUMNS = ("trace", "state", "to", "filter", "scope", "types", "packets", "requests", "replies", "calls", "ends")
NUMBERS = {"packets", "requests", "replies", "calls"}


@click.group("trace")
def trace() -> None:
    """Trace calls, transactions or messages to files, databases, HEP, SIP or syslog.

    \b
    Example:
      hepswitch ctl trace start --id t1 --to file:alice.sip --filter 'caller = alice'
      hepswitch ctl trace list
      hepswitch ctl trace stop t1
    """


def _target(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> list[str]:
    """Files are named from where the command is called, not from where the switch runs."""
    return [_anchored(text) for text in texts]


def _anchored(text: str) -> str:
    kind, _, path = text.partition(":")
    return f"{kind}:{Path.cwd() / Path(path).expanduser()}" if kind in ("file", "pcap") and path else text


def _seconds(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    from hepswitch.units import parse_duration

    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@trace.command("start")
@click.option("--id", required=True, help="What the trace is called.")
@click.option(
    "--to",
    required=True,
    multiple=True,
    metavar="TARGET",
    callback=_target,
    help="file:PATH, pcap:PATH, syslog[:FACILITY[:LEVEL]], sip:HOST[:PORT], hep:HOST[:PORT][;transport=udp], store:NAME or "
    "destination:NAME. Several times: to all of them.",
)
@click.option("--filter", metavar="CONDITION", help="Only what fulfils this condition (as in rules).")
@click.option("--caller", metavar="USER[@DOMAIN]", help="Only calls from this user.")
@click.option("--callee", metavar="USER[@DOMAIN]", help="Only calls to this user.")
@click.option("--ip", metavar="ADDRESS", help="Only what this address sent.")
@click.option(
    "--scope",
    type=click.Choice(["message", "transaction", "dialog", "b2b"]),
    help="How much of it: this message alone, its transaction, its dialog, all its legs.  [default: dialog]",
)
@click.option("--types", metavar="TYPES", help="sip, rtcp, log …, between commas.  [default: all]")
@click.option(
    "--for", "seconds", metavar="DURATION", callback=_seconds, help="End it after this time, for example 10m."
)
@click.option("--packets", type=click.IntRange(min=1), help="End it after so many packets.")
@click.option("--attrs", help="Text that is stored with each packet (trace_attrs).")
@click.option("--correlation-id", help="Instead of the Call-ID, to tie several calls together.")
@click.option("--flags", metavar="C|c", help="C: the caller's side only; c: the callee's.")
@remote_options
def start(remote: Remote, **said: Any) -> None:
    """Start a trace, until `trace stop`, --for or --packets ends it, or the switch ends. All conditions must hold.

    \b
    Example:
      hepswitch ctl trace start --id t1 --to file:alice.sip --filter 'caller = alice' --scope dialog
      hepswitch ctl trace start --id t2 --to hep:10.0.0.1:9060 --callee bob@example.net --for 10m --packets 1000
    """
    wanted = {key: value for key, value in said.items() if value is not None}
    remote.post("/api/v1/traces", wanted)
    click.echo(f"{wanted['id']}: started, to {', '.join(wanted['to'])}")


@trace.command("stop")
@click.argument("id")
@remote_options
def stop(remote: Remote, id: str) -> None:
    """Stop a trace that was started at run time.

    \b
    Example:
      hepswitch ctl trace stop t1
    """
    remote.post("/api/v1/traces/stop", {"id": id})
    click.echo(f"{id}: stopped")


@trace.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@remote_options
def show(remote: Remote, as_json: bool) -> None:
    """Show the traces: where they go, what they take, how much it has been.

    \b
    Example:
      hepswitch ctl trace list
      hepswitch ctl trace list --json | jq '.traces.t1.packets'
    """
    told = remote.get("/api/v1/traces")
    if as_json:
        click.echo(json.dumps(told))
        return
    rows = [_cells(name, row) for name, row in told["traces"].items()]
    print_table(COLUMNS, rows, numbers=NUMBERS, whole="to")
    click.echo(f"tracing is {_mode(told['on'])}; {told['calls']:,} calls and transactions are being traced")
    for reason, count in told["evicted"].items():
        click.echo(f"{count:,} were given up: {reason}")


@trace.command("on")
@click.argument("id", required=False)
@remote_options
def switch_on(remote: Remote, id: str | None) -> None:
    """Switch tracing on, or the trace ID of the configuration. Traces started at run time do not ask.

    \b
    Example:
      hepswitch ctl trace on fraud
    """
    _switch(remote, id, True)


@trace.command("off")
@click.argument("id", required=False)
@remote_options
def switch_off(remote: Remote, id: str | None) -> None:
    """Switch tracing off, or the trace ID of the configuration.

    \b
    Example:
      hepswitch ctl trace off
    """
    _switch(remote, id, False)


def _switch(remote: Remote, id: str | None, on: bool) -> None:
    remote.post("/api/v1/traces/switch", {"on": on} | ({} if id is None else {"id": id}))
    click.echo(f"{'tracing' if id is None else id}: {_mode(on)}")


@click.command("capture")
@click.argument("mode", type=click.Choice(["on", "off"]), required=False)
@remote_options
def capture(remote: Remote, mode: str | None) -> None:
    """Say whether packets are put into stores, or switch that on or off. Relaying and tracing go on.

    \b
    Example:
      hepswitch ctl capture
      hepswitch ctl capture off
    """
    said = remote.get("/api/v1/capture") if mode is None else remote.post("/api/v1/capture", {"on": mode == "on"})
    click.echo(f"capturing: {_mode(said['on'])}")


def _cells(name: str, row: dict[str, Any]) -> list[str]:
    state = "dynamic" if row["dynamic"] else _mode(row["on"])
    ends = [] if row["until"] is None else [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["until"]))]
    ends += [] if row["left"] is None else [f"{row['left']:,} packets more"]
    numbers = [f"{row[key]:,}" for key in ("packets", "requests", "replies", "calls")]
    types = ",".join(str(each) for each in row["types"] or ["all"])
    texts = (name, state, ", ".join(row["to"]), row["filter"] or "", row["scope"] or "", types)
    return [*map(plain, texts), *numbers, " or ".join(ends)]


def _mode(on: bool) -> str:
    return "on" if on else "off"
