"""Who may come in: every request has a caller before anything of it is read. Pure ASGI; limits are in callers.py.

Without keys, only this machine is answered (serving.py sees to that), and then any web page that is open in a browser
on it could ask too. So requests that a page of another origin sends are refused, and names that lead here through
foreign DNS.
"""

from __future__ import annotations

import ipaddress
import re
from contextlib import ExitStack
from pathlib import Path

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sottovoce.server import failures, record
from sottovoce.server.callers import FORBIDDEN, Caller, Callers, asks, bearer, stranger
from sottovoce.server.failures import RequestError
from sottovoce.server.keys import KeyFile
from sottovoce.server.leaving import Leaving
from sottovoce.serving import Serving

OPEN = frozenset({"/health", "/ready", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"})
METRICS = "/metrics"
FREE = ("GET", "HEAD", "OPTIONS")  # of the limit of requests
MANAGES = re.compile(r"/v1/models/.+/(load|unload|pull)/?")
POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1


def install(app: FastAPI, serving: Serving) -> None:
    """Who has left is not served, who has no key is not let in, and pages of the origins that are told may ask."""
    callers = Callers(KeyFile(Path(serving.keys)) if serving.keys else None, serving.api_key)
    app.state.callers = callers
    app.add_middleware(Gate, callers=callers, serving=serving)
    app.add_middleware(Leaving)
    if serving.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[name.strip() for name in serving.cors_origins.split(",")],
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["*"],
            max_age=600,
        )


class Gate:
    """The middleware: 401, 403 and 429 are answered here; the others are let through, with `current()` set."""

    def __init__(self, app: ASGIApp, callers: Callers, serving: Serving) -> None:
        self.app, self.callers, self.serving = app, callers, serving
        self._open = OPEN | ({METRICS} if serving.open_metrics else set())
        self._origins = {name.strip() for name in serving.cors_origins.split(",") if name.strip()}
        self._hosts = {name.strip().lower() for name in (*serving.hosts.split(","), serving.host) if name.strip()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in self._open:
            await self.app(scope, receive, send)
            return
        with ExitStack() as stack:
            try:
                caller = await self._caller(scope)
                counts = scope["type"] == "websocket" or scope["method"] not in FREE
                stack.enter_context(caller.asking(counts))
            except RequestError as e:
                await _refuse(e, scope, receive, send)
                return
            stack.enter_context(asks(caller))
            scope.setdefault("state", {})["caller"] = caller

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    headers = MutableHeaders(scope=message)
                    for name, value in caller.headers.items():
                        headers.setdefault(name, value)
                await send(message)

            await self.app(scope, receive, told)

    async def _caller(self, scope: Scope) -> Caller:
        """Raises RequestError."""
        headers = Headers(scope=scope)
        if self.callers.needed:
            caller = await self.callers.by_secret(bearer(headers))
            record.asked_by(caller.name)
        else:
            if not self.serving.open_to_all:
                self._check_page(headers)
            caller = stranger(_network(scope), admin=not self.serving.open_to_all)
        manages = scope.get("method") == "DELETE" or MANAGES.fullmatch(scope["path"])
        if manages and not caller.key.admin:
            remedy = "whoever runs this server can allow it: sottovoce keys add NAME --admin"
            raise RequestError(f"{caller.name} may not load, unload, fetch or delete models; {remedy}", FORBIDDEN)
        return caller

    def _check_page(self, headers: Headers) -> None:
        """Raise RequestError for a request that a web page of another origin sends, or that came by a foreign name."""
        host = headers.get("host", "")
        if host and not self._is_ours(host):
            raise RequestError(
                f"host: {host!r} is no name of this server; if it is, start it with --hosts {_name(host)}", FORBIDDEN
            )
        origin = headers.get("origin")
        if origin is None or {origin, "*"} & self._origins or origin.partition("://")[2] == host:
            return
        raise RequestError(
            f"origin: a page of {origin} asks; if it may, start the server with --cors-origins {origin}", FORBIDDEN
        )

    def _is_ours(self, host: str) -> bool:
        name = _name(host)
        # a foreign name has a dot, or nobody's DNS answers it
        if name.endswith(".localhost") or "." not in name.removesuffix(".") or name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


async def _refuse(error: RequestError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await failures.answer(error)(scope, receive, send)
        return
    await receive()  # the wish to connect
    await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": str(error)[:120]})


def _name(host: str) -> str:
    """A Host header without its port, and an IPv6 address without brackets."""
    return re.sub(r":\d+$", "", host).strip("[]").lower().removesuffix(".")


def _network(scope: Scope) -> str:
    """Whom an address stands for: of IPv6, a customer has a whole /64."""
    address = (scope.get("client") or ("this machine", 0))[0]
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return str(address)
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address
