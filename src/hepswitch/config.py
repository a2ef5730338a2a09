"""The configuration: the TOML file as checked models, every mistake at once with its file, line and a hint.

Each destination and store defines its own table beside its code (`destinations.hep.HepDestination`,
`destinations.lake.LakeStore`); this module joins them. Zero configuration is `Config()`.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationError,
    model_validator,
)

from hepswitch import toml_places
from hepswitch.control_table import ControlTable
from hepswitch.destinations.hep import HepDestination
from hepswitch.destinations.sets import check_fallbacks
from hepswitch.destinations.stores import KINDS, Store
from hepswitch.destinations.streams import StreamStore
from hepswitch.masks import MaskTable
from hepswitch.metering.table import MetricsTable
from hepswitch.net.resolve import TIMEOUT, name_server
from hepswitch.net.tls import anchored_options
from hepswitch.references import TABLES
from hepswitch.routing.guards import AccessTable, DuplicatesTable, LimitTable, listener_access
from hepswitch.routing.rules import Rule
from hepswitch.sources import ways
from hepswitch.sources.stream import read_from
from hepswitch.state.configured import ListTable
from hepswitch.tables import REVEALED, Duration, Size, Table
from hepswitch.tracing.own import anchored, leads_to
from hepswitch.tracing.traces import TracerTable, TraceTable
from hepswitch.units import PORTS, Endpoint

ENVIRONMENT = "HEPSWITCH_"
"""Prefix of environment overrides: HEPSWITCH_WORKERS=4, HEPSWITCH_HEP_ROUTE__MODE=sip (`__` goes a table deeper)."""

SECRETIVE = {"access", "masks", "set"}
"""Tables whose values are not repeated in messages: a secret may stand in the wrong place."""

NOT_CONFIGURATION = {
    "HEPSWITCH_CONFIG", "HEPSWITCH_LAKE", "HEPSWITCH_URL", "HEPSWITCH_TOKEN", "HEPSWITCH_USER",
    "HEPSWITCH_PASSWORD", "HEPSWITCH_SANITIZE",
}  # fmt: skip
"""What commands and builds read for themselves."""


class ConfigError(Exception):
    """The configuration cannot be used. One line for each mistake."""


class Places:
    """Where the mistakes in the file `path` (None: there is none) with this `text` are."""

    def __init__(self, path: Path | None, text: str) -> None:
        self._source = str(path or "configuration")
        self._lines = toml_places.Places(text)

    def said(self, location: Sequence[str], message: str) -> str:
        """`file:line: key: message`, in one line."""
        line = self._lines.line(location)
        place = f"{self._source}:{line}" if line else self._source
        return f"{place}: {'.'.join(location) or 'configuration'}: {message}"


def _listen_url(text: str) -> str:
    listener_access(ways.parse(text), AccessTable())
    return text


ListenUrl = Annotated[str, AfterValidator(_listen_url)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]


class HepRouteTable(Table):
    """`[hep_route]`: what happens to each HEP packet."""

    mode: Literal["store", "sip", "script", "rules"] = Field(
        "store",
        description='"store": straight to the default store, no script; "sip": the SIP route only; "script": the HEP route; '
        '"rules": the [[rule]] tables alone, the mode if there are any and nothing else is said. In the other modes rules '
        "come first.",
    )
    script: Path | None = Field(None, description="The route file (Python). Relative to the configuration file.")
    on_error: Literal["store", "drop"] = Field(
        "store",
        description="What becomes of a packet whose route raised: stored (if not stored yet) as it is at that moment, "
        "hence perhaps not masked yet; or dropped.",
    )

    @model_validator(mode="after")
    def _script_fits_mode(self) -> HepRouteTable:
        if self.mode in ("sip", "script") and self.script is None:
            raise ValueError(f'mode = "{self.mode}" needs a route file: add script = "route.py"')
        if self.mode == "store" and self.script is not None:
            raise ValueError('script is set but mode = "store" would never call it: write mode = "script"')
        return self


def _name_server(text: str) -> str:
    name_server(text)
    return text


class DnsTable(Table):
    """`[dns]`: who is asked for the addresses of destinations."""

    servers: list[Annotated[str, AfterValidator(_name_server)]] = Field(
        [], description="Name servers, address[:port]. Without any: those of the system (/etc/resolv.conf)."
    )
    timeout: Duration = Field(TIMEOUT, gt=0, description="How long one name server may take to answer.")


class LogTable(Table):
    """`[log]`: what the switch says about itself, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level that is written.")
    format: Literal["console", "json"] = Field("console", description="For a person or for a machine.")


