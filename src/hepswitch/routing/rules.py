"""Rules: routing that is written in the configuration instead of a script.

    [[rule]]
    name = "scanners"
    when = 'sip.user_agent ~ "friendly-scanner"'
    drop = "scanner"

    [[rule]]
    when = 'proto_type = RTCP and src_ip in 10.0.0.0/8'
    set = { captagent_id = 42 }
    relay = { by = "node_name", to = { fra1 = "homer-a" }, default = "homer" }
    stop = true

All rules become one Python function when the configuration is loaded: conditions share what they read of a packet, and
text of the file is never code. The rules are asked in order, each may act on the packet, and what one changed the next one
sees. A rule that drops, resumes or stops is the last one for its packet; a packet that comes to the end goes where
`hep_route.mode` says.

Not here: the language of conditions (`filters`), what the actions do (`routing.packet`), edits of chunks (`edits`).
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from hepswitch.edits import ChunkName, ChunkValues, Edits
from hepswitch.filters.language import parse
from hepswitch.filters.python import Lists, Scope, compile_value, expression, function
from hepswitch.references import Condition, DestinationName, FieldText, MaskName, StoreName
from hepswitch.routing.packet import Packet
from hepswitch.tables import Table

Route = Callable[[Packet], Any]


class RuleError(ValueError):
    """A rule could not do with a packet what it says; names the rule."""


class RelayAction(Table):
    """Where to relay to: to all of `names`, or to the one that a field of the packet chooses."""

    names: list[DestinationName] = Field([], description="The destinations.")
    by: FieldText | None = Field(
        None, description='Instead of names: the field that chooses, "node_name", \'sip.header("X-Tenant")\' …'
    )
    to: dict[str, DestinationName] = Field({}, description="Value of the field → destination.")
    default: DestinationName | None = Field(None, description="For any other value; without it they are not relayed.")

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> RelayAction:
        _one_way(self.by, self.to, self.default, "names" if self.names else None)
        if self.by is None and not self.names:
            raise ValueError(
                'name a destination, several, or choose one: { by = "node_name", to = { fra1 = "homer" } }'
            )
        return self


class StoreAction(Table):
    """What to store and where; without a name or choice the default store."""

    name: StoreName | None = Field(None, description="The store.")
    by: FieldText | None = Field(None, description="Instead of a name: the field that chooses.")
    to: dict[str, StoreName] = Field({}, description="Value of the field → store.")
    default: StoreName | None = Field(None, description="For any other value; without it such packets are not stored.")
    table: str | None = Field(None, description="Table name with strftime fields, by the packet's own time (UTC).")
    custom_field1: str | None = Field(None, description="Kept with the packet.")
    custom_field2: str | None = Field(None, description="Kept with the packet.")
    custom_field3: str | None = Field(None, description="Kept with the packet.")

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> StoreAction:
        _one_way(self.by, self.to, self.default, "name" if self.name else None)
        return self


def _one_way(by: str | None, to: Mapping[str, str], default: str | None, named: str | None) -> None:
    if by is not None and named is not None:
        raise ValueError(f"{named} and by exclude one another: name it, or choose it by a field")
    if by is None and (to or default):
        raise ValueError('to and default need by: the field that chooses, for example by = "node_name"')


def _relay_table(given: Any) -> Any:
    """A name or a list of them is short for a table."""
    return {"names": [given] if isinstance(given, str) else given} if isinstance(given, (str, list)) else given


def _store_table(given: Any) -> Any:
    """`true`, `false` or a name is short for a table."""
    if isinstance(given, bool):
        return {} if given else None
    return {"name": given} if isinstance(given, str) else given


class Rule(Table):
    """`[[rule]]`: routing without a script. Rules are asked in their order; `when` says for which packets one acts, and its
    actions come in the order of the keys below."""

    name: str = Field("", description="What it is called in the books and in errors; without one it is its number.")
    when: Condition | None = Field(None, description="The condition; without one the rule is for every packet.")
    sample: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Only for this share of the packets that fulfil the condition; a call is in with all of it or not.",
    )
    version: Literal[1, 2, 3] | None = Field(None, description="Convert the packet to this HEP version.")
    tag: list[str] = Field([], description="Tags that later rules, the script and filters of destinations can ask for.")
    set: ChunkValues = Field(
        {}, description="Chunks to write: a value, or {value, type, vendor} for a chunk by number."
    )
    delete: list[ChunkName] = Field([], description="Chunks to remove.")
    mask: MaskName | None = Field(None, description="Mask the packet as [masks.NAME] says, for all that comes after.")
    relay: Annotated[RelayAction | None, BeforeValidator(_relay_table)] = Field(
        None, description='A destination, several, or { by = "field", to = { value = "name" }, default = "name" }.'
    )
    store: Annotated[StoreAction | None, BeforeValidator(_store_table)] = Field(
        None, description="true: the default store; a name; or { name or by/to/default, table, custom_field1 … }."
    )
    drop: bool | str = Field(
        False, description="Drop, for this reason (true: the rule's name). The last rule for the packet."
    )
    resume: bool = Field(False, description="Go on in the SIP route. The last rule for the packet.")
    stop: bool = Field(False, description="Do nothing more with the packet. The last rule for it.")

    @model_validator(mode="after")
    def _does_something(self) -> Rule:
        acts = (self.version, self.tag, self.set, self.delete, self.mask, self.relay, self.store)
        if not any((*acts, self.drop, self.resume, self.stop)):
            raise ValueError(
                "the rule does nothing: give it relay, store, drop, set, delete, mask, tag, resume, stop …"
            )
        if self.drop is not False and (self.resume or self.store or self.relay):
            raise ValueError("a rule that drops cannot relay, store or resume: what should become of the packet?")
        return self


class Rules:
    """The rules as one function of a packet. `hits` counts for each rule the packets that it acted on."""

    def __init__(self, rules: Sequence[Rule], lists: Lists, then: Route) -> None:
        self.names = [rule.name or f"{number}" for number, rule in enumerate(rules, 1)]
        self.counts = [0] * len(rules)
        self.route = _compiled(rules, self.names, self.counts, lists, then)

    @property
    def hits(self) -> Mapping[str, int]:
        """Packets that each rule acted on, by its name."""
        hits = Counter[str]()
        for name, count in zip(self.names, self.counts, strict=True):
            hits[name] += count
        return hits


def _compiled(rules: Sequence[Rule], names: Sequence[str], counts: list[int], lists: Lists, then: Route) -> Route:
    scope = Scope(lists, in_flow=True)
    body: list[ast.stmt] = []
    ended = False
    for number, (rule, name) in enumerate(zip(rules, names, strict=True)):
        if ended:
            break
        test = _test(rule, scope)
        if test is None:
            body += _actions(rule, name, scope, counts, number)
            ended = _ends(rule)
        else:
            with scope.branch():
                actions = _actions(rule, name, scope, counts, number)
            body.append(ast.If(test, actions, []))
    if not ended:
        body += _code("THEN(hep)", scope, THEN=then)
    return function([*scope.begin(), *body], scope, "rules")


def _test(rule: Rule, scope: Scope) -> ast.expr | None:
    """Whether the rule acts on the packet; None: on every packet."""
    tests = []
    if rule.when is not None:
        tests.append(expression(parse(rule.when, list(scope.lists)), scope))
    if rule.sample is not None:
        tests.append(_value("hep.sampled(SHARE)", scope, SHARE=rule.sample))
    return ast.BoolOp(ast.And(), tests) if len(tests) > 1 else tests[0] if tests else None


def _ends(rule: Rule) -> bool:
    return rule.stop or rule.resume or rule.drop is not False


def _actions(rule: Rule, name: str, scope: Scope, counts: list[int], number: int) -> list[ast.stmt]:
    body = _code("COUNTS[NUMBER] += 1", scope, COUNTS=counts, NUMBER=number)
    if rule.version is not None:
        body += _code("CONVERT(hep)", scope, CONVERT=_named(name, lambda hep: _convert(hep, rule.version)))
        body += scope.forget("version")
    for tag in rule.tag:
        body += _code("hep.tag(TAG)", scope, TAG=tag)
    if rule.tag:
        body += scope.forget("tags")
    if rule.set or rule.delete:
        edits = Edits(rule.set, rule.delete)
        body += _code("EDIT(hep)", scope, EDIT=_named(name, edits.apply))
        # An old packet may have become version 3 for it, and has a timestamp then; its other fields are what they were.
        body += scope.forget("timestamp", "timestamp_us", *edits.changes)
    if rule.mask is not None:
        body += _code("hep.mask(NAME)", scope, NAME=rule.mask)
        body += scope.forget("version")
    body += _relaying(rule, scope)
    body += _storing(rule, scope)
    if rule.drop is not False:
        body += _code("hep.drop(REASON)", scope, REASON=name if rule.drop is True else rule.drop)
    if rule.resume:
        body += _code("hep.resume_sip()", scope)
    if _ends(rule):
        body.append(ast.Return(None))
    return body


def _relaying(rule: Rule, scope: Scope) -> list[ast.stmt]:
    action = rule.relay
    if action is None:
        return []
    if action.by is None:
        return [statement for name in action.names for statement in _code("hep.relay(NAME)", scope, NAME=name)]
    choose = _chooser(action.by, action.to, action.default)
    return _code("chosen = CHOOSE(hep)\nif chosen is not None:\n    hep.relay(chosen)", scope, CHOOSE=choose)


def _storing(rule: Rule, scope: Scope) -> list[ast.stmt]:
    action = rule.store
    if action is None:
        return []
    said = action.model_dump(include={"table", "custom_field1", "custom_field2", "custom_field3"}, exclude_none=True)
    given = "".join(f", {key}={key.upper()}" for key in said)
    constants = {key.upper(): value for key, value in said.items()}
    if action.by is None:
        return _code(f"hep.store(NAME{given})", scope, NAME=action.name, **constants)
    choose = _chooser(action.by, action.to, action.default)
    text = f"chosen = CHOOSE(hep)\nif chosen is not None:\n    hep.store(chosen{given})"
    return _code(text, scope, CHOOSE=choose, **constants)


def _chooser(by: str, to: Mapping[str, str], default: str | None) -> Callable[[Packet], str | None]:
    """The name that belongs to the packet's value of the field `by`."""
    value_of = compile_value(by)
    names = dict(to)

    def choose(hep: Packet) -> str | None:
        value = value_of(hep)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "surrogateescape")
        found = names.get(str(value))
        if found is None and isinstance(value, int):
            found = names.get(int.__repr__(value))  # a payload type goes by its name and by its number
        return default if found is None else found

    return choose


def _convert(hep: Packet, version: int | None) -> None:
    if version is not None:
        hep.version = version


def _named(name: str, change: Callable[[Packet], None]) -> Callable[[Packet], None]:
    """`change`, whose ValueError names the rule."""

    def changed(hep: Packet) -> None:
        try:
            change(hep)
        except ValueError as error:
            raise RuleError(f"rule {name}: {error}") from error

    return changed


def _code(text: str, scope: Scope, **constants: object) -> list[ast.stmt]:
    """The statements of `text`, which is ours, with CONSTANTS in it replaced."""
    module = _Constants(scope, constants).visit(ast.parse(text))
    assert isinstance(module, ast.Module)
    return module.body


def _value(text: str, scope: Scope, **constants: object) -> ast.expr:
    (statement,) = _code(text, scope, **constants)
    assert isinstance(statement, ast.Expr)
    return statement.value


class _Constants(ast.NodeTransformer):
    def __init__(self, scope: Scope, constants: Mapping[str, object]) -> None:
        self._scope = scope
        self._constants = constants

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._scope.constant(self._constants[node.id]) if node.id in self._constants else node
