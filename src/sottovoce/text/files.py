"""Text -> a file, whole or not at all. Knows no format."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from pathlib import Path

from sottovoce.errors import OutputError

_REMEDIES = {
    errno.ENOSPC: "free some space or choose another disk",
    errno.EDQUOT: "free some space or choose another disk",
    errno.EFBIG: "choose another disk, or raise the limit on a file's size",
    errno.ENOENT: "create its folder first",
    errno.ENOTDIR: "what stands before the last slash must be a folder",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a disk that is not read-only",
    errno.EISDIR: "name a file, not a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def write_text(path: Path, text: str) -> None:
    """Write a text. Raises OutputError; then what stood there before still stands."""
    try:
        _write(path, text)
    except OSError as e:
        remedy = _REMEDIES.get(e.errno or 0, "choose another place")
        raise OutputError(f"{path} cannot be written: {e.strerror or e}; {remedy}") from e
    except UnicodeEncodeError as e:
        raise OutputError(f"{path} cannot be written: {e}; write json, where every character has an escape") from e


def _write(path: Path, text: str) -> None:
    if path.exists() and not path.is_file():
        # a pipe, a terminal, a device: there is nothing to replace, and it must not be replaced
        with path.open("w", encoding="utf-8") as f:
            f.write(text)
        return
    path = path.resolve()  # a link stays a link
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    part = path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        # line ends as the platform writes them, like the reference
        with part.open("x", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        if path.exists():
            shutil.copymode(path, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
