"""The description of the API as OpenAPI 3.1, made from the table of endpoints and the docstrings of what they take.

Not here: the table (`api`).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hepswitch import __version__
from hepswitch.control.endpoints import PREFIX, Endpoint, Trouble

ALWAYS = {
    400: "The question cannot be understood.",
    401: "Who asks has to say who that is.",
    403: "It is not for who asks.",
    429: "Too many attempts to log in are waiting.",
}
"""Errors that every endpoint may answer with."""

WORDS = ALWAYS | {
    404: "There is no such thing.",
    409: "It cannot be done as things are.",
    415: "The body is no JSON.",
    503: "It cannot be answered now: try again later.",
    504: "It took too long.",
}

SECURITY = {
    "token": {"type": "http", "scheme": "bearer", "description": "`[control] token` or `read_token`"},
    "user": {"type": "http", "scheme": "basic", "description": "A name and password of `[control] users`"},
}


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The document."""
    kinds = [
        kind
        for each in endpoints
        for kind in (each.asks, each.answers)
        if kind is not None and not isinstance(kind, str)
    ]
    schemas, components = msgspec.json.schema_components([*kinds, Trouble], ref_template="#/components/schemas/{name}")
    by_kind = dict(zip(map(repr, [*kinds, Trouble]), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        paths.setdefault(PREFIX + each.path, {})[each.method.lower()] = _operation(each, by_kind, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "hepswitch", "version": __version__, "description": "A HEP switch and SIP capture node."},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": SECURITY},
        "security": [{}, {"token": []}, {"user": []}],
    }


def _operation(each: Endpoint, schemas: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    words = inspect.getdoc(each.run) or ""
    operation: dict[str, Any] = {
        "operationId": each.method.lower() + each.path.replace("/", "_").replace(".", "_"),
        "summary": words.partition("\n")[0],
        "description": words.partition("\n")[2].strip(),
        "tags": [each.role],
        "responses": _responses(each, schemas),
    }
    if each.asks is not None and each.method == "GET":
        name = schemas[repr(each.asks)]["$ref"].rpartition("/")[2]
        operation["parameters"] = _parameters(components[name])
    elif each.asks is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[repr(each.asks)]}},
        }
    return operation


def _responses(each: Endpoint, schemas: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(each.answers, str):
        media: dict[str, Any] = {kind.strip(): {"schema": {}} for kind in each.answers.split(",")}
    else:
        media = {"application/json": {"schema": schemas[repr(each.answers)]}}
    trouble = {"application/json": {"schema": schemas[repr(Trouble)]}}
    return {
        "200": {"description": "Done.", "content": media},
        **{str(code): {"description": WORDS[code], "content": trouble} for code in sorted({*ALWAYS, *each.errors})},
    }


def _parameters(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    required = schema.get("required", ())
    said = {name: _in_a_url(each) for name, each in schema["properties"].items()}
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": each.pop("description", ""),
            "schema": each,
        }
        for name, each in said.items()
    ]


def _in_a_url(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a value where there is no null: what is not said is left out."""
    kinds = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    return rest | kinds[0] if len(kinds) == 1 else dict(schema)
