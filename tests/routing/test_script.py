"""Loading route files: what is accepted, and the words for what is not."""

from pathlib import Path

import pytest

from hepswitch.routing.script import ScriptError, load, where

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
