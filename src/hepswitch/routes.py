"""What the configuration makes of a packet's way: the rules, the script and the mode, as two functions.

    rules ──▶ mode "store": the default store     "sip": the SIP route     "script": the HEP route     "rules": nothing more

Not here: calling them (`routing.flow`), loading a file (`routing.script`), compiling rules (`routing.rules`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hepswitch.config import Config
from hepswitch.routing import script
from hepswitch.routing.packet import Message, Packet
from hepswitch.routing.rules import Rules

MODE = ("hep_route", "mode")

HepRoute = Callable[[Packet], Any]
SipRoute = Callable[[Message], Any]


@dataclass(frozen=True, slots=True)
class Routes:
    """`hep` and `sip` as `Flow` takes them; `policies`: the script's functions for `policy = "script:NAME"`."""

    hep: HepRoute | None = None
    sip: SipRoute | None = None
    rules: Rules | None = None
    policies: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


def load_routes(config: Config, lists: Mapping[str, Container[str]]) -> Routes:
    """Load the script and compile the rules. Raises ScriptError."""
    loaded = _script(config)
    hep, sip = (loaded.hep_route, loaded.sip_route) if loaded else (None, None)
    mode = config.hep_route.mode
    if mode != "script":
        hep = None
    policies = loaded.policies if loaded else {}
    check_policies(config, policies)
    if not config.rule and mode != "rules":
        return Routes(hep, sip, None, policies)
    rest: dict[str, HepRoute | None] = {"store": _store, "sip": _resume, "script": hep, "rules": _nothing}
    then = rest[mode]
    assert then is not None
    for number, rule in enumerate(config.rule):
        if rule.resume and sip is None:
            raise script.ScriptError(
                "resume goes on in the SIP route, and there is none: mark a function with @sip_route in hep_route.script",
                ("rule", str(number), "resume"),
            )
    rules = Rules(config.rule, lists, then)
    return Routes(rules.route, sip, rules, policies)


def _script(config: Config) -> script.Script | None:
    table = config.hep_route
    if table.script is None:
        return None
    loaded = script.load(table.script, config.destinations, config.stores, config.traces)
    if table.mode == "script" and loaded.hep_route is None:
        raise script.ScriptError(f'{table.script}: mode = "script" needs a function marked @hep_route', MODE)
    if table.mode == "sip" and loaded.sip_route is None:
        raise script.ScriptError(f'{table.script}: mode = "sip" needs a function marked @sip_route', MODE)
    return loaded


def check_policies(config: Config, known: Iterable[str]) -> None:
    """ScriptError when a destination names a policy that the script does not have."""
    for name, table in config.destinations.items():
        wanted = table.policy.removeprefix("script:")
        if wanted != table.policy and wanted not in known:
            raise script.ScriptError(
                f"policy = {table.policy!r} needs a function {wanted} marked @policy in the route file "
                f"(there: {', '.join(sorted(known)) or 'none'})",
                ("destinations", name, "policy"),
            )


def _store(hep: Packet) -> None:
    hep.store()


def _resume(hep: Packet) -> None:
    hep.resume_sip()


def _nothing(hep: Packet) -> None:
    pass
