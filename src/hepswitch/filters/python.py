"""Conditions as Python: tree → `ast` → a function of a packet. What the flow runs.

    wanted = compile_filter('sip.method = INVITE and src_ip in 10.0.0.0/8')      wanted(hep) → bool
    tenant = compile_value('sip.header("X-Tenant")')                             tenant(hep) → str | None

No text of a user becomes code: the nodes are made here from the tree, names of attributes come from the table of fields,
and everything that somebody wrote is a constant. Packets are read by their attributes (`Packet` or `Hep`), each field when a
test first needs it; what the object does not have (`received` and `tags` of a bare `Hep`) is absent.

Several conditions in one function share what they read. A `Scope` keeps each value in a local variable of that function:

    scope = Scope(lists)
    body = []
    for rule in rules:                                   # in the order in which they will run
        test = expression(rule.tree, scope)              # reads into locals what they do not hold yet
        with scope.branch():                             # the body may not run: nothing counts as read by it
            then = [..., *scope.forget("captagent_id")]  # behind statements that changed a chunk
        body.append(ast.If(test, then, []))
    route = function([*scope.begin(), *body], scope)     # begin() last: then it is known what it must say

The packet is the argument `hep`; `scope.constant(value)` puts any object of yours within reach of your own statements.
A test's expression is truthy or falsy, not always a bool. Not here: the text (`language`), a lake (`sql`).
"""

from __future__ import annotations

import ast
import contextlib
import re
import types
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from hepswitch.filters.fields import CHUNK, SIP, Ref
from hepswitch.filters.language import parse, parse_field
from hepswitch.filters.tree import And, Check, Not, Or, Tree
from hepswitch.wire.chunks import by_name
from hepswitch.wire.hep import Hep

Lists = Mapping[str, Container[str]]
"""Named lists: what `in @name` asks. A number asks as its decimal text, octets as UTF-8 text."""

_NO_LISTS: Final[Lists] = {}
_UNREAD: Final = ...
"""What a local variable holds until its field is read. No field has it as its value."""

_ORDER: Final[dict[str, type[ast.cmpop]]] = {"<": ast.Lt, "<=": ast.LtE, ">": ast.Gt, ">=": ast.GtE}
_NAMED: Final[dict[str, Sequence[int]]] = {"payload type": Hep.proto_type.kinds, "IP protocol": Hep.proto_id.kinds}
_SIP_REF: Final = Ref(SIP, SIP.kind)
_LITERALS: Final = (str, bytes, int, float, bool, type(None), type(...))


def compile_filter(text: str, lists: Lists = _NO_LISTS) -> Callable[[Any], bool]:
    """The condition `text` as a function of a packet (`Packet` or `Hep`). Raises FilterError."""
    return compile_tree(parse(text, lists), lists)


def compile_tree(tree: Tree, lists: Lists = _NO_LISTS) -> Callable[[Any], bool]:
    """A parsed condition as a function of a packet."""
    scope = Scope(lists)
    answer = _answer(expression(tree, scope))
    return function([*scope.begin(), answer], scope)


def compile_value(text: str) -> Callable[[Any], Any]:
    """The one field that `text` names as a function of a packet: its value, None when it is absent. Raises FilterError."""
    return compile_ref(parse_field(text))


def compile_ref(ref: Ref) -> Callable[[Any], Any]:
    """A field as a function of a packet."""
    scope = Scope()
    value = scope.value(ref)
    return function([*scope.begin(), ast.Return(value)], scope)


def predicate(test: Check, lists: Lists = _NO_LISTS) -> Callable[[Any], bool]:
    """A test as a function of the field's value, for values that do not come from a packet."""
    scope = Scope(lists)
    return function([_answer(_holds(test, lambda: _name(scope.packet), scope))], scope)


def expression(tree: Tree, scope: Scope) -> ast.expr:
    """The condition as an expression within a function that is made with `scope`: truthy when it holds."""
    match tree:
        case Check():
            return _holds(tree, lambda: scope.value(tree.ref), scope)
        case Not(part):
            return ast.UnaryOp(ast.Not(), expression(part, scope))
        case And(parts) | Or(parts):
            first = expression(parts[0], scope)
            with scope.branch():  # the others are only looked at if need be
                rest = [expression(part, scope) for part in parts[1:]]
            return ast.BoolOp(ast.And() if isinstance(tree, And) else ast.Or(), [first, *rest])


