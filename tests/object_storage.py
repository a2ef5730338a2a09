"""Storage for tests that lakes share: an S3-compatible server in a process of its own, ended with the test's module.

    from object_storage import Bucket, s3, bucket  # noqa: F401

`bucket` gives each test a bucket of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import fs

from hepswitch.lake.remote import Remote
from s3_server import KEY as KEY

SECRET = "not-checked"


class ObjectStorage:
    """The server: its address, what it was asked, and what goes wrong with it. `tls`: its certificate and key, PEM."""

    def __init__(self, folder: Path, *tls: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count(1)
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("s3_server.py"), folder, *tls],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{int(self._process.stdout.readline())}"

    def requests(self) -> list[str]:
        """What it was asked so far: method, path, query and range."""
        return (self.folder / "requests").read_text().splitlines()

    @contextlib.contextmanager
    def fault(self, kind: str) -> Iterator[None]:
        """Let every request fail meanwhile (see `s3_server`): "503", "cut", "hang", "cut PUT" …"""
        (self.folder / "fault.new").write_text(kind)
        (self.folder / "fault.new").replace(self.folder / "fault")
        try:
            yield
        finally:
            (self.folder / "fault").unlink()

    def bucket(self) -> Bucket:
        """A new bucket."""
        made = Bucket(self, f"bucket{next(self._numbers)}")
        # With a client of its own: hepswitch makes no buckets.
        client = fs.S3FileSystem(
            access_key=KEY, secret_key=SECRET, scheme="http", endpoint_override=self.endpoint.removeprefix("http://"),
            allow_bucket_creation=True,
        )  # fmt: skip
        client.create_dir(made.name)
        return made

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Bucket:
    """One bucket of the server; lakes are below the prefix `captures`."""

    def __init__(self, storage: ObjectStorage, name: str) -> None:
        self.storage = storage
        self.name = name

    @property
    def url(self) -> str:
        """What stands in `remote` of a store."""
        return f"s3://{self.name}/captures?endpoint={self.storage.endpoint}&region=eu-central-1"

    @property
    def table(self) -> dict[str, str]:
        """The keys of a store that say so."""
        return {"remote": self.url, "access_key": KEY, "secret_key": SECRET}

    def remote(self, patience: float = 2.0) -> Remote:
        """The lake there."""
        return Remote.parse(self.url, KEY, SECRET, patience)

    def names(self) -> list[str]:
        """The files of lakes that are there, superseded ones included, below the prefix."""
        remote = self.remote()
        found = [file for date in remote.dates() for hour in range(date, date + 24) for file in remote.listing(hour)]
        return sorted(file.path.partition("/captures/")[2] for file in found)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStorage]:
    storage = ObjectStorage(tmp_path_factory.mktemp("s3"))
    try:
        yield storage
    finally:
        storage.stop()


@pytest.fixture
def bucket(s3: ObjectStorage) -> Bucket:
    return s3.bucket()
