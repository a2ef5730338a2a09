"""Settings of Kafka clients (librdkafka): who the brokers are, who we are, TLS.

Not here: producing (`databases.kafka`) and consuming (`sources.kafka`), whose settings are added.
"""

from __future__ import annotations

from typing import Any

from hepswitch.streams.address import Login, StreamAddress, spelled

MECHANISMS = ("plain", "scram-sha-256", "scram-sha-512")
"""How a user and a password may be shown: `?sasl=` in the URL, the first one unless given."""

OPTIONS = frozenset({"sasl"})
"""What may stand in the URL beside the options of TLS."""


def check(address: StreamAddress) -> None:
    """ValueError for a mechanism that we do not know."""
    if (mechanism := address.options.get("sasl", MECHANISMS[0])) not in MECHANISMS:
        raise ValueError(f"sasl={mechanism} in the URL is none of {', '.join(MECHANISMS)}")


def settings(address: StreamAddress, login: Login, name: str) -> dict[str, Any]:
    """What every client needs; `name` is what the brokers call us in their logs."""
    found: dict[str, Any] = {
        "bootstrap.servers": ",".join(map(spelled, address.servers)),
        "client.id": name,
        "log_level": 0,  # it would write on standard error by itself; errors come to `error_cb` and with answers
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2000,
        "socket.connection.setup.timeout.ms": 5000,
        "security.protocol": ("SASL_" if login.user else "") + ("SSL" if address.is_tls else "PLAINTEXT"),
    }
    if login.user:
        found["sasl.mechanism"] = address.options.get("sasl", MECHANISMS[0]).upper()
        found["sasl.username"], found["sasl.password"] = login.user, login.password
    if address.is_tls:
        files = {"ca": "ssl.ca.location", "cert": "ssl.certificate.location", "key": "ssl.key.location"}
        found |= {setting: address.options[option] for option, setting in files.items() if option in address.options}
        if address.options.get("verify") == "no":
            found["enable.ssl.certificate.verification"] = False
    return found
