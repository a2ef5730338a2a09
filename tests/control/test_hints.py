"""What a person should look at, in words."""

from __future__ import annotations

from hepswitch import books
from hepswitch.config import Config
from hepswitch.control.hints import hints
from hepswitch.destinations.figures import UploaderFigures


def test_uploads_that_fail_and_files_that_are_lost() -> None:
    config = Config()
    uploads = UploaderFigures()
    store = books.Account().snapshot()

    def said() -> list[str]:
        book = books.empty() | {"stores": {"lake": store | {"uploads": uploads.row()}, "other": store}}
        return list(hints(books.close(book, 1.0), config))

    assert said() == []
    uploads.state = "s3://bucket: access denied"
    uploads.lost_files = 2
    assert said() == [
        "store lake cannot upload: s3://bucket: access denied",
        "store lake: 2 files were deleted before they were uploaded: raise keep, or max_size",
    ]
