"""`hepswitch ctl`: change a running switch: reload its configuration; list, drain, pause and weigh nodes.

Not here: traces and capturing (`ctl_trace`).
"""

from __future__ import annotations

import json
import time
from typing import Any

import click

from hepswitch.cli.ctl_trace import capture, trace
from hepswitch.cli.remote import Remote, remote_options
from hepswitch.cli.tables import plain, print_table

POLL = 0.2
"""Seconds between two looks while a node drains."""

COLUMNS = (
    "set",
    "policy",
    "node",
    "state",
    "weight",
    "priority",
    "queued",
    "spooled",
    "delivered",
    "since",
    "last error",
)
NUMBERS = {"weight", "priority", "queued", "spooled", "delivered"}


@click.group("ctl")
def cli() -> None:
    """Change a running switch over its control listener.

    \b
    Example:
      hepswitch ctl reload
      hepswitch ctl dispatcher list
      hepswitch ctl dispatcher drain homer tcp://10.0.0.2:9060 --wait
      hepswitch ctl trace start --id t1 --to file:alice.sip --filter 'caller = alice'
      hepswitch ctl capture off
    """


cli.add_command(trace)
cli.add_command(capture)


@cli.command("reload")
@remote_options
def reload(remote: Remote) -> None:
    """Read the configuration file and the route file again, as SIGHUP does.

    A file with a mistake is refused as a whole, and the switch goes on as it was: exit status 1, and every mistake is
    named. Keys that need a restart are named too.

    \b
    Example:
      hepswitch ctl reload
    """
    _reload(remote, {})


@cli.group("dispatcher")
def dispatcher() -> None:
    """The nodes that packets are relayed to.

    \b
    Example:
      hepswitch ctl dispatcher list homer
      hepswitch ctl dispatcher set homer udp://10.0.0.1:9060 --weight 2
    """


@dispatcher.command("reload")
@remote_options
def reload_dispatcher(remote: Remote) -> None:
    """Read only the [destinations] of the configuration file again.

    \b
    Example:
      hepswitch ctl dispatcher reload
    """
    _reload(remote, {"only": "dispatcher"})


@dispatcher.command("list")
@click.argument("name", metavar="[SET]", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@remote_options
def show(remote: Remote, name: str | None, as_json: bool) -> None:
    """Show the sets, or one of them: every node with its state and what waits for it.

    \b
    Example:
      hepswitch ctl dispatcher list
      hepswitch ctl dispatcher list homer --json | jq '.homer.nodes[].state'
    """
    sets = remote.get("/api/v1/destinations")
    if name is not None:
        if name not in sets:
            click.echo(f"no destination is named {name!r} (configured: {', '.join(sets) or 'none'})", err=True)
            raise SystemExit(1)
        sets = {name: sets[name]}
    if as_json:
        click.echo(json.dumps(sets))
    else:
        _table(sets)


@dispatcher.command("set")
@click.argument("name", metavar="SET")
@click.argument("node")
@click.option(
    "--state",
    type=click.Choice(["enabled", "disabled", "paused"]),
    help="disabled: no new packets, what it holds is delivered; paused: packets wait for it.",
)
@click.option("--weight", type=click.FloatRange(min=0, min_open=True), help="Its share, compared with the others.")
@click.option("--priority", type=int, help="The nodes of the highest priority come first.")
@remote_options
def change(remote: Remote, name: str, node: str, **said: Any) -> None:
    """Change the node NODE (its URL) of a set, until the switch ends or the file says otherwise.

    \b
    Example:
      hepswitch ctl dispatcher set homer tcp://10.0.0.2:9060 --state paused
      hepswitch ctl dispatcher set homer tcp://10.0.0.2:9060 --state enabled --weight 0.5
    """
    change = {key: value for key, value in said.items() if value is not None}
    if not change:
        raise click.UsageError("nothing to change: say --state, --weight or --priority")
    remote.post("/api/v1/destinations", {"set": name, "node": node, **change})
    click.echo(f"{name}: {node}: {', '.join(f'{key} {value}' for key, value in change.items())}")


@dispatcher.command("drain")
@click.argument("name", metavar="SET")
@click.argument("node")
@click.option("--wait", is_flag=True, help="Return when nothing waits for the node any more, in memory or on disk.")
@remote_options
def drain(remote: Remote, name: str, node: str, wait: bool) -> None:
    """Give the node no new packets; it gets those that it was given before. `set … --state enabled` ends it.

    \b
    Example:
      hepswitch ctl dispatcher drain homer tcp://10.0.0.2:9060 --wait
    """
    remote.post("/api/v1/destinations", {"set": name, "node": node, "state": "disabled"})
    click.echo(f"{name}: {node}: disabled")
    while wait and (left := _waiting(remote, name, node)):
        click.echo(f"{left:,} packets wait", err=True)
        time.sleep(POLL)


def _waiting(remote: Remote, name: str, node: str) -> int:
    """Packets in memory and on disk for the node; none when a reload has taken it away."""
    from hepswitch.units import parse_endpoint

    nodes = remote.get("/api/v1/destinations").get(name, {"nodes": []})["nodes"]
    url = str(parse_endpoint(node))
    return sum(each["queued"] + each["spooled"] for each in nodes if each["url"] == url)


def _reload(remote: Remote, body: dict[str, Any]) -> None:
    done = remote.post("/api/v1/reload", body)
    click.echo(f"reloaded; changed: {', '.join(done['changed']) or 'nothing but what the files themselves hold'}")
    if done["restart"]:
        click.echo(f"these keys have changed too and need a restart: {', '.join(done['restart'])}", err=True)


def _table(sets: dict[str, Any]) -> None:
    rows = [[plain(name), row["policy"], *_cells(node)] for name, row in sets.items() for node in row["nodes"]]
    print_table(COLUMNS, rows, numbers=NUMBERS, whole="node")  # a node's URL is there to be copied


def _cells(node: dict[str, Any]) -> list[str]:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(node["since"]))
    colour = "green" if node["state"] == "active" else "yellow"
    return [
        plain(node["url"]),
        f"[{colour}]{node['state']}[/]",
        f"{node['weight']:g}",
        str(node["priority"]),
        *(f"{node[key]:,}" for key in ("queued", "spooled", "delivered")),
        since,
        plain(node["last_error"]),
    ]
