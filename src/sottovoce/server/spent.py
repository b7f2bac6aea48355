"""What callers have used of a day's sound, kept beside the file of keys, so that a restart renews nobody's quota."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path

log = logging.getLogger(__name__)


class Spent:
    """A file of seconds by name, of one day. That it cannot be read, or written, is told, and refuses nobody."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: tuple[date, Mapping[str, float]] | None = None
        self._told = False

    def read(self, today: date) -> dict[str, float]:
        """Seconds of today by name."""
        try:
            kept = json.loads(self.path.read_text("utf-8"))
            used = {str(name): float(s) for name, s in kept["used_s"].items()}
            return used if kept["day"] == today.isoformat() else {}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            log.warning("%s cannot be read, so that today's quotas begin anew: %s", self.path, e)
            return {}

    def write(self, today: date, used_s: Mapping[str, float]) -> None:
        """Keep them, if anything has changed; a reader sees the old file or the new one."""
        if self._kept == (today, used_s):
            return
        text = json.dumps({"day": today.isoformat(), "used_s": {name: round(s, 3) for name, s in used_s.items()}})
        try:
            handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                os.replace(name, self.path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as e:
            if not self._told:
                log.warning("%s cannot be written, so that a restart renews today's quotas: %s", self.path, e)
            self._told = True
            return
        self._kept = today, dict(used_s)
