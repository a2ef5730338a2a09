"""HTTP as ClickHouse speaks it: users, errors, connections that are kept, TLS. The server is Debian's, old but real."""

from __future__ import annotations

import http.server
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from hepswitch.databases import clickhouse_http
from hepswitch.databases.clickhouse_http import Address, ClickhouseError, Http
from servers import OldClickHouse, clickhouse, free_port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldClickHouse]:
    with clickhouse(tmp_path_factory.mktemp("clickhouse"), OldClickHouse) as running:
        assert isinstance(running, OldClickHouse)
        yield running


@pytest.fixture
def connection(server: OldClickHouse) -> Iterator[Http]:
    made = Http(at(server.port), "secret")
    yield made
    made.close()


def at(port: int, database: str = "default") -> Address:
    return Address.parse(f"clickhouse://hep@127.0.0.1:{port}/{database}")


def test_the_parts_of_a_url() -> None:
    plain = Address.parse("clickhouse://h/my%2Fdata")
    assert (str(plain.endpoint), plain.database, plain.user) == ("clickhouse://h:8123", "my/data", "default")
    secure = Address.parse("clickhouses://a%40b@[2001:db8::1]/x?verify=no")
    assert (str(secure.endpoint), secure.user) == ("clickhouses://[2001:db8::1]:8443", "a@b")
    assert secure.endpoint.options == {"verify": "no"}


def test_what_is_written_is_read(connection: Http) -> None:
    connection.ask("POST", {"query": "CREATE TABLE kept (a UInt32, b String) ENGINE = Memory"})
    connection.ask("POST", {"query": "INSERT INTO kept FORMAT TabSeparated"}, b"1\tx\n2\t'\xff\n")
    assert connection.ask("GET", {"query": "SELECT * FROM kept ORDER BY a"}) == b"1\tx\n2\t\\'\xff\n"


def test_a_get_changes_nothing(connection: Http) -> None:
    with pytest.raises(ClickhouseError, match="readonly mode") as raised:
        connection.ask("GET", {"query": "CREATE TABLE no (a UInt8) ENGINE = Memory"})
    assert raised.value.code == 164
    assert connection.ask("GET", {"query": "EXISTS TABLE no"}) == b"0\n"


@pytest.mark.parametrize(
    ("user", "password"), [("hep", "wrong"), ("hep", ""), ("hep", "Paßwort €"), ("nobody", "secret")]
)
def test_a_wrong_user_or_password(server: OldClickHouse, user: str, password: str) -> None:
    connection = Http(Address.parse(f"clickhouse://{user}@127.0.0.1:{server.port}/default"), password)
    with pytest.raises(ClickhouseError, match="check the user in url, and password") as raised:
        connection.ask("GET", {"query": "SELECT 1"})
    assert raised.value.code in (192, 193, 194)
    connection.close()


@pytest.mark.parametrize(
    ("database", "query", "code", "words"),
    [
        ("nix", "SELECT 1", 81, "Database nix doesn't exist.* make it: CREATE DATABASE"),
        ("default", "SELECT * FROM nix", 60, "Table default.nix doesn't exist"),
        ("default", "SELECT x FROM", 62, "Syntax error"),
    ],
)
def test_refusals(server: OldClickHouse, database: str, query: str, code: int, words: str) -> None:
    connection = Http(at(server.port, database), "secret")
    with pytest.raises(ClickhouseError, match=words) as raised:
        connection.ask("GET", {"query": query})
    assert raised.value.code == code
    assert "e.what()" not in str(raised.value)
    connection.close()


def test_one_connection_is_kept_also_after_an_error(connection: Http) -> None:
    def port() -> int:
        assert connection._connection is not None
        return int(connection._connection.sock.getsockname()[1])

    connection.ask("GET", {"query": "SELECT 1"})
    first = port()
    for _ in range(3):
        assert connection.ask("GET", {"query": "SELECT 2"}) == b"2\n"
        with pytest.raises(ClickhouseError):
            connection.ask("GET", {"query": "SELECT nix"})
    assert port() == first


def test_a_connection_that_the_server_closed_is_made_again(connection: Http) -> None:
    connection.ask("GET", {"query": "SELECT 1"})
    assert connection._connection is not None
    poll = select.poll()
    poll.register(connection._connection.sock, select.POLLIN)
    assert poll.poll(20_000)  # keep_alive_timeout is over
    assert connection.ask("GET", {"query": "SELECT 2"}) == b"2\n"


def test_a_user_who_may_set_nothing(server: OldClickHouse) -> None:
    connection = Http(Address.parse(f"clickhouse://reader@127.0.0.1:{server.port}/default"), "secret")
    assert [connection.ask("GET", {"query": "SELECT 1"}) for _ in range(2)] == [b"1\n"] * 2
    connection.close()


