"""Metrics of what loaders, keepers and uploaders do with the packets that workers have put into journals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import Metric

from hepswitch.control.metrics.families import Family, Group
from hepswitch.control.vitals import Vitals
from hepswitch.destinations.figures import (
    ACTIVE,
    BOUNDS,
    Durations,
    KeeperFigures,
    LoaderFigures,
    Troubles,
    UploaderFigures,
)

BEHIND = Group(
    "Loaders and keepers",
    "The loader of a database and the keeper of a lake are processes of their own. They write down what they have done once "
    "a second, and go on counting after a restart. What a store took and lost is above: rejected rows are "
    '`hepswitch_store_discarded_total{reason="rejected"}`, how far it is behind is `hepswitch_store_lag_seconds`.',
)
ROWS = BEHIND.counter(
    "hepswitch_store_rows_total", "Packets written into the database, or sealed into Parquet.", "store"
)
BYTES = BEHIND.counter(
    "hepswitch_store_bytes_total", "Bytes of the packets written into a database, as the journal has them.", "store"
)
BATCHES = BEHIND.histogram(
    "hepswitch_store_batch_seconds",
    "How long a batch took to get into the database, or a segment to be sealed.", "store",
)  # fmt: skip
ERRORS = BEHIND.counter(
    "hepswitch_store_errors_total", "Batches that a database did not take, rounds of a lake that failed.", "store"
)
LAST_ERROR = BEHIND.gauge("hepswitch_store_last_error_timestamp_seconds", "When that happened last.", "store")

LAKES = Group("Lakes", "As of the keeper's last round, at most a minute ago; sealed files count at once.")
FILES = LAKES.gauge("hepswitch_lake_files", "Parquet files.", "store")
SIZE = LAKES.gauge("hepswitch_lake_bytes", "Bytes on disk, journals included.", "store")
OLDEST = LAKES.gauge("hepswitch_lake_oldest_timestamp_seconds", "When the oldest file was written.", "store")
NEWEST = LAKES.gauge("hepswitch_lake_newest_timestamp_seconds", "When the newest file was written.", "store")
DELETED_FILES = LAKES.counter("hepswitch_lake_deleted_files_total", "Files deleted by keep and max_size.", "store")
DELETED_BYTES = LAKES.counter("hepswitch_lake_deleted_bytes_total", "Bytes of these files.", "store")

UPLOADS = Group("Uploads", "Of lakes with `remote`, as of the uploader's last look, a second or a few ago.")
UPLOAD_SECONDS = UPLOADS.histogram(
    "hepswitch_upload_seconds", "How long each file took to get into the storage.", "store"
)
UPLOADED = UPLOADS.counter("hepswitch_upload_bytes_total", "Bytes of these files.", "store")
UPLOADS_WAIT = UPLOADS.gauge("hepswitch_upload_waiting_files", "Files older than upload_after, not there yet.", "store")
UPLOAD_BYTES_WAIT = UPLOADS.gauge("hepswitch_upload_waiting_bytes", "Bytes of these files.", "store")
UPLOAD_LAG = UPLOADS.gauge(
    "hepswitch_upload_lag_seconds", "Seconds since the oldest of them was due; 0 without.", "store"
)
UPLOAD_UP = UPLOADS.gauge("hepswitch_upload_up", "1 while the storage does what it is asked.", "store")
UPLOAD_ERRORS = UPLOADS.counter(
    "hepswitch_upload_errors_total", "Attempts that failed, and files not to be read.", "store"
)
UPLOAD_LOST = UPLOADS.counter(
    "hepswitch_upload_lost_files_total", "Files deleted here (keep, max_size) before they were uploaded.", "store"
)
RELEASED = UPLOADS.counter("hepswitch_upload_released_files_total", "Files deleted here by keep_local.", "store")
EXPIRED = UPLOADS.counter("hepswitch_upload_deleted_files_total", "Files deleted in the storage by keep.", "store")


def collect(vitals: Vitals) -> Iterator[Metric]:
    """All of them."""
    loaders, keepers = vitals.loaders, vitals.keepers
    done: dict[str, LoaderFigures | KeeperFigures] = {**loaders, **keepers}
    yield ROWS.of(((name,), each.rows) for name, each in done.items())
    yield BYTES.of(((name,), each.bytes) for name, each in loaders.items())
    yield _durations({n: each.batches for n, each in loaders.items()} | {n: k.segments for n, k in keepers.items()})
    troubles = {name: each.troubles for name, each in done.items()}
    yield ERRORS.of(((name,), each.errors) for name, each in troubles.items())
    yield _last_errors(troubles)
    yield FILES.of(((name,), each.files) for name, each in keepers.items())
    yield SIZE.of(((name,), each.bytes) for name, each in keepers.items())
    yield _times(OLDEST, {name: each.oldest for name, each in keepers.items()})
    yield _times(NEWEST, {name: each.newest for name, each in keepers.items()})
    yield DELETED_FILES.of(((name,), each.deleted_files) for name, each in keepers.items())
    yield DELETED_BYTES.of(((name,), each.deleted_bytes) for name, each in keepers.items())
    yield from _uploads(vitals.uploaders)


def _uploads(uploaders: Mapping[str, UploaderFigures]) -> Iterator[Metric]:
    yield UPLOAD_SECONDS.spread(
        ((name,), BOUNDS, each.uploads.counts, each.uploads.total) for name, each in uploaders.items()
    )
    yield UPLOADED.of(((name,), each.bytes) for name, each in uploaders.items())
    yield UPLOADS_WAIT.of(((name,), each.waiting_files) for name, each in uploaders.items())
    yield UPLOAD_BYTES_WAIT.of(((name,), each.waiting_bytes) for name, each in uploaders.items())
    yield UPLOAD_LAG.of(((name,), each.lag) for name, each in uploaders.items())
    yield UPLOAD_UP.of(((name,), float(each.state == ACTIVE)) for name, each in uploaders.items())
    yield UPLOAD_ERRORS.of(((name,), each.troubles.errors) for name, each in uploaders.items())
    yield UPLOAD_LOST.of(((name,), each.lost_files) for name, each in uploaders.items())
    yield RELEASED.of(((name,), each.released_files) for name, each in uploaders.items())
    yield EXPIRED.of(((name,), each.deleted_files) for name, each in uploaders.items())


def _durations(by_store: Mapping[str, Durations]) -> Metric:
    return BATCHES.spread(((name,), BOUNDS, each.counts, each.total) for name, each in by_store.items())


def _last_errors(troubles: Mapping[str, Troubles]) -> Metric:
    return _times(LAST_ERROR, {name: each.last_error_at for name, each in troubles.items()})


def _times(family: Family, by_store: Mapping[str, float | None]) -> Metric:
    """What never happened has no sample."""
    return family.of(((name,), when) for name, when in by_store.items() if when is not None)
