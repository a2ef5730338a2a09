"""TLS contexts from URL options: what they demand, and what errors name."""

import ssl
from pathlib import Path

import pytest
import trustme

from hepswitch.net.tls import client_context, server_context
from hepswitch.units import Endpoint


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    (folder / "bad.pem").write_text("not a certificate")
    return {name: str(folder / f"{name}.pem") for name in ("ca", "key", "cert", "bad")}


def tls(**options: str) -> Endpoint:
    return Endpoint("tls", "localhost", 9061, options)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> ssl.SSLObject:
    """Both ends in memory; gives the client's end. Raises ssl.SSLError of either end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=name),
    ]
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    ends[0].write(b"x")
    assert ends[1].read(1) == b"x"
    return ends[1]


def test_client_with_the_authority_trusts_the_server(files) -> None:
    end = handshake(server_context(tls(cert=files["cert"], key=files["key"])), client_context(tls(ca=files["ca"])))
    assert end.version() in ("TLSv1.2", "TLSv1.3")


def test_client_refuses_unknown_authority_and_wrong_name(files) -> None:
    server = server_context(tls(cert=files["cert"], key=files["key"]))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, client_context(tls()))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, client_context(tls(ca=files["ca"])), name="elsewhere")


def test_verify_no_accepts_any_server(files) -> None:
    handshake(server_context(tls(cert=files["cert"], key=files["key"])), client_context(tls(verify="no")), name="any")


def test_mutual_tls_demands_a_certificate_of_the_authority(files) -> None:
    server = server_context(tls(cert=files["cert"], key=files["key"], client_ca=files["ca"]))
    handshake(server, client_context(tls(ca=files["ca"], cert=files["cert"], key=files["key"])))
    with pytest.raises(ssl.SSLError):
        handshake(server, client_context(tls(ca=files["ca"])))


def test_tls_1_1_is_refused(files) -> None:
    for context in (server_context(tls(cert=files["cert"], key=files["key"])), client_context(tls(verify="no"))):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (server_context, {}, r"tls://localhost:9061 needs a certificate: add \?cert=FILE&key=FILE"),
        (server_context, {"cert": "cert", "key": "missing"}, "key=.*missing.pem cannot be read: No such file"),
        (server_context, {"cert": "bad", "key": "key"}, "bad.pem and .*key.pem are no PEM certificate"),
        (server_context, {"cert": "cert", "key": "key", "client_ca": "bad"}, "client_ca=.*bad.pem holds no PEM"),
        (client_context, {"ca": "missing"}, "ca=.*missing.pem cannot be read"),
        (client_context, {"cert": "cert"}, "cert and key come together"),
    ],
)
def test_errors_name_the_option_and_the_file(make, options, words, files) -> None:
    missing = str(Path(files["ca"]).with_name("missing.pem"))
    with pytest.raises((OSError, ValueError), match=words):
        make(tls(**{option: {**files, "missing": missing}[name] for option, name in options.items()}))


def test_wrong_options_are_named(files) -> None:
    with pytest.raises(ValueError, match="verify=maybe is neither yes nor no"):
        client_context(tls(verify="maybe"))