class Config(Table):
    """The whole file. Every key may be left out."""

    listen: list[ListenUrl] = Field(
        ["udp://127.0.0.1:9060", "tcp://127.0.0.1:9060"],
        min_length=1,
        description="Where packets arrive. HEP: udp://, tcp://, tls://host:port?cert=FILE&key=FILE[&client_ca=FILE]. Plain "
        "SIP: sip://host:port[?transport=tcp]. Interfaces, tunnels, recordings and streams: see Listeners below. "
        "`?allow=10.0.0.0/8,192.0.2.1&deny=…` replaces the lists of [access] for one listener.",
    )
    workers: int = Field(1, ge=1, le=256, description="Processes that receive and route.")
    receive_buffer: Size = Field(
        16 << 20,
        description="Kernel buffer of each UDP socket; the kernel's own limit may cap it (a warning says so).",
    )
    spool_dir: Path = Field(Path("spool"), description="Where packets for destinations that are away wait.")
    switch_id: int = Field(
        0,
        ge=0,
        le=0xFFFFFFFF,
        description="This switch's id in the trail that relayed packets carry, by which loops are recognised. "
        "0: drawn once and kept in `spool_dir`.",
    )
    drain: Duration = Field(5.0, description="How long a stop waits for destinations to take what is queued.")
    access: AccessTable = AccessTable()
    limits: list[LimitTable] = Field([], description="Rate limits: see `[[limits]]`.")
    duplicates: DuplicatesTable = DuplicatesTable()
    hep_route: HepRouteTable = HepRouteTable()
    rule: list[Rule] = Field([], description="Routing without a script: see `[[rule]]`.")
    lists: dict[Name, ListTable] = Field({}, description="Lists in files, for conditions (`in @NAME`).")
    masks: dict[Name, MaskTable] = Field({}, description="Ways to mask packets, by name.")
    destinations: dict[Name, HepDestination] = Field({}, description="Where packets are relayed to, by name.")
    stores: dict[Name, Store] = Field(
        {},
        description="Where packets are stored, by name. The first is the default store; without any: lake:./captures.",
    )
    traces: dict[Name, TraceTable] = Field({}, description="Trace ids: where traced packets go, by name.")
    tracer: TracerTable = TracerTable()
    metrics: MetricsTable = MetricsTable()
    control: ControlTable = ControlTable()
    dns: DnsTable = DnsTable()
    log: LogTable = LogTable()

    @model_validator(mode="before")
    @classmethod
    def _rules_are_a_route(cls, data: Any) -> Any:
        """Rules with nothing said about the route: they are the route."""
        if isinstance(data, dict) and data.get("rule"):
            route = data.get("hep_route", {})
            if isinstance(route, dict) and not {"mode", "script"} & route.keys():
                return data | {"hep_route": route | {"mode": "rules"}}
        return data

    @model_validator(mode="after")
    def _names_are_unambiguous(self) -> Config:
        # With port 0 each gets a port of its own; what is captured has no ports.
        fixed = [endpoint for endpoint in self.endpoints if endpoint.port or endpoint.scheme not in PORTS]
        listeners = [str(endpoint).removesuffix(":0") for endpoint in fixed]
        twice = {url for url in listeners if listeners.count(url) > 1}
        if twice:
            raise ValueError(f"listen names {', '.join(sorted(twice))} more than once")
        return self

    @model_validator(mode="after")
    def _traces_do_not_come_back(self) -> Config:
        for name, trace in self.traces.items():
            for to in trace.to:
                if listener := leads_to(to, self.endpoints):
                    raise ValueError(
                        f"traces.{name}: what goes to {to} comes back at {listener}, and would go in circles: name another "
                        "far end"
                    )
        return self

    @model_validator(mode="after")
    def _streams_do_not_come_back(self) -> Config:
        for name, store in self.stores.items():
            if isinstance(store, StreamStore) and (listener := read_from(store, self.endpoints)):
                raise ValueError(
                    f"stores.{name}: what goes to {store.address} comes back at {listener}, and would go in circles: name "
                    "another stream or subject"
                )
        return self

    @model_validator(mode="after")
    def _fallbacks_end(self) -> Config:
        check_fallbacks(self.destinations)
        return self

    @property
    def shared_room(self) -> int:
        """Bytes of memory that all workers share: for duplicates, then for calls under way."""
        return self.duplicates.room + self.metrics.room

    @property
    def endpoints(self) -> list[Endpoint]:
        """The listeners as endpoints."""
        return [ways.parse(url) for url in self.listen]