def function(body: Sequence[ast.stmt], scope: Scope, name: str = "filter") -> Callable[[Any], Any]:
    """The function of one packet that `body` is, its expressions made with `scope`."""
    module = ast.parse(f"def {name}({scope.packet}): ...")
    definition = module.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.body = list(body)
    made = compile(ast.fix_missing_locations(module), f"<{name}>", "exec")
    code = next(one for one in made.co_consts if isinstance(one, types.CodeType))
    return types.FunctionType(code, scope.namespace, name)


class Scope:
    """What a generated function knows: its constants, and which fields are in which of its local variables.

    Made for code in a straight line: expressions are made in the order in which they will run.
    """

    packet: Final = "hep"
    """The name of the function's argument."""

    def __init__(self, lists: Lists = _NO_LISTS, *, in_flow: bool = False) -> None:
        self.lists = lists
        self._in_flow = in_flow  # the packet is a `Packet`: it has tags and says who sent it
        self.namespace: dict[str, Any] = {"__builtins__": {}}
        self._locals: dict[Ref | str, str] = {}
        self._asked: dict[str, None] = {}  # locals that are asked whether they hold something, in order
        self._read: set[Ref | str] = set()  # in their locals whatever way the function came here
        self._changes = 0
        self._forgotten: dict[Ref | str, int] = {}  # by which change last

    def constant(self, value: Any) -> ast.expr:
        """An expression for any object: a literal, or a name that only this function knows."""
        if type(value) in _LITERALS:
            return ast.Constant(value)
        name = f"constant_{len(self.namespace)}"
        self.namespace[name] = value
        return _name(name)

    def value(self, ref: Ref) -> ast.expr:
        """The value of a field; None when the packet does not have it. Reads it unless a local variable has it."""
        return self._local(ref, lambda: self._reading(ref))

    def forget(self, *changed: str) -> list[ast.stmt]:
        """Statements to put behind others that changed these chunks (names of `wire.chunks`), "tags", or the "version".

        What depends on them is read again when it is needed next. By number, or for "version": everything of the packet.
        """
        gone = [what for what in self._locals if any(_depends(what, name) for name in changed)]
        self._changes += 1
        self._forgotten |= dict.fromkeys(gone, self._changes)
        self._read.difference_update(gone)
        return [self._unread([self._locals[what] for what in gone])] if gone else []

    @contextlib.contextmanager
    def branch(self) -> Iterator[None]:
        """For what may not run: what is read meanwhile does not count as read afterwards, what is forgotten stays so."""
        before, changes = set(self._read), self._changes
        yield
        self._read = {what for what in before if self._forgotten.get(what, 0) <= changes}

    def begin(self) -> list[ast.stmt]:
        """The function's first statements: they make every local variable that is asked. For when all else is made."""
        return [self._unread(list(self._asked))] if self._asked else []

    def _unread(self, names: list[str]) -> ast.stmt:
        return ast.Assign([ast.Name(name, ast.Store()) for name in names], ast.Constant(_UNREAD), lineno=1)

    def _local(self, what: Ref | str, reading: Callable[[], ast.expr]) -> ast.expr:
        if what in self._read:
            return _name(self._locals[what])
        first = what not in self._locals
        name = self._locals.setdefault(what, f"local_{len(self._locals)}")
        read = ast.NamedExpr(ast.Name(name, ast.Store()), reading())
        self._read.add(what)
        if first:  # nothing before can have read it
            return read
        self._asked[name] = None
        there = ast.Compare(_name(name), [ast.IsNot()], [ast.Constant(_UNREAD)])
        return ast.IfExp(there, _name(name), read)

    def _reading(self, ref: Ref) -> ast.expr:
        field = ref.field
        packet = _name(self.packet)
        if field.owner == "tags":
            tags = self._local("tags", lambda: self._of_flow("tags", _tags))
            return ast.Compare(ast.Constant(ref.arguments[0]), [ast.In()], [tags])
        if field.owner == "packet":
            return self._attribute(packet, ref)
        if field.owner == "sip":
            owner = self.value(_SIP_REF)
        else:
            owner = self._local("received", lambda: self._of_flow("received", _received))
        # The test is what reads the owner: behind it stands a name.
        known = _name(self._locals[_SIP_REF if field.owner == "sip" else "received"])
        there = ast.Compare(owner, [ast.IsNot()], [ast.Constant(None)])
        return ast.IfExp(there, self._attribute(known, ref), ast.Constant(None))

    def _of_flow(self, name: str, otherwise: Callable[[Any], Any]) -> ast.expr:
        """What packets in the flow have; of others `otherwise` tells."""
        packet = _name(self.packet)
        if self._in_flow:
            return ast.Attribute(packet, name, ast.Load())
        return ast.Call(self.constant(otherwise), [packet], [])

    def _attribute(self, owner: ast.expr, ref: Ref) -> ast.expr:
        found = ast.Attribute(owner, ref.field.attribute, ast.Load())
        if not ref.arguments:
            return found
        return ast.Call(found, [ast.Constant(argument) for argument in ref.arguments], [])


