"""Which files count, of those in the folder and those on the storage."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hepswitch.lake.layout import LakeFile
from hepswitch.lake.remote import RemoteFile
from hepswitch.lake.snapshot import _counting

HOUR, SEGMENTS = 500_000, 12


@st.composite
def merged(draw: st.DrawFn) -> list[tuple[int, int]]:
    """The intervals of segments that files of one worker ever had: each one by itself, then neighbours merged."""
    level = [(number, number) for number in range(SEGMENTS)]
    found = list(level)
    while len(level) > 1 and draw(st.booleans()):
        first = draw(st.integers(0, len(level) - 2))
        last = draw(st.integers(first + 1, min(first + 3, len(level) - 1)))
        level[first : last + 1] = [(level[first][0], level[last][1])]
        found.append(level[first])
    return found


@given(intervals=merged(), data=st.data())
def test_each_segment_counts_once_wherever_its_files_are(intervals: list[tuple[int, int]], data: st.DataObject) -> None:
    near, far = [], []
    for first, last in intervals:
        where = data.draw(st.sampled_from(["here", "there", "both", "gone"]))
        if where in ("here", "both"):
            near.append(LakeFile(Path("x"), HOUR, 0, first, last))
        if where in ("there", "both"):
            far.append(RemoteFile("x", HOUR, "edge1", 0, first, last, 1, 0.0))
    others = [RemoteFile("y", HOUR, "edge2", 0, 3, 3, 1, 0.0), RemoteFile("z", HOUR, "edge2", 0, 4, 9, 1, 0.0)]
    # Of the segments here some are not sealed yet, as far as this reader knows.
    taken = {(0, number) for number in range(data.draw(st.integers(0, SEGMENTS)), SEGMENTS)}
    found = _counting(near, [*others, *far], "edge1", taken)
    unsealed = {number for _, number in taken}
    there = [set(range(file.first, file.last + 1)) for file in [*near, *far]]
    if found is None:
        assert any(each & unsealed and len(each) > 1 for each in there)
        return
    here, remote = found
    assert [file for file in remote if file.node == "edge2"] == others
    own = [*here, *(file for file in remote if file.node == "edge1")]
    counted = sorted(number for file in own for number in range(file.first, file.last + 1))
    assert counted == sorted(set().union(*there) - unsealed)  # once each, and none that the journal gives
    # What is here is not fetched.
    held = {(file.first, file.last) for file in near}
    assert not any((file.first, file.last) in held for file in remote if file.node == "edge1")
