"""An S3-compatible server (moto) in a process of its own, which writes down what it is asked and fails when it is told to.

    python s3_server.py FOLDER [CERTIFICATE KEY]

It prints its port. One key is known (`hep`, with any secret), and, as with many servers, no checksum behind a body.
FOLDER/requests has a line for each request: method, path, query and range. FOLDER/fault, while there is one, says what goes
wrong: `503`, `page` (of a proxy), `cut` (half of the body is read), `hang` (until the file is gone); and a method behind
it with which requests only (`cut PUT`), or RANGE for those that ask for a part of a file.
Everything is in memory, and requests are served one at a time in threads: for small files only.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import make_server

KEY = "hep"

PAGE = b"<html><body>Please log in.</body></html>"


class Storage:
    """The WSGI application around moto's."""

    def __init__(self, folder: Path) -> None:
        self._inner = create_backend_app("s3")
        self._log = (folder / "requests").open("a", buffering=1)
        self._fault = folder / "fault"

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        asked = [environ[name] for name in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING")]
        self._log.write(" ".join([*asked, environ.get("HTTP_RANGE", "")]).rstrip() + "\n")
        match self._wrong(environ):
            case "503":
                return self._refuse(start, "503 Slow Down", "SlowDown", "Please reduce your request rate.")
            case "page":
                start("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))])
                return [PAGE]
            case "cut" | "hang" as kind:
                self._half(environ)
                while kind == "hang" and self._wrong(environ):
                    time.sleep(0.02)
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                start("500 Cut", [])
                return []
        if f"Credential={KEY}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return self._refuse(
                start, "403 Forbidden", "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist."
            )
        if environ.get("HTTP_X_AMZ_CONTENT_SHA256", "").startswith("STREAMING-"):
            return self._refuse(
                start, "501 Not Implemented", "NotImplemented", "A header you provided is not implemented."
            )
        answer: Iterable[bytes] = self._inner(environ, start)
        return answer

    def _wrong(self, environ: WSGIEnvironment) -> str:
        with contextlib.suppress(FileNotFoundError):
            kind, _, only = self._fault.read_text().strip().partition(" ")
            if only in ("", environ["REQUEST_METHOD"], "RANGE" if "HTTP_RANGE" in environ else ""):
                return kind
        return ""

    def _half(self, environ: WSGIEnvironment) -> None:
        size = int(environ.get("CONTENT_LENGTH") or environ.get("HTTP_X_AMZ_DECODED_CONTENT_LENGTH") or 0)
        environ["werkzeug.socket"].settimeout(1.0)
        with contextlib.suppress(OSError):
            environ["wsgi.input"].read(size // 2)

    def _refuse(self, start: StartResponse, status: str, code: str, text: str) -> Iterable[bytes]:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{text}</Message></Error>".encode()
        start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    folder, *tls = sys.argv[1:]
    certificate = (tls[0], tls[1]) if tls else None
    server = make_server("127.0.0.1", 0, Storage(Path(folder)), threaded=True, ssl_context=certificate)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
