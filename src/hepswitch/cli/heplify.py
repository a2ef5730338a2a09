"""A heplify-server configuration as one of ours: what `hepswitch init --from heplify-server.toml` writes.

Only what the file says is carried over; where it says nothing, or the same as heplify-server's default about how rather
than what (rows in a batch, seconds, connections), our own defaults hold. Not here: the keys (`heplify_keys`), writing the
files (`init`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args
from urllib.parse import quote, urlencode

from hepswitch.cli.heplify_keys import Settings
from hepswitch.cli.terminal import safe
from hepswitch.destinations.layout_tables import SipHeader
from hepswitch.networks import network

STORE = "homer"
"""What the store is called."""

PASSWORD = f"{STORE}.password"
"""The file that holds the password of the database."""

LEVELS = {"debug": "debug", "info": "info", "notice": "info", "warn": "warning", "warning": "warning"}
"""Levels of `[log]`; whatever heplify-server has beside these is an error or worse."""

STEPS = {"DBPartSip": "step_sip", "DBPartQos": "step_qos", "DBPartLog": "step_log", "DBPartIsup": "step_isup"}
KEEPS = {"DBDropDaysCall": "keep_call", "DBDropDaysRegister": "keep_registration", "DBDropDaysDefault": "keep_default"}
"""Keys of `[stores.NAME.homer7]` by heplify-server's."""

COLUMNS = ("SIPHeader", "CustomHeader", "AlegIDs", "ForceHEPPayload")
"""Lists that say what is kept of a message."""


@dataclass(frozen=True, slots=True)
class Translation:
    """The configuration, the files beside it that hold secrets (text by name), and what has no counterpart, a line each."""

    text: str
    secrets: dict[str, str]
    notes: list[str]


def translate(path: Path) -> Translation:
    """What the file `path` means here. Raises ValueError with every mistake in it, a line each."""
    settings = Settings(path)
    tables: list[Iterable[str]] = [
        [f"# Made from {safe(path.name)} by `hepswitch init`. Check it with: hepswitch check --config hepswitch.toml"],
        _listen(settings),
        _route(settings),
        _duplicates(settings),
        _censor(settings),
        _store(settings),
        _control(settings),
        _targets(settings),
        _log(settings),
    ]
    parts = ["\n".join(lines) for lines in map(list, tables) if lines]
    if settings.notes:
        parts.append("\n".join(["# Without a counterpart here:", *(f"#   {note}" for note in settings.notes)]))
    text = "\n\n".join(parts) + "\n"
    secrets = {PASSWORD: f"{settings['DBPass']}\n"} if f'"file:{PASSWORD}"' in text else {}
    return Translation(text, secrets, settings.notes)


# ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _listen(settings: Settings) -> Iterator[str]:
    urls = [
        f"{scheme}://{_address(settings.text(key))}"
        for key, scheme in (("HEPAddr", "udp"), ("HEPTCPAddr", "tcp"))
        if settings.text(key)
    ]
    if settings.text("HEPTLSAddr"):
        urls += _tls(settings)
    if not urls:
        settings.note("HEPAddr", "no listener is left; udp://127.0.0.1:9060 stands in, so that the file can be used")
        urls = ["udp://127.0.0.1:9060"]
    if len(urls) == 1:
        yield f"listen = {_list(urls)}"
    else:
        yield from ("listen = [", *(f"    {_text(url)}," for url in urls), "]")


def _tls(settings: Settings) -> list[str]:
    """The listener for TLS, if there is a certificate for it."""
    cert, key = settings.file("TLSCertFile"), settings.file("TLSKeyFile")
    if not cert or not key:
        settings.note(
            "HEPTLSAddr",
            "no certificate is made here, as heplify-server does in TLSCertFolder: get one for this host, have the agents "
            f'trust who signed it, and add "tls://{_address(settings.text("HEPTLSAddr"))}?cert=FILE&key=FILE" to listen',
        )
        return []
    options = {"cert": cert, "key": key}
    authority = settings.file("TLSClientCAFile")
    if authority and settings["TLSRequireClientCert"]:
        options["client_ca"] = authority
    elif authority:
        settings.note(
            "TLSClientCAFile", "certificates of agents are asked for always or never; with &client_ca=FILE always"
        )
    return [f"tls://{_address(settings.text('HEPTLSAddr'))}?{urlencode(options, safe='/')}"]


