"""Lists from files: what a line may be, what is found, and what happens when the file changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.state.lists import FileList, ListError, NetworkList, Numbers, Prefixes, Words


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "list.txt"


def test_numbers(file: Path) -> None:
    file.write_bytes(
        b"\xef\xbb\xbf# fraud\r\n\r\n+49 30 123-456  # since May\r\n00441\r\n  (212) 555.0100\r\n4930123456\r\n"
    )
    numbers = Numbers(file)
    assert len(numbers) == 3
    for number in ("+4930123456", "4930123456", "+49-30-123456", "00441", "2125550100"):
        assert number in numbers
    for number in ("+493012345", "0441", "441", "0441", "", "+", "alice", "x" * 70_000, "9" * 40, "١٢", None, 441):
        assert number not in numbers


def test_prefixes_find_the_longest(file: Path) -> None:
    file.write_text("+49,germany\n+49 30, berlin\n+4930123,\n44\n")
    prefixes = Prefixes(file)
    found = {number: prefixes[number] for number in ("+4989", "493099", "+49301239", "+44207", "33", "bob", "4")}
    assert found == {
        "+4989": "germany", "493099": "berlin", "+49301239": "4930123", "+44207": "44", "33": None, "bob": None, "4": None,
    }  # fmt: skip
    assert ("+4989" in prefixes, "33" in prefixes, None in prefixes, len(prefixes)) == (True, False, False, 4)
    assert (prefixes.longest("+493099"), prefixes.longest("33")) == ("4930", None)


def test_networks(file: Path) -> None:
    file.write_text("10.0.0.0/8  # lab\n10.1.0.0/16\n2001:db8::/32\n192.0.2.1\n")
    networks = NetworkList(file)
    assert len(networks) == 4
    assert all(ip in networks for ip in ("10.200.0.1", "10.1.2.3", "2001:db8::5", "192.0.2.1"))
    assert not any(ip in networks for ip in ("11.0.0.1", "192.0.2.2", "alice", None))
    assert (networks.longest("10.1.2.3"), networks.longest("192.0.2.9")) == ("10.1.0.0/16", None)


def test_words(file: Path) -> None:
    file.write_text("  friendly-scanner \nVaxSIP#2\n# no\nsip vicious\n", encoding="utf-8")
    words = Words(file)
    assert len(words) == 3
    assert all(word in words for word in ("friendly-scanner", "VaxSIP#2", "sip vicious"))
    assert "no" not in words


@pytest.mark.parametrize(
    ("kind", "text", "line", "words"),
    [
        (Numbers, b"123\n\nalice\n", 3, 'is no telephone number: a list of any text is kind "words"'),
        (Numbers, b"1234567890123456789\n", 1, "more than 18 digits"),
        (Prefixes, b"# a\nberlin,49\n", 2, "begin with a prefix"),
        (NetworkList, b"10.0.0.0/8\n10.0.0.0/40\n", 2, "'10.0.0.0/40' is no"),
        (Words, b"fine\nbad \xff\n", 2, "is not UTF-8"),
    ],
)
def test_a_bad_line_is_named(file: Path, kind: type[FileList[object]], text: bytes, line: int, words: str) -> None:
    file.write_bytes(text)
    with pytest.raises(ListError, match=words) as caught:
        kind(file)
    assert str(caught.value).startswith(f"{file}:{line}: ")


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(ListError, match=r"list\.txt: cannot be read: No such file"):
        Words(file)


def test_a_changed_file_is_read_again(file: Path) -> None:
    file.write_text("123\n")
    numbers = Numbers(file)
    assert not numbers.changed()
    assert not numbers.refresh()
    file.write_text("123\n456\n")
    assert numbers.changed()
    assert numbers.refresh()
    assert ("456" in numbers, numbers.changed(), numbers.trouble) == (True, False, None)


def test_a_file_that_another_took_the_place_of_is_read_again(file: Path, tmp_path: Path) -> None:
    """Same size, and a time that does not tell: the way editors and rsync write."""
    file.write_text("123\n")
    numbers = Numbers(file)
    other = tmp_path / "other"
    other.write_text("456\n")
    other.replace(file)
    assert numbers.refresh()
    assert "456" in numbers


def test_a_broken_file_keeps_the_old_content_and_is_told_once(file: Path) -> None:
    file.write_text("123\n")
    numbers = Numbers(file)
    file.write_text("123\nalice\n")
    assert [numbers.refresh() for _ in range(3)] == [True, False, False]
    assert numbers.trouble is not None
    assert numbers.trouble.startswith(f"{file}:2: 'alice'")
    assert ("123" in numbers, len(numbers)) == (True, 1)
    file.unlink()
    assert [numbers.refresh() for _ in range(2)] == [True, False]
    assert numbers.trouble == f"{file}: cannot be read: No such file or directory"
    assert "123" in numbers
    file.write_text("789\n")
    assert [numbers.refresh() for _ in range(2)] == [True, False]
    assert (numbers.trouble, "789" in numbers, "123" in numbers) == (None, True, False)


def test_a_file_that_was_away_for_a_while_is_told_back(file: Path, tmp_path: Path) -> None:
    file.write_text("123\n")
    numbers = Numbers(file)
    file.rename(tmp_path / "away")
    assert numbers.refresh()
    (tmp_path / "away").rename(file)
    assert [numbers.refresh() for _ in range(2)] == [True, False]
    assert numbers.trouble is None


def test_who_reads_beside_a_loop_lets_go_of_it(file: Path) -> None:
    file.write_text("".join(f"{number}\n" for number in range(10_000)))
    pauses: list[int] = []
    numbers = Numbers(file)
    numbers.read(lambda: pauses.append(1))
    assert len(pauses) == 5
    assert len(numbers) == 10_000


@given(st.sets(st.text("0123456789", min_size=1, max_size=18)), st.text("0123456789", min_size=1, max_size=19))
def test_numbers_are_those_of_the_file(tmp_path_factory: pytest.TempPathFactory, held: set[str], other: str) -> None:
    file = tmp_path_factory.mktemp("numbers") / "list.txt"
    file.write_text("\n".join(held))
    numbers = Numbers(file)
    assert len(numbers) == len(held)
    assert all(number in numbers for number in held)
    assert (other in numbers) == (other in held)


@given(st.dictionaries(st.text("01", min_size=1, max_size=6), st.text("xyz", min_size=1), max_size=20), st.text("01"))
def test_the_longest_prefix_is_found(
    tmp_path_factory: pytest.TempPathFactory, held: dict[str, str], number: str
) -> None:
    file = tmp_path_factory.mktemp("prefixes") / "list.txt"
    file.write_text("".join(f"{prefix},{value}\n" for prefix, value in held.items()))
    fits = [prefix for prefix in held if number.startswith(prefix)]
    assert Prefixes(file)[number] == (held[max(fits, key=len)] if fits else None)
