"""The keys of `heplify-server.toml`: their defaults, and which of them mean nothing here. Reading a file that has them.

Not here: what becomes of the others (`heplify`).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

from hepswitch.cli.terminal import safe
from hepswitch.toml_places import Places

Value = str | int | bool | list[str] | list[int]

DEFAULTS: Final[dict[str, Value]] = {
    "HEPAddr": "0.0.0.0:9060", "HEPTCPAddr": "", "HEPTLSAddr": "", "HEPWSAddr": "", "HEPv2Enable": True,
    "TLSCertFolder": ".", "TLSCertFile": "", "TLSKeyFile": "", "TLSClientCAFile": "", "TLSRequireClientCert": False,
    "TLSMinVersion": "1.2",
    "DBShema": "homer5", "DBDriver": "mysql", "DBAddr": "localhost:3306", "DBSSLMode": "disable", "DBUser": "root",
    "DBPass": "", "DBDataTable": "homer_data", "DBConfTable": "homer_configuration", "DBBulk": 400, "DBTimer": 4,
    "DBBuffer": 400_000, "DBWorker": 8,
    "DBRotate": True, "DBPartLog": "2h", "DBPartIsup": "6h", "DBPartSip": "2h", "DBPartQos": "6h", "DBDropDays": 14,
    "DBDropDaysCall": 0, "DBDropDaysRegister": 0, "DBDropDaysDefault": 0, "DBDropOnStart": False,
    "DBUsageProtection": False, "DBUsageScheme": "percentage", "DBPercentageUsage": "80%", "DBMaxSize": "20GB",
    "DBProcDropLimit": 2,
    "SIPHeader": [
        "ruri_user", "ruri_domain", "from_user", "from_tag", "to_user", "to_tag", "callid", "cseq", "method", "user_agent",
    ],
    "CustomHeader": [], "IgnoreCaseCH": False, "AlegIDs": [], "ForceALegID": False, "DiscardMethod": [],
    "CensorMethod": [], "Dedup": False, "ForceHEPPayload": [],
    "LokiURL": "", "LokiOrgID": "", "LokiBulk": 400, "LokiTimer": 4, "LokiBuffer": 100_000, "LokiHEPFilter": [1, 5, 100],
    "LokiIPPortLabels": False, "LokiFromToLabels": False, "LokiCallIDLabels": False, "LokiAllowOutOfOrder": False,
    "LokiCustomLabels": [],
    "LineprotoURL": "", "LineprotoBulk": 400, "LineprotoTimer": 4, "LineprotoBuffer": 100_000,
    "LineprotoHEPFilter": [1, 5, 100], "LineprotoIPPortLabels": False,
    "ESAddr": "", "ESDiscovery": True, "ESUser": "", "ESPass": "",
    "PromAddr": ":9096", "PromTargetIP": "", "PromTargetName": "",
    "ScriptEnable": False, "ScriptEngine": "lua", "ScriptFolder": "", "ScriptHEPFilter": [1, 5, 100],
    "LogLvl": "info", "LogDbg": "", "LogStd": False, "LogSys": False, "Config": "", "ConfigHTTPAddr": "", "ConfigHTTPPW": "",
    "Version": False,
}  # fmt: skip
"""Every key with heplify-server's default, which is of the type that the key has."""

NUMBERS: Final = {"ForceHEPPayload", "LokiHEPFilter", "LineprotoHEPFilter", "ScriptHEPFilter"}
"""Lists of numbers; the others are of texts."""

WITHOUT: Final[dict[str, str]] = {
    "HEPWSAddr": "HEP over WebSocket is not taken; let those agents send over TCP or TLS",
    "TLSMinVersion": "TLS 1.2 is the least version here, and 1.3 is taken where both know it",
    "DBConfTable": "the database of the web interface's own settings, which hepswitch does not touch",
    "DBBuffer": "packets wait on disk instead, up to `spool` of the store, and survive a restart",
    "DBUsageProtection": "nothing is dropped by the size of the database; keep less, or watch the disk",
    "LokiURL": "packets are not sent to Loki (yet)",
    "LineprotoURL": "packets are not sent as line protocol (yet)",
    "ESAddr": "packets are not sent to Elasticsearch (yet)",
    "ScriptEnable": "scripts are Python here: write route.py (`hepswitch init` has one to start from) for what they did",
    "ConfigHTTPAddr": "there is no form to edit the configuration; `hepswitch ctl reload` takes in a changed file",
    "LogDbg": "write [log] level = \"debug\" while you look for something",
    "LogSys": "logs go to standard error, which systemd takes into its journal",
}  # fmt: skip
"""Keys that have no counterpart, and why, or what is there instead. Each is named when it is not as by default.

Keys that only say more of one of these (LokiBulk, ScriptFolder …) go without a word."""