def _address(text: str) -> str:
    """An address as Go reads it: without a host it is every address of the machine, IPv6 and IPv4."""
    return f"[::]{text}" if text.startswith(":") else text


# ── what is let in, and how ──────────────────────────────────────────────────────────────────────────────────────────


def _route(settings: Settings) -> Iterator[str]:
    rules = []
    if not settings["HEPv2Enable"]:
        rules.append(_rule("HEPv2Enable", "version < 3", 'drop = "HEPv2"'))
    if methods := settings.texts("DiscardMethod"):
        rules.append(_rule("DiscardMethod", _is_one_of(methods), 'drop = "discarded method"'))
    if methods := settings.texts("CensorMethod"):
        rules.append(_rule("CensorMethod", _is_one_of(methods), 'mask = "censor"'))
    yield "[hep_route]"
    yield 'mode = "store"' + ("                # the rules come first, and what they leave is stored" if rules else "")
    for rule in rules:
        yield from ("", *rule)


def _is_one_of(methods: list[str]) -> str:
    """The condition that the CSeq method is one of these: requests and their replies."""
    words = (method.replace("\\", "\\\\").replace('"', '\\"') for method in methods)
    return "sip.cseq_method in [" + ", ".join(f'"{word}"' for word in words) + "]"


def _rule(name: str, when: str, action: str) -> list[str]:
    return ["[[rule]]", f"name = {_text(name)}", f"when = {_text(when)}", action]


def _duplicates(settings: Settings) -> Iterator[str]:
    if settings["Dedup"]:
        yield "# Copies of one message from several agents; a retransmission is let in, unlike there."
        yield "[duplicates]"
        yield 'window = "500ms"'


def _censor(settings: Settings) -> Iterator[str]:
    if methods := settings.texts("CensorMethod"):
        yield "# Bodies alone, as there. Numbers and names may become pseudonyms too: users, key, numbers."
        yield "[masks.censor]"
        yield f"bodies = {_list(methods)}"
        yield from ('users = "keep"', 'authorization = "keep"', "dtmf = false", "numbers = false")


# ── the database ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _store(settings: Settings) -> Iterator[str]:
    match settings.text("DBDriver").lower():
        case "postgres":
            yield from _database(settings, "postgresql", "homer7", f"?sslmode={settings.text('DBSSLMode')}")
            yield from _homer7(settings)
        case "mysql":
            yield from _database(settings, "mysql", "homer5", "")
            for key in ("DBDropDays", *KEEPS, *STEPS):
                if settings.given(key):
                    settings.note(key, "tables of layout homer5 are by day; drop old ones with DROP TABLE")
            for key in COLUMNS:
                if _listed(settings, key):
                    settings.note(key, "layout homer5 has fixed columns")
        case "mock":
            settings.note("DBDriver", "mock stored nothing; a lake in ./captures keeps a day")
            yield from (f"[stores.{STORE}]", 'url = "lake:./captures"', 'keep = "1d"')
        case other:
            raise ValueError(settings.said("DBDriver", f"{other!r} is none of mysql, postgres, mock"))


def _database(settings: Settings, scheme: str, layout: str, options: str) -> Iterator[str]:
    """The table of the store, without what a layout has of its own. `options` are those of the URL."""
    if settings.text("DBShema") != layout:
        settings.note("DBShema", f"DBDriver = {_text(settings.text('DBDriver'))} goes with the tables of {layout}")
    host = settings.text("DBAddr")
    if host.startswith("unix:"):
        host = quote(host.removeprefix("unix:"), safe="")
    user = quote(settings.text("DBUser"), safe="") + "@" if settings.text("DBUser") else ""
    database = quote(settings.text("DBDataTable"), safe="")
    yield f"[stores.{STORE}]"
    yield f"url = {_text(f'{scheme}://{user}{host}/{database}{options}')}"
    if settings["DBPass"]:
        yield f'password = "file:{PASSWORD}"'
    yield f"layout = {_text(layout)}"
    if not settings["DBRotate"]:
        yield "create = false"
    if settings.differs("DBBulk"):
        yield f"batch = {settings.number('DBBulk', 1, 100_000)}    # DBBulk; without it 10000, which costs the database less"
    if settings.differs("DBTimer"):
        yield f'flush = "{settings.number("DBTimer", 1, 60)}s"'
    if settings.differs("DBWorker"):
        yield f"connections = {settings.number('DBWorker', 1, 32)}"


