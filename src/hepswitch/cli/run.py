"""`hepswitch run`: the switch in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from hepswitch.cli.options import config_option


@click.command("run")
@config_option
def cli(config: Path | None) -> None:
    """Run the switch until SIGINT or SIGTERM; SIGHUP reloads the route and the destinations.

    Without a configuration: HEP on 127.0.0.1:9060 (udp and tcp), everything stored in ./captures, statistics on
    http://127.0.0.1:9080.

    \b
    Example:
      hepswitch run
      hepswitch run --config hepswitch.toml
    """
    import uvloop

    from hepswitch import logs
    from hepswitch.config import ConfigError, load
    from hepswitch.routing.script import ScriptError
    from hepswitch.routing.script import load as load_script
    from hepswitch.supervisor import Supervisor, WorkerError

    try:
        settings = load(config)
        logs.setup(settings.log.level, settings.log.format)
        if settings.hep_route.script is not None:
            load_script(settings.hep_route.script, settings.destinations, settings.stores)
        supervisor = Supervisor(settings, config)
        supervisor.bind()
    except (ConfigError, ScriptError) as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    try:
        uvloop.run(supervisor.run())
    except* (WorkerError, OSError) as group:
        click.echo("\n".join(logs.words(error) for error in group.exceptions), err=True)
        raise SystemExit(1) from None
