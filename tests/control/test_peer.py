"""Whose program is at the other end of a connection: real connections of this process, closed ones, and other users'."""

from __future__ import annotations

import os
import socket

import pytest

from far_ends import until
from hepswitch.control.peer import user_of


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
async def test_the_user_is_seen_while_the_connection_is_open(family: socket.AddressFamily, host: str) -> None:
    with socket.create_server((host, 0), family=family) as server:
        client = socket.create_connection(server.getsockname()[:2])
        connection, peer = server.accept()
        with connection:
            here = connection.getsockname()[:2]
            assert user_of(peer[:2], here) == os.geteuid()
            assert user_of(here, (host, 1)) is None
            client.close()
            await until(lambda: user_of(peer[:2], here) is None, "nobody's, and not root's")


def test_a_socket_for_both_kinds_of_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_INET6) as client:
        client.connect((f"::ffff:{server.getsockname()[0]}", server.getsockname()[1]))
        connection, peer = server.accept()
        with connection:
            assert user_of(peer, connection.getsockname()) == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        os.seteuid(65_534)
        try:
            client.connect(server.getsockname())
            made_by_nobody = socket.create_connection(server.getsockname())
        finally:
            os.seteuid(0)
        with made_by_nobody:
            server.accept()[0].close()
            connection, peer = server.accept()
            with connection:
                assert user_of(peer, connection.getsockname()) == 65_534
