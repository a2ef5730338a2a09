"""ClickHouse's own engine (chdb) behind its HTTP interface, as far as a store uses it.

    python clickhouse_http_server.py FOLDER PORT

One user (`hep`, password `secret`), databases `hep` and `other`. Queries, inserts, parameters, settings and error codes are
the engine's; only HTTP and the user are imitated here. ClickHouse as Debian has it is too old for our tables (DateTime64).
"""

from __future__ import annotations

import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from chdb.session import Session

NO_SETTINGS = {"query", "database", "default_format", "wait_end_of_query"}


class RefusedError(RuntimeError):
    """What the server around the engine says."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    session: Session
    body: Path
    lock = threading.Lock()

    def do_GET(self) -> None:
        self._answer(may_write=False)

    def do_POST(self) -> None:
        self._answer(may_write=True)

    def _answer(self, may_write: bool) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        try:
            with self.lock:
                self._reply(200, self._run(asked, body, may_write))
        except RuntimeError as error:
            text = str(error)
            code = re.search(r"Code: (\d+)", text)
            assert code, text
            self._reply(403 if code[1] == "516" else 500, text.encode(), [("X-ClickHouse-Exception-Code", code[1])])

    def _run(self, asked: dict[str, str], body: bytes, may_write: bool) -> bytes:
        if (self.headers["X-ClickHouse-User"], self.headers["X-ClickHouse-Key"]) != ("hep", "secret"):
            raise RefusedError("Code: 516. DB::Exception: hep: Authentication failed. (AUTHENTICATION_FAILED)")
        sql = asked["query"]
        if not may_write and not re.match(r"(SELECT|EXPLAIN)\b", sql, re.IGNORECASE):
            raise RefusedError("Code: 164. DB::Exception: Cannot execute query in readonly mode. (READONLY)")
        database = asked["database"].replace("\\", "\\\\").replace("`", "\\`")
        self.session.query(f"USE `{database}`")
        parameters = {name.removeprefix("param_"): value for name, value in asked.items() if name.startswith("param_")}
        settings = {name: value for name, value in asked.items() if name not in NO_SETTINGS and name[:6] != "param_"}
        insert = re.fullmatch(r"(INSERT INTO .*) FORMAT (\w+)", sql)
        if insert:
            # Its own way of streaming an insert knows no constraints.
            self.body.write_bytes(body)
            said = ", ".join(f"{name} = '{value}'" for name, value in settings.items())
            sql = f"{insert[1]} FROM INFILE '{self.body}' SETTINGS {said} FORMAT {insert[2]}"
        return bytes(self.session.query(sql, asked.get("default_format", "TabSeparated"), params=parameters).bytes())

    def _reply(self, status: int, body: bytes, headers: list[tuple[str, str]] | None = None) -> None:
        self.send_response(status)
        for name, value in headers or []:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def main() -> None:
    folder, port = sys.argv[1:]
    Handler.session = Session(folder)
    Handler.body = Path(folder) / "body"
    for name in ("hep", "other"):
        Handler.session.query(f"CREATE DATABASE IF NOT EXISTS {name}")
    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