def load(path: Path | None = None, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration from `path` (None: no file) with the environment's overrides; paths are made absolute.

    Raises ConfigError with every mistake.
    """
    text, data = "", {}
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
            data = tomllib.loads(text)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}: not valid TOML: {error}") from error
        except RecursionError as error:
            raise ConfigError(f"{path}: its lists go too deep to be a configuration") from error
    _overlay(data, environment)
    base = path.parent.resolve() if path is not None else Path.cwd()
    if not data.get("stores"):
        data["stores"] = {"lake": {"url": "lake:./captures"}}
    try:
        names = {table: list(data[table]) if isinstance(data.get(table), dict) else [] for table in TABLES}
        config = Config.model_validate(data, context={"base": base, **names})
    except ValidationError as error:
        raise ConfigError("\n".join(_describe(error, Places(path, text)))) from error
    return _anchored(config, base)


def _overlay(data: dict[str, Any], environment: Mapping[str, str]) -> None:
    for name, text in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT) or name in NOT_CONFIGURATION:
            continue
        *tables, key = name.removeprefix(ENVIRONMENT).lower().split("__")
        table = data
        for step in tables:
            table = table.setdefault(step, {})
            if not isinstance(table, dict):
                raise ConfigError(f"environment {name}: {step} is no table")
        try:
            table[key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            table[key] = text


def recheck(config: Config) -> None:
    """Look at a configuration that was put together of two. Raises ConfigError with every mistake."""
    names = {table: list(getattr(config, table)) for table in TABLES}
    try:
        Config.model_validate(config.model_dump(mode="json", context=REVEALED), context=names)
    except ValidationError as error:
        raise ConfigError("\n".join(_describe(error, Places(None, "")))) from error


def _anchored(config: Config, base: Path) -> Config:
    """The same configuration with paths made absolute from the file's folder."""

    def absolute(path: Path) -> Path:
        try:
            return (base / path.expanduser()).resolve()
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"{str(path)!r} is no path: {error}") from error

    route = config.hep_route
    if route.script is not None:
        route = route.model_copy(update={"script": absolute(route.script)})
    stores = {name: store.anchored(absolute) for name, store in config.stores.items()}
    destinations = {
        name: destination.model_copy(update={"urls": [_anchored_url(url, absolute) for url in destination.urls]})
        for name, destination in config.destinations.items()
    }
    traces = {
        name: table.model_copy(update={"to": [anchored(text, absolute) for text in table.to]})
        for name, table in config.traces.items()
    }
    lists = {name: table.model_copy(update={"file": absolute(table.file)}) for name, table in config.lists.items()}
    update = {
        "lists": lists,
        "traces": traces,
        "listen": [_anchored_url(url, absolute) for url in config.listen],
        "hep_route": route,
        "destinations": destinations,
        "stores": stores,
        "spool_dir": absolute(config.spool_dir),
        "control": config.control.anchored(absolute),
    }
    return config.model_copy(update=update)


def _anchored_url(url: str, absolute: Callable[[Path], Path]) -> str:
    """The URL with the files that it and its options name made absolute."""
    address, question, query = url.partition("?")
    if address.startswith("pcap:"):
        address = f"pcap:{absolute(Path(address.removeprefix('pcap:')))}"
    return address + question + anchored_options(query, absolute)


def _describe(error: ValidationError, places: Places) -> Iterator[str]:
    for mistake in error.errors():
        location, kind = _place([str(step) for step in mistake["loc"]])
        message = mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "extra_forbidden":
            message = f"unknown key{_similar(location[-1], kind or _table_at(location[:-1]))}"
        elif mistake["type"] != "value_error" and not SECRETIVE & set(location):
            message = f"{message} (is {mistake['input']!r})"
        yield places.said(location, message)


def _place(location: list[str]) -> tuple[list[str], type[BaseModel] | None]:
    """Where in the file; and of a store, whose kind stands in between, the model of its table."""
    if location[:1] == ["stores"] and len(location) > 2 and location[2] in KINDS:
        return location[:2] + location[3:], KINDS[location[2]]
    return location, None


def _similar(key: str, model: type[BaseModel] | None) -> str:
    known = list(model.model_fields) if model else []
    near = difflib.get_close_matches(key, known, n=1)
    return f": did you mean {near[0]}?" if near else f"; known here: {', '.join(known)}"


def _table_at(location: list[str]) -> type[BaseModel] | None:
    """The model of the table at a place of the file; None when there is no one model."""
    model: type[BaseModel] | None = Config
    for step in location:
        if model is not None and step in model.model_fields:
            model = next(_models(model.model_fields[step].annotation), None)
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a type speaks of: itself, or what a list, dict or union of it holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
