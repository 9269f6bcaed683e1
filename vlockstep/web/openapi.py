"""The API as an OpenAPI document, made of the table of endpoints and of the shapes. Pure."""

from __future__ import annotations

import types
from functools import cache
from typing import (
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from vlockstep import __version__
from vlockstep.web import shapes
from vlockstep.web.api import ENDPOINTS, Endpoint

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
}
_FAILURES = {
    "400": "the request is wrong",
    "401": "no such token",
    "403": "not this right, or another site's request",
    "404": "it is not there",
    "409": "refused, with the reason",
    "503": "what is asked does not answer",
}


@cache
def document() -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for each in ENDPOINTS:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas)
    _schema(shapes.Failure, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "vlockstep's management view", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "summary": endpoint.summary,
        "parameters": [
            *(_parameter(name, "path", "", True) for name in endpoint.words),
            *(_parameter(name, "query", text, False) for name, text in endpoint.query.items()),
        ],
        "responses": {"200": _answer(endpoint, schemas)}
        | {status: _failure(text) for status, text in _FAILURES.items()},
    }
    if endpoint.right is not None:
        told["security"] = [{"token": []}]
        told["description"] = f"Takes the right to {endpoint.right}."
    if endpoint.method == "POST":
        properties = {name: {"description": text} for name, text in endpoint.body.items()}
        schema = {"type": "object", "properties": properties}
        told["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return told


def _parameter(name: str, where: str, text: str, required: bool) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "required": required,
        "description": text,
        "schema": {"type": "string"},
    }


def _answer(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    if endpoint.answer is None:
        return {"description": "as it comes", "content": {endpoint.media: {}}}
    content = {endpoint.media: {"schema": _schema(endpoint.answer, schemas)}}
    return {"description": "done", "content": content}


def _failure(text: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Failure"}
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _schema(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """Of a type; those of shapes are put into `schemas`."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if is_typeddict(kind):
        if kind.__name__ not in schemas:
            schemas[kind.__name__] = {}  # it may contain itself
            schemas[kind.__name__] = _object(kind, schemas)
        return {"$ref": f"#/components/schemas/{kind.__name__}"}
    if origin is NotRequired:
        return _schema(parts[0], schemas)
    if origin is Literal:
        return {"enum": list(parts)}
    if origin in (types.UnionType, Union):
        return {"anyOf": [_schema(part, schemas) for part in parts]}
    if origin is list:
        return {"type": "array", "items": _schema(parts[0], schemas)}
    if origin is tuple:
        return {"type": "array", "prefixItems": [_schema(part, schemas) for part in parts]}
    assert origin is dict, f"{kind} has no schema"
    return {"type": "object", "additionalProperties": _schema(parts[1], schemas)}


def _object(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {
        "type": "object",
        "description": kind.__doc__ or "",
        "properties": {name: _schema(hint, schemas) for name, hint in hints.items()},
        "required": [name for name, hint in hints.items() if get_origin(hint) is not NotRequired],
    }
