"""OpenAI's own files by their URLs: resumed where they broke, proved by the hash in the URL. Knows no other source."""

from __future__ import annotations

import hashlib
import http.client
import logging
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from sottovoce.errors import DownloadError
from sottovoce.model import store

log = logging.getLogger(__name__)

PROBE_S = 5  # to connect at all
SILENCE_S = 30  # between two blocks of a download
BREAKS = 5  # in a row without a single new byte, before the source is given up
PAUSE_S = 1.0  # after the first of them, twice as long after each other: 15 s in all
LATER = (429, *range(500, 600))  # statuses that may pass by themselves

# A resolver may hang far longer than any socket's timeout, and only a process can be put out of its misery.
_PROBE = """
import ssl, sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], method="HEAD"), timeout=float(sys.argv[2]))
except urllib.error.HTTPError:
    pass
except urllib.error.URLError as e:
    if not isinstance(e.reason, ssl.SSLError):
        sys.exit(str(e.reason))
except (OSError, ValueError) as e:
    sys.exit(str(e))
"""


def unreachable(url: str) -> str | None:
    """Why nobody answers at a URL's host, found within PROBE_S; None if anybody does, whatever the answer."""
    parts = urlsplit(url)
    command = [sys.executable, "-I", "-c", _PROBE, f"{parts.scheme}://{parts.netloc}/", str(PROBE_S - 1)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer from {parts.netloc} within {PROBE_S} s"
    if done.returncode == 0:
        return None
    return f"{parts.netloc} cannot be reached ({done.stderr.strip() or 'no reason given'})"


def fetch(
    url: str,
    sha256: str,
    folder: Path,
    size_bytes: int,
    on_progress: store.Progress | None,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[store.Held, ...]:
    """Bring one file into a folder, verified. The caller holds the folder's lock.

    A broken download leaves its part behind; the next call goes on from there.
    Raises DownloadError if nobody answers, or the file's hash is another.
    """
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"{url}: not an http(s) address")
    if why := unreachable(url):
        raise DownloadError(why)
    name = url.rsplit("/", 1)[1]
    part = folder / store.PARTIAL / f"{name}.part"
    with store.writing(folder):
        part.parent.mkdir(parents=True, exist_ok=True)
        have = part.stat().st_size if part.exists() else 0
        store.need(folder, size_bytes - have)
        found = _receive(url, part, on_progress, sleep)
        if found != sha256 and have:
            # the part was another file's, or damaged: it is ours, so start anew, once
            log.warning("%s: the resumed download has SHA-256 %s; starting from the beginning", url, found)
            part.unlink()
            found = _receive(url, part, on_progress, sleep)
        if found != sha256:
            part.unlink()
            expected = f"SHA-256 is {found}, {sha256} was expected"
            remedy = "something between here and there has changed it (a proxy?); nothing was kept"
            raise DownloadError(f"{url}: {expected}; {remedy}")
        store.settle(part, folder / name)
    return (store.hold(folder / name, folder, sha256),)


def _receive(url: str, part: Path, on_progress: store.Progress | None, sleep: Callable[[float], None]) -> str:
    """Fill a part up to its end, over as many connections as it takes; returns its hash."""
    found = hashlib.sha256()
    breaks = 0
    with part.open("ab+") as out:
        out.seek(0)
        while block := out.read(store.BLOCK_BYTES):
            found.update(block)
        while True:
            before = out.tell()
            try:
                with _opened(url, before) as answer:
                    if before and answer.status != 206:  # ranges are not served: all of it again
                        out.seek(0)
                        out.truncate()
                        found = hashlib.sha256()
                    total = out.tell() + int(answer.headers.get("Content-Length") or 0)
                    while block := _block(answer):
                        found.update(block)
                        out.write(block)
                        if on_progress:
                            on_progress(out.tell(), total, "openai")
                if out.tell() >= total:
                    return found.hexdigest()
                why = f"the connection ended after {out.tell()} of {total} bytes"
            except urllib.error.HTTPError as e:
                if e.code == 416:  # nothing lies beyond the part: it is whole, which its hash will tell
                    return found.hexdigest()
                why = f"HTTP status {e.code} ({e.reason})"
                e.close()
                if e.code not in LATER:
                    raise DownloadError(f"{url}: {why}") from e
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError) as e:
                why = str(getattr(e, "reason", e))
            out.flush()
            breaks = 0 if out.tell() > before else breaks + 1
            if breaks >= BREAKS:
                kept = f"{out.tell()} bytes are kept, and the next try goes on from there"
                raise DownloadError(f"{url}: {why}; {kept}")
            pause_s = PAUSE_S * 2 ** (breaks - 1) if breaks else 0.0
            log.info("%s: %s; resuming%s", url, why, f" in {pause_s:g} s" if breaks else "")
            if breaks:
                sleep(pause_s)


def _opened(url: str, start: int) -> http.client.HTTPResponse:
    headers = {"User-Agent": "sottovoce", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SILENCE_S)
    except urllib.error.URLError:
        raise
    except OSError as e:  # a fault between the question and the answer's header comes as it is
        raise ConnectionError(str(e)) from e
    assert isinstance(answer, http.client.HTTPResponse), "http(s) gives an HTTPResponse"
    return answer


def _block(answer: http.client.HTTPResponse) -> bytes:
    """The next bytes. A fault of the network (TLS, a lost route) is told apart here from one of the disk."""
    try:
        return answer.read(store.BLOCK_BYTES)
    except OSError as e:
        raise ConnectionError(str(e)) from e
