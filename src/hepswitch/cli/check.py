"""`hepswitch check`: the configuration and the route, without running them on packets."""

from __future__ import annotations

from pathlib import Path

import click

from hepswitch.cli.options import config_option


@click.command("check")
@config_option
@click.option(
    "--run", "recordings", multiple=True, metavar="FILE", type=click.Path(path_type=Path, exists=True),
    help="Also show what the route would do with the packets of a pcap, pcapng or HEP file, or of a lake; repeatable.",
)  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True,
    help="Print the configuration as it is understood, as JSON; with --run an object for each packet.",
)  # fmt: skip
def cli(config: Path | None, recordings: tuple[Path, ...], as_json: bool) -> None:
    """Check the configuration and its route file; every mistake is named, with its line.

    The route file is imported, as `run` would do it; no socket is opened.

    \b
    Example:
      hepswitch check --config hepswitch.toml
      hepswitch check --config hepswitch.toml --run calls.pcapng
    """
    from hepswitch.config import ConfigError
    from hepswitch.preflight import examine

    try:
        settings = examine(config)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    if recordings:
        from hepswitch.cli.dry_run import dry_run

        dry_run(settings, recordings, as_json)
        return
    if as_json:
        click.echo(settings.model_dump_json(indent=2))
        return
    click.echo(f"{config or 'defaults'}: ok")
    click.echo(f"  listen        {', '.join(settings.listen)}")
    route = settings.hep_route
    click.echo(f"  route         {route.mode}" + (f" ({route.script})" if route.script else ""))
    for name, destination in settings.destinations.items():
        click.echo(f"  destination   {name}: {destination.policy} of {', '.join(destination.urls)}")
    for name, store in settings.stores.items():
        click.echo(f"  store         {name}: {store.url}")
    for name, trace in settings.traces.items():
        click.echo(f"  trace         {name}: {', '.join(trace.to)}")
