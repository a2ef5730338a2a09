"""The language of conditions: text → tree.

    sip.method in ["INVITE", "BYE"] and src_ip in 10.0.0.0/8 and not sip.user_agent ~ "friendly-scanner"

    condition = all {"or" all}          all = no {"and" no}          no = {"not"} ("(" condition ")" | test)
    test      = field [ ("=" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "contains" | "~" | "!~") value
                      | ["not"] "in" ("[" value {"," value} "]" | value ".." value | network | "@" list) ]
    field     = name | name "(" argument {"," argument} ")"

A value is a word or quoted text. A test of an absent field is false; `!=`, `!~` and `not in` are the opposites of `=`, `~`
and `in`, hence true. Every mistake that can be known before there is a packet is a FilterError at its place: names, types,
regular expressions, networks. Text of any kind gives a tree or a FilterError, within bounds of length and nesting.

Not here: which fields there are (`fields`), carrying out tests (`python`, `sql`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import Final, NoReturn

from hepswitch.filters import values
from hepswitch.filters.errors import FilterError
from hepswitch.filters.fields import CHUNK, FIELDS, FUNCTIONS, HEADER, KINDS, NAMES, Field, Kind, Ref
from hepswitch.filters.tokens import KEYWORDS, Token, tokens
from hepswitch.filters.tree import And, Not, Op, Or, Test, Tree, Value
from hepswitch.wire.chunks import by_id

DEEPEST: Final = 64
"""How deep parentheses and `not` may nest."""

_ORDER: Final[dict[str, Op]] = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}
_NUMBERS: Final = ("number", *NAMES)


def parse(text: str, lists: Collection[str] = ()) -> Tree:
    """The tree of a condition that may speak of the lists named. Raises FilterError."""
    parser = _Parser(text, lists)
    tree = parser.condition()
    parser.done()
    return tree


def parse_field(text: str) -> Ref:
    """The one field that `text` names: `node_name`, `sip.header("X-Tenant")`. Raises FilterError."""
    parser = _Parser(text, ())
    token = parser.now
    refs = parser.field()
    parser.done()
    if len(refs) != 1:
        parser.fail(token, f"{token.text} stands for several fields: name one of {', '.join(_names(refs))}")
    return refs[0]


class _Parser:
    def __init__(self, text: str, lists: Collection[str]) -> None:
        self.text = text
        self.lists = lists
        self.tokens = tokens(text)
        self.at = 0
        self.depth = 0

    # ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def now(self) -> Token:
        return self.tokens[self.at]

    def fail(self, token: Token, message: str) -> NoReturn:
        raise FilterError(self.text, token.offset, message)

    def next(self) -> Token:
        token = self.now
        if token.kind != "end":
            self.at += 1
        return token

    def take(self, *words: str) -> str | None:
        """The keyword or operator that stands here, if it is one of `words`."""
        if self.now.kind in ("word", "operator") and self.now.text in words:
            return self.next().text
        return None

    def expect(self, operator: str, why: str) -> None:
        if self.take(operator) is None:
            self.fail(self.now, f"{operator} is missing {why}")

    def done(self) -> None:
        if self.now.kind != "end":
            self.fail(self.now, f"{self.now.text!r} does not belong here: and, or, or the end is expected")

    # ── conditions ───────────────────────────────────────────────────────────────────────────────────────────────────

    def condition(self) -> Tree:
        return self.chain("or", Or, lambda: self.chain("and", And, self.negation))

    def chain(self, word: str, join: type[And | Or], part: Callable[[], Tree]) -> Tree:
        parts = [part()]
        while self.take(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else join(tuple(parts))

    def negation(self) -> Tree:
        opener = self.now
        word = self.take("not", "(")
        if word is None:
            return self.test()
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(opener, f"nested deeper than {DEEPEST}")
        if word == "not":
            tree: Tree = Not(self.negation())
        else:
            tree = self.condition()
            self.expect(")", "here")
        self.depth -= 1
        return tree

    def test(self) -> Tree:
        token = self.now
        refs = self.field()
        kind = refs[0].kind
        domain = FIELDS[token.text].domain if token.text in FIELDS else None

        def tests(op: Op, value: Value = None) -> Tree:
            made = tuple(Test(ref, op, value, token.offset) for ref in refs)
            return made[0] if len(made) == 1 else Or(made)

        def equal(value: Token) -> Tree:
            if domain is None or "@" not in value.text:
                return tests(*values.equal(self.text, kind, token.text, value))
            user, _, host = value.text.rpartition("@")
            there = FIELDS[domain]
            return And((tests("=", user), Test(Ref(there, there.kind), "=", host, token.offset)))

        opposite = self.now.text.startswith("!") or self.now.text == "not"
        operator = self.now
        word = self.take("=", "==", "!=", *_ORDER, "~", "!~", "contains", "in", "not")
        if word is None:
            return tests("present")
        if word == "not" and self.take("in") is None:
            self.fail(self.now, "in is missing behind not")
        if kind == "yes/no":
            self.fail(operator, f"{token.text} is a yes/no: write it alone, or behind not")
        if word in ("in", "not"):
            tree = self.membership(kind, token.text, tests, equal)
        elif word in _ORDER:
            if kind not in _NUMBERS:
                self.fail(operator, f"{token.text} is no number ({kind}): {word} compares numbers")
            tree = tests(_ORDER[word], values.number(self.text, kind, token.text, self.value()))
        elif word in ("~", "!~", "contains"):
            if kind not in ("text", "octets"):
                self.fail(operator, f"{token.text} is no text ({kind}): {word} searches text")
            value = self.value()
            tree = tests("contains", value.text) if word == "contains" else tests("~", values.regex(self.text, value))
        else:
            tree = equal(self.value())
        return Not(tree) if opposite else tree

    def membership(
        self, kind: Kind, name: str, tests: Callable[[Op, Value], Tree], equal: Callable[[Token], Tree]
    ) -> Tree:
        """What stands behind `in`."""
        begin = self.now
        if begin.kind == "list":
            self.next()
            if begin.text[1:] not in self.lists:
                known = ", ".join(f"@{one}" for one in sorted(self.lists)) or "none"
                self.fail(begin, f"no list is called {begin.text}; known: {known}")
            return tests("listed", begin.text[1:])
        bracket = self.take("[")
        found = [self.value()]
        if bracket:
            while self.take(","):
                found.append(self.value())
            self.expect("]", "at the end of the list, or a comma between its values")
        elif self.take(".."):
            return tests("between", values.span(self.text, kind, name, found[0], self.value()))
        if kind == "address":
            return tests("within", values.networks(self.text, found))
        if not bracket:
            more = ", or a range: 5060..5090" if kind in _NUMBERS else ""
            self.fail(begin, f"write what {name} may be in brackets: in [{begin.text}, …]{more}")
        if any("@" in value.text for value in found):
            parts = tuple(equal(value) for value in found)
            return parts[0] if len(parts) == 1 else Or(parts)
        return tests("among", values.among(self.text, kind, name, found))

    def value(self) -> Token:
        token = self.next()
        if token.kind == "word" and token.text in KEYWORDS:
            self.fail(token, f"a value is expected here; if {token.text} is meant as one, put it in quotes")
        if token.kind not in ("word", "text"):
            self.fail(token, "a value is expected here")
        return token

    # ── fields ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def field(self) -> list[Ref]:
        """The field that stands here: as one reference, or as those that it stands for."""
        token = self.next()
        if token.kind != "word" or token.text in KEYWORDS:
            self.fail(token, "a field is expected here, such as src_ip or sip.method")
        if token.text in FUNCTIONS:
            return [self.call(FUNCTIONS[token.text])]
        field = FIELDS.get(token.text)
        if field is None:
            self.fail(token, f"no field is called {token.text!r}{_meant(token.text)}")
        if self.now.text == "(" and self.now.kind == "operator":
            self.fail(self.now, f"{token.text} takes no arguments")
        return [Ref(one, one.kind) for one in ([FIELDS[name] for name in field.any_of] or [field])]

    def call(self, field: Field) -> Ref:
        self.expect("(", f"behind {field.name}: write {field.call}")
        if field is CHUNK:
            return self.chunk()
        token = self.now
        name = self.value().text
        if not name.strip():
            self.fail(token, f"a name is expected here: write {field.call}")
        self.expect(")", f"here: write {field.call}")
        return Ref(field, field.kind, (name.lower() if field is HEADER else name,))

    def chunk(self) -> Ref:
        number = values.number(self.text, "number", "a chunk", self.value(), 0xFFFF)
        given: dict[str, Token] = {}
        while self.take(","):
            name = self.next()
            if name.text not in ("vendor", "type") or name.text in given:
                self.fail(name, f"vendor= or type= is expected here, each once: write {CHUNK.call}")
            self.expect("=", f"behind {name.text}")
            given[name.text] = self.value()
        self.expect(")", f"here: write {CHUNK.call}")
        vendor = values.number(self.text, "number", "vendor", given["vendor"], 0xFFFF) if "vendor" in given else None
        if "type" not in given:
            known = not vendor and number in by_id
            kind = by_id[number].type if known else "octet-string"
        else:
            kind = given["type"].text
            if kind not in KINDS:
                self.fail(given["type"], f"no chunk type is called {kind!r}: use one of {', '.join(KINDS)}")
        return Ref(CHUNK, KINDS[kind], (number, kind, vendor))


def _names(refs: list[Ref]) -> list[str]:
    return [ref.field.name for ref in refs]


def _meant(name: str) -> str:
    """A hint for a name that there is not."""
    known = [*FIELDS, *FUNCTIONS]
    close = get_close_matches(name, known, 1) or [one for one in known if one == f"sip.{name}"]
    if not close:
        close = get_close_matches(f"sip.{name}", known, 1, 0.8)
    return f"; did you mean {close[0]}?" if close else ". docs/reference/filters.md lists the fields"
