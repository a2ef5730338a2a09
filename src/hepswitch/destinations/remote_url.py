"""Where a lake's files go besides its folder: the URL in `remote` of `[stores.NAME]`.

    s3://BUCKET[/PREFIX][?endpoint=https://HOST[:PORT]][&region=NAME][&ca=FILE]
    file:///FOLDER

Without `endpoint` it is AWS; with it, any server that speaks S3, the bucket in the path. Not here: reaching it
(`lake.remote`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

S3, FOLDER = "s3", "file"

OPTIONS = ("endpoint", "region", "ca")

NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]*")
"""The name of a node that writes: it stands in the names of its files, before a "-"."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXAMPLE = 'write for example remote = "s3://bucket/lake?region=eu-central-1" or "file:///mnt/nfs/lake"'


@dataclass(frozen=True, slots=True)
class RemoteUrl:
    """The parts of such a URL; what is not said is empty. `root` is BUCKET/PREFIX or the folder, without a slash behind."""

    scheme: str
    root: str
    endpoint: str = ""
    region: str = ""
    ca: str = ""

    @classmethod
    def parse(cls, text: str) -> RemoteUrl:
        """Raises ValueError with what is wrong, and never with a secret that is in the wrong place."""
        try:
            parts = urlsplit(text)
            options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError:
            # What is wrong is not repeated, here and below: part of it may be a secret.
            raise ValueError(f"remote is no URL: {_EXAMPLE}") from None
        if "@" in parts.netloc:
            raise ValueError('keys do not belong into the URL: write access_key = "…" and secret_key = "env:NAME"')
        path = unquote(parts.path).strip("/")
        if parts.fragment or not path.isprintable() or any(part in ("", ".", "..") for part in path.split("/") if path):
            raise ValueError(
                f"the path in remote has an empty part, a dot alone, .., # or a control character: {_EXAMPLE}"
            )
        match parts.scheme:
            case "s3":
                return cls._bucket(parts.netloc, path, options)
            case "file" if path and not parts.netloc and not options:
                return cls(FOLDER, f"/{path}")
        raise ValueError(f"remote is no place for files that is known here: {_EXAMPLE}")

    @classmethod
    def _bucket(cls, bucket: str, prefix: str, options: dict[str, str]) -> RemoteUrl:
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(f"remote names no bucket: {_EXAMPLE}")
        if unknown := sorted(options.keys() - set(OPTIONS)):
            raise ValueError(f"the URL knows no option {unknown[0]}: it may have {', '.join(OPTIONS)}")
        if empty := [name for name, value in options.items() if not value]:
            raise ValueError(f"{empty[0]} in the URL says nothing: give a value, or leave it away")
        if "endpoint" in options:
            _check_endpoint(options["endpoint"])
        return cls(S3, f"{bucket}/{prefix}" if prefix else bucket, **options)

    @property
    def is_folder(self) -> bool:
        """True when it is a folder, False for a bucket."""
        return self.scheme == FOLDER

    def anchored(self, absolute: Callable[[Path], Path]) -> str:
        """The URL with an absolute path of `ca`."""
        if self.is_folder:
            return f"{FOLDER}://{quote(self.root)}"
        options = {"endpoint": self.endpoint, "region": self.region, "ca": self.ca and str(absolute(Path(self.ca)))}
        query = urlencode({name: value for name, value in options.items() if value}, safe=":/")
        return f"{S3}://{quote(self.root)}{'?' if query else ''}{query}"


def _check_endpoint(text: str) -> None:
    try:
        parts = urlsplit(text)
        bare = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        bare = False
    if not bare or parts.path.strip("/") or parts.query or "@" in parts.netloc:
        raise ValueError(
            "endpoint in remote is no address of a server: write for example endpoint=http://127.0.0.1:9000"
        )