class Settings:
    """What a file says; `settings["DBBulk"]` is heplify-server's default where it says nothing.

    Keys may be written in any case, as heplify-server reads them. What has no counterpart is in `notes` from the start.
    Raises ValueError with every mistake, one line each.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            text = path.read_text(encoding="utf-8")
            data, self._places = tomllib.loads(text), Places(text)
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: cannot be read: {error}") from None
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: not valid TOML: {error}") from None
        except RecursionError:
            raise ValueError(f"{path}: its lists go too deep to be a configuration") from None
        self._written: dict[str, str] = {}
        self._values: dict[str, Value] = {}
        self._notes: list[tuple[int, str]] = []
        mistakes = list[str]()
        names = {name.lower(): name for name in DEFAULTS}
        for written, value in data.items():
            name = names.get(written.lower())
            if name is None:
                self.note(written, "heplify-server has no such key; nothing became of it")
            elif name in self._written:
                mistakes.append(self.said(written, f"is {self._written[name]}, which is there already"))
            elif why := _not_fit(name, value):
                mistakes.append(self.said(written, why))
            else:
                self._written[name] = written
                self._values[name] = value
        if mistakes:
            raise ValueError("\n".join(mistakes))
        for name, why in WITHOUT.items():
            if self.differs(name):
                self.note(name, why)

    def __getitem__(self, name: str) -> Value:
        return self._values.get(name, DEFAULTS[name])

    def text(self, name: str) -> str:
        """The value of a key that is text, without blanks around it."""
        return str(self[name]).strip()

    def texts(self, name: str) -> list[str]:
        """The value of a key that is a list."""
        value = self[name]
        assert isinstance(value, list)
        return [str(each) for each in value]

    def parts(self, name: str) -> list[str]:
        """The value of a key that is a list in one text, between commas."""
        return [part for part in (each.strip() for each in self.text(name).split(",")) if part]

    def file(self, name: str) -> str:
        """The value of a key that names a file, from the folder of this one; empty when there is none."""
        return str(self._path.parent.resolve() / self.text(name)) if self.text(name) else ""

    def number(self, name: str, least: int, most: int) -> int:
        """The value of a key that is a number, or the nearest one that is allowed."""
        value = self[name]
        assert isinstance(value, int)
        return min(max(value, least), most)

    def given(self, name: str) -> bool:
        """Whether the file has the key."""
        return name in self._values

    def differs(self, name: str) -> bool:
        """Whether the file says other than the default."""
        return self[name] != DEFAULTS[name]

    def note(self, name: str, text: str) -> None:
        """Something to tell about a key."""
        self._notes.append((self._line(name), self.said(name, text)))

    @property
    def notes(self) -> list[str]:
        """What was told so far, in the order of the file."""
        return [text for _, text in sorted(self._notes)]

    def said(self, name: str, text: str) -> str:
        """`FILE:LINE: KEY: TEXT` in one line, which can be a comment; without a number when the key is not there."""
        line, name = self._line(name), name if name.isidentifier() else repr(name)
        return safe(f"{self._path.name}{f':{line}' if line else ''}: {name}: {text}")

    def _line(self, name: str) -> int:
        return self._places.line([self._written.get(name, name)]) or 0


def _not_fit(name: str, value: object) -> str:
    """Why the key cannot have this value; empty when it can."""
    default = DEFAULTS[name]
    if isinstance(default, list):
        kind, item = ("a list of numbers", int) if name in NUMBERS else ("a list of texts", str)
        fits = isinstance(value, list) and all(type(each) is item for each in value)
    else:
        kind = {str: "a text", bool: "true or false", int: "a number"}[type(default)]
        fits = type(value) is type(default)
    return "" if fits else f"{value!r} is not {kind}"
