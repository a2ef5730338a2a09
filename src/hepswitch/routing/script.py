"""Route scripts: loading a Python file, checking it, and the words for what is wrong with it.

A broken file is refused with its error, whatever it raises, sys.exit() too; whoever reloads keeps what ran before. The
modules in the route file's folder are part of it: every load imports them anew. Not here: calling the routes (`flow`).
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from hepswitch.books import label

MARK = "__hepswitch_route__"

MOST_MESSAGE = 500
"""Characters of an exception's message that are repeated."""

_not_ours: dict[Path, frozenset[str]] = {}
"""By folder of a route file: names of the modules that were imported before the first load from it, by somebody else."""


class ScriptError(Exception):
    """A route file that cannot be used; the message names the file, the line and what to do.

    `key`: what in the configuration does not fit the file, () when it is the file alone.
    """

    def __init__(self, message: str, key: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True, slots=True)
class Script:
    """A loaded route file. At least one route or policy is there."""

    path: Path
    hep_route: Callable[..., Any] | None
    sip_route: Callable[..., Any] | None
    policies: Mapping[str, Callable[..., Any]]
    """Functions marked @policy, by name."""


def load(
    path: Path, destinations: Iterable[str] = (), stores: Iterable[str] = (), traces: Iterable[str] = ()
) -> Script:
    """Run the route file at `path` and find its routes.

    Names of destinations, stores and traces that the file gives literally are checked against the configured ones. The
    file's folder is importable for it. Raises ScriptError.
    """
    code, tree = _compile(path)
    _check_names(path, tree, {"relay": set(destinations), "store": set(stores), "trace": set(traces)})
    module = _execute(path, code)
    routes = {kind: _route(path, module, kind) for kind in ("hep_route", "sip_route")}
    policies = {value.__name__: value for value in vars(module).values() if getattr(value, MARK, None) == "policy"}
    if not any(routes.values()) and not policies:
        raise ScriptError(f"{path}: no route found: mark a function with @hep_route or @sip_route (from hepswitch)")
    return Script(path, routes["hep_route"], routes["sip_route"], policies)


def place(path: Path, error: BaseException) -> str:
    """`file:line: Type`, the line being the script's own innermost one in the traceback: the same for the same mistake."""
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == str(path)]
    line = f":{lines[-1]}" if lines else ""
    return f"{path}{line}: {type(error).__name__}"


def where(path: Path, error: BaseException) -> str:
    """`file:line: Type: message`; a message may hold what packets say, so it is made fit for a log and cut."""
    try:
        message = label(str(error), MOST_MESSAGE)
    except Exception as second:  # noqa: BLE001 (the script's own exception class cannot say what it is)
        message = f"(its message raised {type(second).__name__})"
    return f"{place(path, error)}: {message}"


def _compile(path: Path) -> tuple[CodeType, ast.Module]:
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"{path}: cannot be read: {error}") from error
    try:
        tree = ast.parse(source, filename=str(path))
        return compile(tree, str(path), "exec"), tree
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last two: nested too deeply
        line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ScriptError(f"{path}{line}: {error}") from error


def _execute(path: Path, code: CodeType) -> ModuleType:
    module = ModuleType(f"hepswitch_route_{path.stem}")
    module.__file__ = str(path)
    folder = path.parent.resolve()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        with _fresh_modules(folder):
            exec(code, module.__dict__)  # noqa: S102 (the user's own script: running it is the feature)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ScriptError(where(path, error)) from error
    return module


@contextlib.contextmanager
def _fresh_modules(folder: Path) -> Iterator[None]:
    """While it lasts the modules in `folder` are imported as if for the first time; when it fails the old ones are back."""
    _not_ours.setdefault(folder, frozenset(sys.modules))
    old = {name: sys.modules.pop(name) for name in _modules_in(folder)}
    importlib.invalidate_caches()
    writes_nothing, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # it would hide an edit of the same second
    try:
        yield
    except BaseException:
        for name in _modules_in(folder):
            del sys.modules[name]
        sys.modules.update(old)
        raise
    finally:
        sys.dont_write_bytecode = writes_nothing


def _modules_in(folder: Path) -> list[str]:
    """Modules and packages (with all that is in them) that lie directly in `folder` and came with a route file."""
    tops = {
        name
        for name, module in list(sys.modules.items())
        if "." not in name and name not in _not_ours[folder] and folder in _homes(module)
    }
    return [name for name in sys.modules if name.partition(".")[0] in tops]


def _homes(module: ModuleType) -> set[Path]:
    """The folders in which a top-level module or package lies."""
    roots = getattr(module, "__path__", None) or [getattr(module, "__file__", None)]
    return {Path(root).parent for root in roots if isinstance(root, str)}


def _route(path: Path, module: ModuleType, kind: str) -> Callable[..., Any] | None:
    found = [value for value in vars(module).values() if getattr(value, MARK, None) == kind]
    if len(found) > 1:
        names = ", ".join(function.__name__ for function in found)
        raise ScriptError(f"{path}: {len(found)} functions are marked @{kind} ({names}): keep one")
    if not found:
        return None
    function: Callable[..., Any] = found[0]
    line = function.__code__.co_firstlineno if inspect.isfunction(function) else 0
    if inspect.iscoroutinefunction(function):
        raise ScriptError(
            f"{path}:{line}: {function.__name__} is async: a route is a plain function, and nothing in it blocks"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ScriptError(
            f"{path}:{line}: {function.__name__} has a yield in it: nothing of it would run; leave that out"
        )
    try:
        inspect.signature(function).bind(None)
    except (TypeError, ValueError):
        raise ScriptError(f"{path}:{line}: {function.__name__} must take one argument, the packet") from None
    return function


def _check_names(path: Path, tree: ast.Module, known: dict[str, set[str]]) -> None:
    kinds = {"relay": "destination", "store": "store", "trace": "trace"}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    parameters = {argument.arg for function in functions for argument in function.args.args}
    problems = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=variable), attr="relay" | "store" | "trace" as action),
                args=[ast.Constant(value=str() as name), *_],
            ) if variable in parameters and name not in known[action]:
                pass
            case _:
                continue
        kind = kinds[action]
        names = ", ".join(sorted(known[action])) or "none"
        problems.append(
            f"{path}:{node.lineno}: no {kind} is named {name!r} (configured: {names}): "
            f"add [{kind}s.{name}] to the configuration or mend the route"
        )
    if problems:
        raise ScriptError("\n".join(problems))
