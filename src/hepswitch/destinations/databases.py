"""Stores in databases: their tables in the configuration, `[stores.NAME]`. What they share, and each kind of server.

    [stores.homer]
    url = "postgresql://homer@db.example.net/homer_data"
    password = "env:HOMER_PASSWORD"
    layout = "homer7"

Not here: what all stores have that a loader looks after (`loaded`), layouts (`databases.layouts`), servers (`databases`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from hepswitch.destinations.dated import Dated
from hepswitch.destinations.layout_tables import Homer7Tables, OpensipsTables, TableName
from hepswitch.destinations.loaded import LoadedStore, anchored_url
from hepswitch.net.tls import check_options
from hepswitch.tables import Duration, Secret, revealed


class DatabaseStore(LoadedStore):
    """What every store in a database has."""

    create: bool = Field(True, description="Make tables that are missing. Without it: `hepswitch ddl` prints them.")


class ServerStore(DatabaseStore):
    """What every store at a server has."""

    password: Secret | None = Field(None, description='The password: a text, "env:NAME" or "file:PATH".')

    @property
    def secret(self) -> str:
        """The password, revealed; empty when there is none."""
        return revealed(self.password)


def _server_url(*schemes: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"{_hidden(text)!r} is no URL: {error}") from None
        example = f"{schemes[0]}://user@host/database"
        if parts.password is not None:
            raise ValueError(
                'the password does not belong into the URL: write password = "…", "env:NAME" or "file:PATH"'
            )
        if not parts.hostname or port == 0 or parts.fragment or len(parts.path) < 2 or "/" in parts.path[1:]:
            raise ValueError(f"{text!r} names no database: write for example url = {example!r}")
        return text

    return check


def _hidden(url: str) -> str:
    """The URL without the password that may be in it."""
    return re.sub(r"(?<=//)([^/@:]*):[^/@]*@", r"\1:…@", url)


POSTGRES_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
"""Options of a URL of PostgreSQL that name a file."""

POSTGRES_OPTIONS = (
    "sslmode", *POSTGRES_FILES, "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version",
    "target_session_attrs", "krbsrvname", "gsslib",
)  # fmt: skip
"""What may stand behind the ? of a URL. Not: who, where and with what secret, which have places of their own."""

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def _postgres_options(text: str) -> str:
    options = dict(parse_qsl(urlsplit(text).query, keep_blank_values=True))
    if unknown := sorted(options.keys() - set(POSTGRES_OPTIONS)):
        raise ValueError(f"the URL knows no option {unknown[0]}: it may have {', '.join(POSTGRES_OPTIONS)}")
    if (mode := options.get("sslmode", "prefer")) not in SSL_MODES:
        raise ValueError(f"sslmode={mode} in the URL is none of {', '.join(SSL_MODES)}")
    return text


class PostgresStore(ServerStore):
    """`[stores.NAME]`: a PostgreSQL database."""

    schemes = ("postgresql", "postgres")

    url: Annotated[str, AfterValidator(_server_url("postgresql", "postgres")), AfterValidator(_postgres_options)] = (
        Field(
            description="postgresql://USER@HOST[:PORT]/DATABASE[?sslmode=require]. HOST may be a percent-encoded socket "
            "folder."
        )
    )
    layout: Literal["opensips", "homer7"] = Field("opensips", description="Whose tables: OpenSIPS' or Homer 7's.")
    opensips: OpensipsTables = OpensipsTables()
    homer7: Homer7Tables = Homer7Tables()


def _mysql_options(text: str) -> str:
    options = dict(parse_qsl(urlsplit(text).query, keep_blank_values=True))
    if options.get("tls", "no") not in ("yes", "no"):
        raise ValueError(f"tls={options['tls']} in the URL is neither yes nor no")
    check_options(options, {"tls"}, options.get("tls") == "yes", "add tls=yes")
    return text


class MysqlStore(ServerStore):
    """`[stores.NAME]`: a MySQL or MariaDB database."""

    schemes = ("mysql", "mariadb")

    url: Annotated[str, AfterValidator(_server_url("mysql", "mariadb")), AfterValidator(_mysql_options)] = Field(
        description="mysql://USER@HOST[:3306]/DATABASE. HOST may be a percent-encoded path of a socket. "
        "?tls=yes encrypts; ca=FILE: who signed the server's certificate, else the system's authorities; verify=no: "
        "any certificate will do; cert=FILE&key=FILE: a certificate of our own."
    )
    layout: Literal["opensips", "homer5"] = Field("opensips", description="Whose tables: OpenSIPS' or Homer 5's.")
    opensips: OpensipsTables = OpensipsTables()

    def anchored(self, absolute: Callable[[Path], Path]) -> MysqlStore:
        """The same with the files of TLS absolute."""
        return self.model_copy(update={"url": anchored_url(self.url, absolute)})


def _https_options(text: str) -> str:
    parts = urlsplit(text)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    check_options(options, (), parts.scheme == "clickhouses", "write clickhouses://")
    return text


def _sqlite_url(text: str) -> str:
    path = text.removeprefix("sqlite:")
    if path == text or not path or path.endswith("/") or path.startswith("//") or "?" in path:
        raise ValueError(f'{text!r} is no file: write url = "sqlite:captures.db"')
    folder, name = os.path.split(path)
    if "%" in folder:
        raise ValueError(f"{text!r} has date fields in its folder: only the last part, {name!r}, may have some")
    Dated(name)
    return text


def _mode(text: object) -> object:
    if isinstance(text, str) and re.fullmatch(r"0?[0-7]{3}", text):
        return text
    raise ValueError(f'{text!r} is no file mode: write for example mode = "0640"')


class SqliteStore(DatabaseStore):
    """`[stores.NAME]`: an SQLite database, or a file a day."""

    schemes = ("sqlite",)

    url: Annotated[str, AfterValidator(_sqlite_url)] = Field(
        description="sqlite:FILE. The file's name may hold strftime fields (%Y%m%d…; UTC, the packet's own time)."
    )
    layout: Literal["opensips"] = Field("opensips", description="Whose tables: OpenSIPS'.")
    connections: Literal[1] = Field(1, description="One: a file has one writer at a time.")
    mode: Annotated[str, BeforeValidator(_mode)] = Field("0600", description="Permissions of a file that is made.")
    opensips: OpensipsTables = OpensipsTables()

    @model_validator(mode="after")
    def _can_be_made(self) -> SqliteStore:
        if not self.create and "%" in self.path.name:
            raise ValueError(
                "create = false cannot be together with dates in the file's name: who would make the next file?"
            )
        return self

    @property
    def path(self) -> Path:
        """The file, or the template of its name."""
        return Path(self.url.removeprefix("sqlite:"))

    def anchored(self, absolute: Callable[[Path], Path]) -> SqliteStore:
        """The same with an absolute path."""
        return self.model_copy(update={"url": f"sqlite:{absolute(self.path)}"})


class ClickhouseStore(ServerStore):
    """`[stores.NAME]`: a ClickHouse database, over HTTP."""

    schemes = ("clickhouse", "clickhouses")

    url: Annotated[str, AfterValidator(_server_url("clickhouse", "clickhouses")), AfterValidator(_https_options)] = (
        Field(
            description="clickhouse://USER@HOST[:8123]/DATABASE; clickhouses://USER@HOST[:8443]/DATABASE is HTTPS. "
            "?ca=FILE: who signed the server's certificate, else the system's authorities; verify=no: any will do; "
            "cert=FILE&key=FILE: a certificate of our own."
        )
    )
    table: TableName = Field("messages", description="The table: the columns of the lake.")
    keep: Annotated[Duration, Field(ge=3600)] | None = Field(
        None,
        description="How long packets are kept after they arrived (a TTL); days are dropped whole. Without: for ever.",
    )
    cluster: Annotated[str, Field(pattern=r"^[\w{}.-]*$")] = Field(
        "", description="The cluster whose nodes have the table: replicated, behind a Distributed table."
    )
    async_insert: bool = Field(
        False, description="The server gathers inserts of many clients before it writes them: for many small switches."
    )

    def anchored(self, absolute: Callable[[Path], Path]) -> ClickhouseStore:
        """The same with the files of TLS absolute."""
        return self.model_copy(update={"url": anchored_url(self.url, absolute)})