def _name(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _answer(test: ast.expr) -> ast.stmt:
    return ast.Return(ast.IfExp(test, ast.Constant(True), ast.Constant(False)))


def _holds(test: Check, value: Callable[[], ast.expr], scope: Scope) -> ast.expr:
    """The test of a value that may be None."""
    octets = test.ref.kind == "octets"
    wanted: Any = test.value
    match test.op:
        case "present" if test.ref.kind in ("text", "octets", "address", "yes/no"):
            return value()
        case "present":
            return ast.Compare(value(), [ast.IsNot()], [ast.Constant(None)])
        case "=" if test.ref.kind in _NAMED:
            return ast.Compare(value(), [ast.In()], [scope.constant(_named(test.ref.kind, [wanted]))])
        case "=":
            return ast.Compare(value(), [ast.Eq()], [ast.Constant(wanted.encode() if octets else wanted)])
        case "among":
            if octets:
                wanted = frozenset(one.encode() for one in wanted)
            elif test.ref.kind in _NAMED:
                wanted = _named(test.ref.kind, wanted)
            return ast.Compare(value(), [ast.In()], [scope.constant(wanted)])
        case "within":
            return ast.Subscript(scope.constant(wanted.answers), value(), ast.Load())
    # The rest must not meet None. The first of these reads the value, the second finds it read.
    there = ast.Compare(value(), [ast.IsNot()], [ast.Constant(None)])
    found = value()
    match test.op:
        case "between":
            low, high = wanted
            holds: ast.expr = ast.Compare(ast.Constant(low), [ast.LtE(), ast.LtE()], [found, ast.Constant(high)])
        case "contains":
            holds = ast.Compare(ast.Constant(wanted.encode() if octets else wanted), [ast.In()], [found])
        case "~":
            text = ast.Call(scope.constant(_text), [found], []) if octets else found
            holds = ast.Call(scope.constant(re.compile(wanted).search), [text], [])
        case "listed":
            if test.ref.kind not in ("text", "address"):
                found = ast.Call(scope.constant(_text if octets else int.__repr__), [found], [])
            holds = ast.Compare(found, [ast.In()], [scope.constant(scope.lists[wanted])])
        case _:
            holds = ast.Compare(found, [_ORDER[test.op]()], [ast.Constant(wanted)])
    return ast.BoolOp(ast.And(), [there, holds])


def _named(kind: str, numbers: Iterable[int]) -> frozenset[int]:
    """The very objects that packets give: found in a set by identity, before `Named` compares by name."""
    given = _NAMED[kind]
    return frozenset(given[number] if number < len(given) else number for number in numbers)


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def _received(hep: Any) -> Any:
    return getattr(hep, "received", None)


def _tags(hep: Any) -> Container[str]:
    return getattr(hep, "tags", None) or ()


_PAYLOAD: Final = frozenset({"payload", "compressed_payload"})
_SOURCES: Final = {
    "sip": _PAYLOAD | {"proto_type"},
    "payload": _PAYLOAD,
    "compressed_payload": _PAYLOAD,
    "proto_family": frozenset({"proto_family", "src_ip", "dst_ip"}),
    "src_ip": frozenset({"src_ip", "proto_family"}),
    "dst_ip": frozenset({"dst_ip", "proto_family"}),
    "version": frozenset({"timestamp"}),  # version 1 has none: it gets one when an edit makes it version 3
}
"""The chunks that an attribute follows, where these are not just the one of its name."""


def _depends(what: Ref | str, changed: str) -> bool:
    """Whether a local variable may be wrong once `changed` has changed."""
    owner = what if isinstance(what, str) else what.field.owner
    if owner == "received":
        return False
    if owner == "tags" or changed == "tags":
        return owner == changed
    assert isinstance(what, Ref)
    if changed not in by_name or what.field is CHUNK:
        return True
    source = "sip" if owner == "sip" else what.field.attribute
    return changed in _SOURCES.get(source, (source,))
