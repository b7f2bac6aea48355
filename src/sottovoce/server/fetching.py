"""A recording by its URL, kept on disk while it is needed. Only of public addresses, or of hosts that are allowed.

Each connection goes to the very address that was looked at, so that a name cannot mean another one a moment later;
each redirect is looked at as the first URL was. No proxy, no cookie, no credential, no compression.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import httpcore

from sottovoce.audio.source import name_of
from sottovoce.server import addresses
from sottovoce.server.failures import BY_STATUS, Kind, RequestError
from sottovoce.server.uploads import Kept, Uploads
from sottovoce.serving import MB, Serving

N_REDIRECTS = 5
URL_CHARS = 4000
CONNECT_S = 10.0
READ_S = 30.0  # until more of it comes
REDIRECTS = (301, 302, 303, 307, 308)
PORTS = {"http": 80, "https": 443}
HEADERS = (("Accept", "*/*"), ("Accept-Encoding", "identity"), ("User-Agent", "sottovoce"))
REFUSED = Kind(400, code="url_refused")
FAILED = Kind(400, code="url_failed")
OFF = Kind(403, code="url_off")


@asynccontextmanager
async def fetched(url: str, serving: Serving, uploads: Uploads) -> AsyncIterator[Path]:
    """The file that a URL names, while the context lasts. Raises RequestError."""
    if not serving.fetch_urls:
        raise _refusal("URLs are not fetched here (--fetch-urls is off); send the recording as file", OFF)
    async with uploads.room() as kept:
        try:
            async with asyncio.timeout(serving.fetch_s), _pool(serving) as pool:
                await _fetch(pool, url, kept, serving)
        except TimeoutError as e:
            what = f"{name_of(url)} could not be fetched within {serving.fetch_s:g} s"
            raise _refusal(f"{what}; send the recording as file", FAILED) from e
        yield kept.path


def _pool(serving: Serving) -> httpcore.AsyncConnectionPool:
    allowed = frozenset(host.strip().lower() for host in serving.fetch_hosts.split(",") if host.strip())
    return httpcore.AsyncConnectionPool(
        ssl_context=ssl.create_default_context(), max_connections=1, retries=0, network_backend=_Checked(allowed)
    )


async def _fetch(pool: httpcore.AsyncConnectionPool, url: str, kept: Kept, serving: Serving) -> None:
    for _ in range(N_REDIRECTS + 1):
        parts = _looked_at(url)
        try:
            async with pool.stream("GET", _plain(parts), headers=HEADERS, extensions=_TIMEOUTS) as response:
                if response.status not in REDIRECTS:
                    await _keep(response, url, kept, round(serving.max_upload_mb * MB))
                    return
                url = urljoin(url, _header(response, b"location") or url)
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as e:
            what = f"{name_of(url)} could not be fetched ({type(e).__name__})"
            raise _refusal(f"{what}; check it, or send the recording as file", FAILED) from e
        except (httpcore.UnsupportedProtocol, ValueError, UnicodeError) as e:
            raise _refusal(f"{name_of(url)} is no URL that can be fetched; check it") from e
    raise _refusal(f"{name_of(url)}: more than {N_REDIRECTS} redirects came; give the last URL", FAILED)


_TIMEOUTS = {"timeout": {"connect": CONNECT_S, "read": READ_S, "write": READ_S, "pool": CONNECT_S}}


async def _keep(response: httpcore.Response, url: str, kept: Kept, most_bytes: int) -> None:
    what = f"{name_of(url)}: "
    if response.status != 200:
        raise _refusal(f"{what}it was answered with status {response.status}; check the URL", FAILED)
    if (_header(response, b"content-encoding") or "identity").lower() != "identity":
        raise _refusal(f"{what}it came compressed, though that was not asked for; send the recording as file", FAILED)
    length = _header(response, b"content-length")
    too_large = f"{what}it has more than {most_bytes / MB:g} MB, the most that is taken; compress the sound"
    if length is not None and length.isdigit() and int(length) > most_bytes:
        raise _refusal(too_large, BY_STATUS[413])
    async for piece in response.aiter_stream():
        await kept.add(piece)
        if kept.n_bytes > most_bytes:
            raise _refusal(too_large, BY_STATUS[413])
    await kept.finish()


def _looked_at(url: str) -> SplitResult:
    """The parts of a URL that may be fetched, as far as its text tells."""
    if len(url) > URL_CHARS:
        raise _refusal(f"a URL of {len(url)} characters was given, at most {URL_CHARS} were expected")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as e:
        raise _refusal(f"{url[:100]!r} is no URL; give one of http or https") from e
    if parts.scheme not in PORTS:
        raise _refusal(f"a URL of {parts.scheme[:20] or 'nothing'!r} was given, http or https was expected")
    if not parts.hostname or port == 0 or any(c <= " " or c == "\x7f" or c == "\\" for c in url):
        raise _refusal(f"{name_of(url)} names no host; give a URL of http or https")
    if parts.username is not None or parts.password is not None:
        raise _refusal(f"{name_of(url)}: a URL with a user or password was given; give one without")
    return parts


def _plain(parts: SplitResult) -> httpcore.URL:
    host = parts.hostname or ""
    if not host.isascii():
        host = host.encode("idna").decode()
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return httpcore.URL(scheme=parts.scheme, host=host, port=parts.port, target="".join(map(_escaped, target)))


def _escaped(c: str) -> str:
    return c if c.isascii() else "".join(f"%{byte:02X}" for byte in c.encode())


def _header(response: httpcore.Response, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), None)


def _refusal(message: str, kind: Kind = REFUSED) -> RequestError:
    return RequestError(f"url: {message}", kind, "url")


class _Checked(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were looked at, and to nothing else."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self._allowed = allowed
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        name = host.lower().rstrip(".")
        try:
            async with asyncio.timeout(timeout):
                found = await asyncio.to_thread(addresses.of, host, port)
                inner = [a for a in found if not addresses.is_public(a) or await asyncio.to_thread(addresses.is_own, a)]
        except (OSError, TimeoutError, UnicodeError) as e:
            raise httpcore.ConnectError(f"{host} is not known") from e
        if inner and not {name, f"{name}:{port}"} & self._allowed:
            # all of them, or a name with one of either kind would be tried until it is the other one's turn
            raise _refusal(f"{host} is not at a public address; send the recording as file, or ask for --fetch-hosts")
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in found:
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as e:
                failure = e
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("no socket of this machine is called for somebody else")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