def test_a_query_goes_with_its_connection() -> None:
    """What reads says so, unless the server refuses the setting."""
    seen: list[dict[str, list[str]]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            seen.append(asked)
            refused = asked["query"] == ["old"] and "cancel_http_readonly_queries_on_client_close" in asked
            text = b"Code: 115. DB::Exception: Unknown setting" if refused else b"1"
            self.send_response(500 if refused else 200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever).start()
        connection = Http(at(listening.server_address[1]))
        assert [connection.ask("GET", {"query": query}) for query in ("new", "old", "old")] == [b"1"] * 3
        connection.close()
        listening.shutdown()
    told = [asked.get("cancel_http_readonly_queries_on_client_close") for asked in seen]
    assert told == [["1"], ["1"], None, None]


def test_the_port_of_another_protocol(server: OldClickHouse) -> None:
    connection = Http(at(server.native_port), "secret")
    with pytest.raises(OSError, match=r"HTTP 400 .* is for clickhouse-client program\. You must use port"):
        connection.ask("GET", {"query": "SELECT 1"})
    connection.close()


def test_nobody_there() -> None:
    connection = Http(at(free_port()))
    with pytest.raises(OSError, match=r"Connection refused: is ClickHouse there, with HTTP\?"):
        connection.ask("GET", {"query": "SELECT 1"})


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clickhouse_http, "ANSWER_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = Http(at(silent.getsockname()[1]))
        with pytest.raises(TimeoutError, match=r"does not answer within 0\.2 s"):
            connection.ask("GET", {"query": "SELECT 1"})


def test_a_server_that_refuses_before_it_has_everything() -> None:
    def refuse() -> None:
        peer, _ = server.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(
                b"HTTP/1.1 400 Bad Request\r\nX-ClickHouse-Exception-Code: 117\r\nConnection: close\r\n\r\nCode: 117. No."
            )

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=refuse)
        thread.start()
        connection = Http(at(server.getsockname()[1]))
        with pytest.raises(ClickhouseError, match=r"No\. \(code 117\)"):
            connection.ask("POST", {"query": "INSERT …"}, bytes(32 << 20))
        thread.join()
        connection.close()


def test_closing_ends_a_call_that_waits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = Http(at(silent.getsockname()[1]))
        raised: list[OSError] = []

        def ask() -> None:
            try:
                connection.ask("GET", {"query": "SELECT 1"})
            except OSError as error:
                raised.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        peer, _ = silent.accept()
        with peer:
            while b"\r\n\r\n" not in peer.recv(4096):
                pass
            connection.close()
            thread.join(20)
        assert len(raised) == 1


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """A web server that is not ClickHouse: an error, or what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)["query"][0]
        if asked == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
            self.close_connection = True
            return
        body = b"<html>" + b"x" * 200_000 if asked == "page" else asked.encode()
        self.send_response(404 if asked == "page" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


class Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that do not trust it go away."""


@pytest.fixture
def elsewhere() -> Iterator[http.server.ThreadingHTTPServer]:
    with Quiet(("127.0.0.1", 0), Elsewhere) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def test_another_web_server(elsewhere: http.server.ThreadingHTTPServer) -> None:
    connection = Http(at(elsewhere.server_port))
    with pytest.raises(ClickhouseError, match="HTTP 404 Not Found: <html>x") as raised:
        connection.ask("GET", {"query": "page"})
    assert raised.value.code == 0
    assert len(str(raised.value)) < 300
    assert connection.ask("GET", {"query": "as new"}) == b"as new"  # the rest of the page is not taken for the answer
    with pytest.raises(OSError, match="IncompleteRead"):
        connection.ask("GET", {"query": "cut"})
    connection.close()


def test_https(elsewhere: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    elsewhere.socket = context.wrap_socket(elsewhere.socket, server_side=True, do_handshake_on_connect=False)
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    url = f"clickhouses://hep@127.0.0.1:{elsewhere.server_port}/x"
    for options in (f"?ca={file}", "?verify=no"):
        connection = Http(Address.parse(url + options))
        for _ in range(2):
            assert connection.ask("GET", {"query": "SELECT 1"}) == b"SELECT 1"
        connection.close()
    for options, words in (
        ("", "certificate verify failed"),
        ("?verify=maybe", "neither yes nor no"),
        ("?ca=/nix", "/nix"),
    ):
        with pytest.raises(OSError, match=words):
            Http(Address.parse(url + options)).ask("GET", {"query": "SELECT 1"})
