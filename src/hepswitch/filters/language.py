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

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NoReturn

from hepswitch.filters import values
from hepswitch.filters.errors import FilterError
from hepswitch.filters.fields import CHUNK, FIELDS, FUNCTIONS, HEADER, KINDS, NAMES, Field, Kind, Ref
from hepswitch.filters.tokens import KEYWORDS, Token, tokens
from hepswitch.filters.tree import And, Check, Not, Op, Or, Tree, Value
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
    subject = parser.subject()
    parser.done()
    if len(subject.refs) != 1:
        names = ", ".join(ref.field.name for ref in subject.refs)
        raise FilterError(text, subject.offset, f"{subject.name} stands for several fields: name one of {names}")
    return subject.refs[0]


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a test is about: a field as the text names it, where, and the fields of one kind that it stands for."""

    name: str
    offset: int
    refs: Sequence[Ref]
    domain: Ref | None = None

    @property
    def kind(self) -> Kind:
        return self.refs[0].kind

    def check(self, op: Op, value: Value = None) -> Tree:
        return _any([Check(ref, op, value, self.offset) for ref in self.refs])


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
        subject = self.subject()
        operator = self.now
        word = self.take("=", "==", "!=", *_ORDER, "~", "!~", "contains", "in", "not")
        if word is None:
            return subject.check("present")
        if word == "not" and self.take("in") is None:
            self.fail(self.now, "in is missing behind not")
        name, kind = subject.name, subject.kind
        if kind == "yes/no":
            self.fail(operator, f"{name} is a yes/no: write it alone, or behind not")
        if word in ("in", "not"):
            tree = self.membership(subject)
        elif word in _ORDER:
            if kind not in _NUMBERS:
                self.fail(operator, f"{name} is no number ({kind}): {word} compares numbers")
            tree = subject.check(_ORDER[word], values.number(self.text, kind, name, self.value()))
        elif word in ("~", "!~", "contains"):
            if kind not in ("text", "octets"):
                self.fail(operator, f"{name} is no text ({kind}): {word} searches text")
            value = self.value()
            if word == "contains":
                tree = subject.check("contains", value.text)
            else:
                tree = subject.check("~", values.regex(self.text, value))
        else:
            tree = self.equal(subject, self.value())
        return Not(tree) if word in ("!=", "!~", "not") else tree

    def equal(self, subject: _Subject, value: Token) -> Tree:
        """The test that the field is what `value` says."""
        if subject.domain is None or "@" not in value.text:
            return subject.check(*values.equal(self.text, subject.kind, subject.name, value))
        user, _, host = value.text.rpartition("@")
        return And((subject.check("=", user), Check(subject.domain, "=", host, subject.offset)))

    def membership(self, subject: _Subject) -> Tree:
        """What stands behind `in`."""
        begin = self.now
        if begin.kind == "list":
            self.next()
            if begin.text[1:] not in self.lists:
                known = ", ".join(f"@{one}" for one in sorted(self.lists)) or "none"
                self.fail(begin, f"no list is called {begin.text}; known: {known}")
            return subject.check("listed", begin.text[1:])
        bracket = self.take("[")
        found = [self.value()]
        if bracket:
            while self.take(","):
                found.append(self.value())
            self.expect("]", "at the end of the list, or a comma between its values")
        elif self.take(".."):
            ends = values.span(self.text, subject.kind, subject.name, found[0], self.value())
            return subject.check("between", ends)
        if subject.kind == "address":
            return subject.check("within", values.networks(self.text, found))
        if not bracket:
            more = ", or a range: 5060..5090" if subject.kind in _NUMBERS else ""
            self.fail(begin, f"write what {subject.name} may be in brackets: in [{begin.text}, …]{more}")
        if subject.domain is not None:
            return _any([self.equal(subject, value) for value in found])
        return subject.check("among", values.among(self.text, subject.kind, subject.name, found))

    def value(self) -> Token:
        token = self.next()
        if token.kind == "word" and token.text in KEYWORDS:
            self.fail(token, f"a value is expected here; if {token.text} is meant as one, put it in quotes")
        if token.kind not in ("word", "text"):
            self.fail(token, "a value is expected here")
        return token

    # ── fields ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def subject(self) -> _Subject:
        """The field that stands here."""
        token = self.next()
        if token.kind != "word" or token.text in KEYWORDS:
            self.fail(token, "a field is expected here, such as src_ip or sip.method")
        if token.text in FUNCTIONS:
            return _Subject(token.text, token.offset, [self.call(FUNCTIONS[token.text])])
        field = FIELDS.get(token.text)
        if field is None:
            self.fail(token, f"no field is called {token.text!r}{_meant(token.text)}")
        if self.now.text == "(" and self.now.kind == "operator":
            self.fail(self.now, f"{token.text} takes no arguments")
        refs = [_plain(name) for name in field.any_of or (field.name,)]
        domain = None if field.domain is None else _plain(field.domain)
        return _Subject(token.text, token.offset, refs, domain)

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


def _any(parts: Sequence[Tree]) -> Tree:
    return parts[0] if len(parts) == 1 else Or(tuple(parts))


def _plain(name: str) -> Ref:
    return Ref(FIELDS[name], FIELDS[name].kind)


def _meant(name: str) -> str:
    """A hint for a name that there is not."""
    known = [*FIELDS, *FUNCTIONS]
    close = get_close_matches(name, known, 1) or [one for one in known if one == f"sip.{name}"]
    if not close:
        close = get_close_matches(f"sip.{name}", known, 1, 0.8)
    return f"; did you mean {close[0]}?" if close else ". docs/reference/filters.md lists the fields"
