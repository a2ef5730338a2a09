"""Loading route files: what is accepted, and the words for what is not."""

import importlib
import sys
from pathlib import Path

import pytest

from hepswitch.routing.script import ScriptError, load, place, where

GOOD = """
from hepswitch import hep_route, sip_route

@hep_route
def switch(hep):
    hep.relay("homer")

@sip_route
def sip(msg):
    msg.store("calls")
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "route.py"
    path.write_text(text)
    return path


def test_both_routes_are_found(tmp_path: Path) -> None:
    script = load(_write(tmp_path, GOOD), ["homer"], ["calls"])
    assert script.hep_route is not None
    assert script.hep_route.__name__ == "switch"
    assert script.sip_route is not None


def test_names_that_the_configuration_lacks_are_told_with_their_lines(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD)
    with pytest.raises(ScriptError) as caught:
        load(path, ["hommer"], [])
    assert str(caught.value).splitlines() == [
        f"{path}:6: no destination is named 'homer' (configured: hommer): add [destinations.homer] to the "
        "configuration or mend the route",
        f"{path}:10: no store is named 'calls' (configured: none): add [stores.calls] to the configuration "
        "or mend the route",
    ]


def test_other_objects_may_have_a_store_too(tmp_path: Path) -> None:
    text = "from hepswitch import hep_route\ncache = {}\n@hep_route\ndef r(hep):\n    cache.store('x')\n"
    assert load(_write(tmp_path, text)).hep_route is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def broken(:\n", r":1: "),
        ("x = 1\n", "no route found"),
        ("import nothing_of_that_name\n", r":1: ModuleNotFoundError"),
        ("\n\n1 / 0\n", r":3: ZeroDivisionError"),
        ("from hepswitch import hep_route\n@hep_route\nasync def r(hep): ...\n", "is async"),
        ("from hepswitch import hep_route\n@hep_route\ndef r(): ...\n", "must take one argument"),
        (
            "from hepswitch import hep_route\n@hep_route\ndef a(h): ...\n@hep_route\ndef b(h): ...\n",
            "2 functions .*a, b",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ScriptError, match=words):
        load(_write(tmp_path, text))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="cannot be read"):
        load(tmp_path / "none.py")


def test_modules_beside_the_route_are_importable(tmp_path: Path) -> None:
    (tmp_path / "beside_the_route.py").write_text("NAME = 'homer'\n")
    text = (
        "from hepswitch import hep_route\nfrom beside_the_route import NAME\n@hep_route\ndef r(hep): hep.relay(NAME)\n"
    )
    assert load(_write(tmp_path, text)).hep_route is not None


def test_where_names_the_scripts_own_line(tmp_path: Path) -> None:
    path = _write(tmp_path, "from hepswitch import hep_route\n@hep_route\ndef r(hep):\n    return int('x')\n")
    route = load(path).hep_route
    assert route is not None
    with pytest.raises(ValueError, match="invalid literal") as caught:
        route(None)
    assert where(path, caught.value).startswith(f"{path}:4: ValueError: invalid literal")


ROUTE = "from hepswitch import hep_route\n"


@pytest.mark.parametrize(
    "last_words", ["import sys\nsys.exit(3)\n", "raise BaseException('x')\n", "def f(): f()\nf()\n"]
)
def test_a_file_that_ends_the_program_is_refused(tmp_path: Path, last_words: str) -> None:
    with pytest.raises(ScriptError, match=r":\d: (SystemExit|BaseException|RecursionError)"):
        load(_write(tmp_path, ROUTE + last_words))


def test_a_file_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScriptError):
        load(_write(tmp_path, ROUTE + "x = " + "(" * 5000 + ")" * 5000))


@pytest.mark.parametrize("text", ["def r(hep):\n    yield hep\n", "async def r(hep):\n    yield hep\n"])
def test_a_generator_is_no_route(tmp_path: Path, text: str) -> None:
    with pytest.raises(ScriptError, match=r":2: r has a yield in it"):
        load(_write(tmp_path, f"{ROUTE}@hep_route\n{text}"))


def test_a_load_imports_the_modules_beside_the_route_anew(tmp_path: Path) -> None:
    (tmp_path / "helping_package").mkdir()
    inner = tmp_path / "helping_package" / "inner.py"
    inner.write_text("NAME = 1\n")
    text = ROUTE + "@hep_route\ndef r(hep):\n    from helping_package import inner\n    return inner.NAME\n"
    path = _write(tmp_path, text)

    def name() -> object:
        route = load(path).hep_route
        assert route is not None
        return route(None)

    assert name() == 1
    inner.write_text("NAME = 2\n")
    assert name() == 2, "also what the route imports when it is called"
    path.write_text(f"{text}import helping_package.inner\nhelping_package.inner.NAME = 3\n1 / 0\n")
    with pytest.raises(ScriptError, match="ZeroDivisionError"):
        load(path)
    from helping_package import inner as loaded  # type: ignore[import-not-found]

    assert loaded.NAME == 2, "a load that failed leaves the modules of the one before"


def test_modules_that_somebody_else_imported_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_by_a_test.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("imported_by_a_test")
    path = _write(tmp_path, f"{ROUTE}import imported_by_a_test\n@hep_route\ndef r(hep): ...\n")
    load(path)
    load(path)
    assert sys.modules["imported_by_a_test"] is module


def test_what_is_said_of_an_error_is_short_and_fit_for_a_log(tmp_path: Path) -> None:
    path = _write(tmp_path, f"{ROUTE}@hep_route\ndef r(hep):\n    raise ValueError('\\udc80' + hep * 1000)\n")
    route = load(path).hep_route
    assert route is not None
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (what it says is looked at below)
        route("x")
    assert place(path, caught.value) == f"{path}:4: ValueError"
    assert where(path, caught.value) == f"{path}:4: ValueError: ?{'x' * 499}"