def _homer7(settings: Settings) -> Iterator[str]:
    yield from ("", f"[stores.{STORE}.homer7]")
    if settings["DBRotate"]:
        yield f"keep = {_days(settings, 'DBDropDays')}"
        yield from (f"{ours} = {_days(settings, key)}" for key, ours in KEEPS.items() if settings[key])
    else:
        yield "keep = 0"
    yield from (f"{ours} = {_text(settings.text(key))}" for key, ours in STEPS.items() if settings.differs(key))
    if _listed(settings, "SIPHeader"):
        known = get_args(SipHeader)
        yield f"headers = {_list(name for name in settings.texts('SIPHeader') if name in known)}"
        for name in settings.texts("SIPHeader"):
            if name not in known:
                settings.note("SIPHeader", f"{name!r} is none of {', '.join(known)}; it is left out")
    if headers := settings.texts("CustomHeader"):
        yield "# Header and its key; only keys of letters, digits and _ can be searched in Homer."
        yield f"custom_headers = {{ {', '.join(f'{_quoted(name)} = {_quoted(name)}' for name in headers)} }}"
    if legs := settings.texts("AlegIDs"):
        yield f"aleg_ids = {_list(legs)}"
    if settings["ForceALegID"]:
        yield "force_aleg_id = true"
    if types := settings.texts("ForceHEPPayload"):
        yield f"force_payload = [{', '.join(types)}]"


def _listed(settings: Settings, key: str) -> bool:
    """Whether the file lists something of its own; an empty list is the default there."""
    return settings.differs(key) and bool(settings.texts(key))


def _days(settings: Settings, key: str) -> str:
    """0 stands for ever here as there."""
    count = settings.number(key, 0, 36_500)
    return f'"{count}d"' if count else "0"


# ── around it ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _control(settings: Settings) -> Iterator[str]:
    if settings.given("PromAddr") and settings.text("PromAddr"):
        address = _address(settings.text("PromAddr"))
        yield "# /metrics for Prometheus, and the page. Where other machines reach it, it wants a token:"
        yield f"#   listen = {_text(address)}"
        yield '#   read_token = "file:read_token"'
        yield "[control]"
        yield f"listen = {_text('127.0.0.1:' + address.rpartition(':')[2])}"


def _targets(settings: Settings) -> Iterator[str]:
    """`[metrics.targets]`: the addresses by their names. There the two lists go together one by one."""
    addresses, names = settings.parts("PromTargetIP"), settings.parts("PromTargetName")
    if len(addresses) != len(names):
        settings.note("PromTargetIP", "it and PromTargetName name different numbers of targets; none became of them")
        return
    targets: dict[str, list[str]] = {}
    for address, name in dict(zip(addresses, names, strict=True)).items():
        try:
            found = str(network(address))
        except ValueError as error:
            settings.note("PromTargetIP", f"{error}; it is left out")
        else:
            targets.setdefault(name, []).append(found)
    if targets:
        yield "[metrics.targets]"
        yield from (f"{_quoted(name)} = {_list(networks)}" for name, networks in targets.items())


def _log(settings: Settings) -> Iterator[str]:
    level = LEVELS.get(settings.text("LogLvl").lower(), "error")
    if level != "info":
        yield from ("[log]", f"level = {_text(level)}")


def _text(text: str) -> str:
    """A TOML string; the literal kind where that reads better."""
    return f"'{text}'" if '"' in text and "'" not in text and text.isprintable() else _quoted(text)


def _quoted(text: str) -> str:
    """A TOML string of the basic kind, which can be a key as well."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]"
