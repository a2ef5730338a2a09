"""MI, the management interface of OpenSIPS, for opensips-cli: what a command is, and how it is called.

A command has one name of the form `module:command`, older names, and recipes: the parameters that go together, `[…]` when
one may be left out. They come by name or in order. Not here: JSON-RPC (`jsonrpc`), the commands themselves (`mi_commands`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from hepswitch.control.jsonrpc import INVALID_PARAMS, NOT_FOUND, CallError, Params
from hepswitch.control.protocol import Switch
from hepswitch.control.refusal import RefusedError

LISTS = {"filter", "statistics"}
"""Parameters that are lists of texts; one text alone is a list, too. All others are texts."""


class Recipe:
    """The parameters of one way to call a command: "id mode", "id uri [filter]"."""

    def __init__(self, text: str) -> None:
        words = text.split()
        self.params = [word.strip("[]") for word in words]
        self._required = [word for word in words if not word.startswith("[")]

    def has_room_for(self, count: int) -> bool:
        """Whether it takes so many parameters."""
        return len(self._required) <= count <= len(self.params)

    def fits(self, params: Params) -> bool:
        """Whether it takes these parameters."""
        if isinstance(params, list):
            return self.has_room_for(len(params))
        return set(self._required) <= params.keys() <= set(self.params)


class Command(NamedTuple):
    """A command: `run(switch, **parameters)` gives its result or raises CallError or RefusedError."""

    name: str
    help: str
    recipes: list[Recipe]
    run: Callable[..., Awaitable[Any]]

    @property
    def module(self) -> str:
        """The module of OpenSIPS that has it."""
        return self.name.partition(":")[0] if ":" in self.name else "core"

    def arguments(self, params: Params) -> dict[str, Any]:
        """`params` by name. Raises CallError when no recipe takes them."""
        params = params or {}
        fitting = [recipe for recipe in self.recipes if recipe.fits(params)]
        if isinstance(params, dict):
            named = params
        elif len(fitting) > 1:
            raise CallError(*INVALID_PARAMS, "Ambiguous call, use named parameters instead")
        else:
            named = dict(zip(fitting[0].params, params, strict=False)) if fitting else {}
        if not fitting:
            match = any(recipe.has_room_for(len(params)) for recipe in self.recipes)
            trouble = "Named parameters do not match" if match else "Too few or too many parameters"
            raise CallError(*INVALID_PARAMS, f"{trouble} ({self.usage})")
        return {name: _value(name, value) for name, value in named.items()}

    @property
    def usage(self) -> str:
        """The recipes, for a person."""
        known = [" ".join(recipe.params) or "no parameters" for recipe in self.recipes]
        return f"{self.name} takes: {'; or '.join(known)}"


def _value(name: str, value: Any) -> str | list[str]:
    many = value if name in LISTS and isinstance(value, list) else [value]
    if not all(isinstance(each, (str, int)) and not isinstance(each, bool) for each in many):
        raise CallError(*INVALID_PARAMS, f"{name} is {'a list of texts' if name in LISTS else 'a text'}")
    texts = [str(each) for each in many]
    return texts if name in LISTS else texts[0]


class MI:
    """Calls `commands` (by every name that they have) for `switch`."""

    def __init__(self, switch: Switch, commands: Mapping[str, Command]) -> None:
        self._switch = switch
        self._commands = commands

    async def call(self, method: str, params: Params) -> Any:
        """The result of a command. Raises CallError."""
        command = self._commands.get(method)
        if command is None:
            raise CallError(*NOT_FOUND, f"{method!r} is no command here: `which` lists them")
        try:
            return await command.run(self._switch, **command.arguments(params))
        except RefusedError as error:
            # OpenSIPS has no 409: what cannot be done as things are is a 500 there.
            raise CallError(500 if error.status == 409 else error.status, "Command failed", str(error)) from error
