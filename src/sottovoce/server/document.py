"""The OpenAPI document, made true: forms that are read by hand, what is answered, and how every failure is told."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from sottovoce.server.failures import BY_STATUS, RequestError, answer
from sottovoce.server.wishes import Field, shortened

JSON = "application/json"
BINARY = {"type": "string", "format": "binary"}
NAME = "Failure"
FAILURE = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "description": "what was given, what was expected, what to do"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "the field that is wrong"},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
SAID: Mapping[int, str] = {
    400: "A field, or the recording, cannot be honoured",
    401: "No key, or a wrong one",
    403: "The key may not do this",
    404: "No such model, or no such page",
    405: "Another method is expected",
    408: "The request came too slowly",
    413: "The request or the recording is too large",
    415: "The request is of a kind that is not read",
    422: "A field has a wrong form",
    423: "Somebody uses the model",
    429: "Too many requests; Retry-After says when to ask again",
    500: "A bug of the service's; its log has it under the id of the request",
    503: "Not now: loading, full or stopping; Retry-After says when to ask again",
}
EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {}}}}}  # beside JSON
OTHER_WORDS = ("1", "0", "yes", "no", "on", "off")  # for true and false, in forms and queries
ALWAYS = (500, 503, "default")


def parameters(fields: Iterable[Field]) -> list[dict[str, Any]]:
    """Fields of a query. Its texts are short: servers and proxies refuse an address of more than some 64 kB."""
    return [
        {"name": f.name, "in": "query", "required": f.required, "description": f.about, "schema": shortened(f.schema)}
        for f in fields
    ]


def form(fields: Iterable[Field] = (), files: Mapping[str, str] | None = None, needed: Iterable[str] = ()) -> Any:
    """The schema of a multipart form. files: what each is, by the name of its field; a name with [] may come often."""
    properties: dict[str, Any] = {}
    for name, about in (files or {}).items():
        many = name.endswith("[]")
        schema = {"type": "array", "items": BINARY, "minItems": 1} if many else BINARY
        properties[name.removesuffix("[]")] = {**schema, "description": about}
    fields = list(fields)
    for f in fields:
        properties[f.name] = {**f.schema, "description": f.about}
    required = [*needed, *(f.name for f in fields if f.required)]
    return {"type": "object", "properties": properties, "additionalProperties": False, "required": required}


def takes(
    form: Mapping[str, Any] | None = None, query: Iterable[Field] = (), raw: Iterable[str] = ()
) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its request by hand. raw: media types of a body that is a recording."""
    content: dict[str, Any] = {"multipart/form-data": {"schema": form}} if form else {}
    content |= {kind: {"schema": BINARY} for kind in raw}
    extra: dict[str, Any] = {"parameters": parameters(query)}
    if content:
        extra["requestBody"] = {"required": True, "content": content}
    return extra


def answers(content: Mapping[str, Any], about: str = "Done", headers: Mapping[str, str] | None = None) -> Any:
    """`responses` of a route, by media type: a schema; None for text. Give it with response_class=Response."""
    said: dict[str, Any] = {
        "description": about,
        "content": {kind: {"schema": schema or {"type": "string"}} for kind, schema in content.items()},
    }
    if headers:
        said["headers"] = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
    return {200: said}


def object_of(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The schema of an object with these properties."""
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": [*required]}


def install(app: FastAPI) -> None:
    """Every operation of the document says how it fails."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            app.openapi_schema = with_failures(copy.deepcopy(made))  # schemas are shared by fields
        return app.openapi_schema

    async def another_method(request: Request, error: Exception) -> JSONResponse:
        allow = methods(app.openapi()["paths"], request.url.path)
        message = f"{request.method} {request.url.path[:200]}: one of {allow or 'GET, POST'} was expected"
        return answer(RequestError(message, BY_STATUS[405], headers={"Allow": allow} if allow else {}))

    app.openapi = document  # type: ignore[method-assign]
    app.add_exception_handler(405, another_method)


def methods(paths: Mapping[str, Any], path: str) -> str:
    """What may be asked of a path, by the document's template that fits it closest; the router knows only its first."""
    fitting = [t for t in paths if re.fullmatch(re.sub(r"\\\{\w+\\\}", ".+", re.escape(t)), path)]
    closest = max(fitting, key=lambda t: len(re.sub(r"\{\w+\}", "", t)), default=None)
    return ", ".join(sorted(m.upper() for m in paths[closest])) if closest else ""


def with_failures(made: dict[str, Any]) -> dict[str, Any]:
    """A document in which every operation fails in the one shape of failures.py, and in no other."""
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas[NAME] = FAILURE
    content = {JSON: {"schema": {"$ref": f"#/components/schemas/{NAME}"}}}
    for operations in made["paths"].values():
        for operation in operations.values():
            for schema in _texts(operation):
                if schema.get("type") == "boolean":
                    del schema["type"]
                    schema["anyOf"] = [{"type": "boolean"}, {"type": "string", "enum": [*OTHER_WORDS]}]
            responses = operation["responses"]
            if "HTTPValidationError" in str(responses.get("422")):
                del responses["422"]
            statuses = (*SAID, "default") if "requestBody" in operation or "parameters" in operation else ALWAYS
            for status in statuses:
                retry = isinstance(status, int) and status in BY_STATUS and BY_STATUS[status].retry_after_s
                said = {"description": SAID.get(status, "Any other failure"), "content": content}  # type: ignore[call-overload]
                if retry or status == 503:
                    said["headers"] = {"Retry-After": {"schema": {"type": "string"}}}
                responses.setdefault(str(status), said)
    return made


def _texts(operation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The schemas of what a client spells as text: fields of a query, of a form."""
    yield from (p["schema"] for p in operation.get("parameters", ()))
    for kind in operation.get("requestBody", {}).get("content", {}).values():
        yield from kind["schema"].get("properties", {}).values()
