"""The reference page of the HTTP API, from the OpenAPI document that the switch itself serves.

Not here: the other pages and how they are written (`generate`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hepswitch.control.api import Api
from hepswitch.queries.library import Library

INTRODUCTION = """# HTTP API

Under `/api/v1` at the control listener (`[control] listen`, http://127.0.0.1:9080 unless configured). What reads is GET and
for the role `read`; what changes is POST, as `Content-Type: application/json`, and for the role `operate`
([who may do what](../howto/access.md)). Answers are JSON. What is not done is answered with `{"error": "words"}` and its
status: 400 wrong words, 401 and 403 not for who asks, 404 no such thing, 409 not as things are, 503 later, 504 it took too
long.

Moments in answers are ISO 8601 in UTC with microseconds; in questions also "so long ago": `2h`, `7d`. Octets are text where
they are UTF-8, else they are under the same name with `_base64`. A question whose client goes away is given up. The same as
OpenAPI 3.1 is at `/api/v1/openapi.json`.

```sh
curl -s 'http://127.0.0.1:9080/api/v1/calls?q=%2B4930123456&since=24h' | jq '.calls[] | [.start, .to_user, .status]'
curl -s 'http://127.0.0.1:9080/api/v1/export?call_id=1-2345@192.0.2.1&format=pcapng' -o call.pcapng
curl -sN 'http://127.0.0.1:9080/api/v1/live?filter=sip.status%20%3E%3D%20500'
```

Beside it: `/metrics` ([metrics](metrics.md)), `/healthz` (the process runs; needs no credentials), `/readyz` (packets are
taken; 503 and the reasons else), `/api/stats` (as `/api/v1/stats`), `/mi` ([opensips-cli](../howto/opensips-cli.md)),
and the page at `/`.
"""


def api_page() -> str:
    """Every endpoint with its parameters, and the shapes of what is sent and answered."""
    switch: Any = None  # nothing is asked
    document = Api(switch, Library({})).document
    shapes = document["components"]["schemas"]
    parts = [INTRODUCTION]
    for path, operations in document["paths"].items():
        parts += [_operation(method.upper(), path, operation) for method, operation in operations.items()]
    parts.append("## Shapes\n")
    parts += [_shape(name, shape) for name, shape in sorted(shapes.items()) if not _is_question(name, document)]
    return "\n".join(parts)


def _is_question(name: str, document: Mapping[str, Any]) -> bool:
    """Is it the parameters of an endpoint, which its own table has?"""
    answers = str(document["paths"])
    return f"/schemas/{name}'" not in answers and f"/schemas/{name}'" not in str(document["components"])


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    lines = [f"## `{method} {path}`\n", operation["summary"]]
    if operation["description"]:
        lines[1:] = [f"{operation['summary']}\n\n{operation['description']}"]
    if body := operation.get("requestBody"):
        lines.append(f"\nBody: {_kind(body['content']['application/json']['schema'])}")
    if parameters := operation.get("parameters"):
        lines += ["\n| parameter | type | meaning |", "| --- | --- | --- |"]
        lines += [
            f"| `{each['name']}`{' (required)' if each['required'] else ''} | {_kind(each['schema'])} "
            f"| {_cell(each['description'])} |"
            for each in parameters
        ]
    content = operation["responses"]["200"]["content"]
    answers = [
        _kind(media["schema"]) if kind == "application/json" and media["schema"] else f"`{kind}`"
        for kind, media in content.items()
    ]
    errors = ", ".join(code for code in operation["responses"] if code != "200")
    lines.append(f"\nAnswer: {', '.join(answers)}. Errors: {errors}.\n")
    return "\n".join(lines)


def _shape(name: str, shape: Mapping[str, Any]) -> str:
    lines = [f"### {name}\n"]
    if words := shape.get("description"):
        lines.append(f"{words}\n")
    if properties := shape.get("properties"):
        lines += ["| key | type | meaning |", "| --- | --- | --- |"]
        required = set(shape.get("required", ()))
        lines += [
            f"| `{key}`{'' if key in required else ' (may be absent)'} | {_kind(each)} "
            f"| {_cell(each.get('description', ''))} |"
            for key, each in properties.items()
        ]
    return "\n".join([*lines, ""])


def _kind(schema: Mapping[str, Any]) -> str:
    return " or ".join(dict.fromkeys(_kinds(schema))) or "anything"


def _kinds(schema: Mapping[str, Any]) -> Iterator[str]:
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        yield f"[{name}](#{name.lower().replace('.', '')})"
    for part in schema.get("anyOf", ()):
        yield from _kinds(part)
    if values := schema.get("enum"):
        yield from (f"`{value}`" for value in values)
    elif kind := schema.get("type"):
        if kind == "array":
            yield f"list of {_kind(schema['items'])}" if schema.get("items") else "list"
        else:
            yield str(kind)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
