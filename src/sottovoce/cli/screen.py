"""Who writes where: text on stdout, notes, errors and progress on stderr, and one progress line that nothing tears.

`rich` is imported only where stderr is a terminal: nobody else waits for it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from sottovoce.cli.pace import Pace

LINE_S = 30.0  # between two progress lines where stderr is no terminal


class Screen:
    """stdout and stderr of one run. quiet: no notes and no progress; errors always.

    NOTE: streams are taken when a screen is made, not when the module is imported.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.quiet = quiet
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self.clock = clock
        self.read_by_person = self.out.isatty()
        self.stdout_gone = self.stdout_failed = False
        self._live: Any = None  # rich.progress.Progress while a bar is on the terminal
        self._line_due_s = 0.0

    def text(self, line: str) -> None:
        """A line for stdout. Raises nothing if its reader has left (stdout_gone) or it fails (stdout_failed too)."""
        if self.stdout_gone:
            return
        if self._live is not None and self.read_by_person:
            self._live.console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)
            return
        try:
            print(line, file=self.out, flush=True)
        except BrokenPipeError:
            self.stdout_gone = True
        except OSError as e:
            self.stdout_gone = self.stdout_failed = True
            self.error(f"the standard output cannot be written: {e.strerror or e}; send it to another place")

    def note(self, line: str) -> None:
        """A line for stderr that a quiet run leaves out."""
        if not self.quiet:
            self.write(f"sottovoce: {line}")

    def error(self, line: str) -> None:
        self.write(f"sottovoce: {line}")

    def write(self, line: str) -> None:
        """A line for stderr as it is."""
        if self._live is not None:
            self._live.console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=self.err, flush=True)

    # --- progress ---------------------------------------------------------------------------------------------------

    @contextmanager
    def transcribing(self, pace: Pace) -> Iterator[Callable[[], None]]:
        """While open: a bar on a terminal, else a line now and then. Gives what is to be called after each event."""
        self._line_due_s = self.clock() + LINE_S
        with self._bar("{task.fields[said]}") as task:

            def tell() -> None:
                said = f"{pace.n_ended}/{pace.n_recordings}  {pace}" if pace.n_recordings > 1 else str(pace)
                if task is not None:
                    self._live.update(task, completed=pace.done_s, total=pace.all_s, said=said)
                elif self.clock() >= self._line_due_s:
                    self._line_due_s = self.clock() + LINE_S
                    self.note(said)

            tell()
            yield tell

    @contextmanager
    def fetching(self, name: str) -> Iterator[Callable[[int, int | None, str], None]]:
        """While open: shows a download. Gives what hub.fetch calls; before its first call nothing is shown."""
        self._line_due_s = self.clock()
        with self._bar("{task.fields[said]}", visible=False) as task:

            def tell(n_done_bytes: int, n_all_bytes: int | None, source: str) -> None:
                size = f"{n_done_bytes / 1e6:.0f} MB" + (f" of {n_all_bytes / 1e6:.0f}" if n_all_bytes else "")
                said = f"fetching {name} from {source}  {size}"
                if task is not None:
                    self._live.update(task, completed=n_done_bytes, total=n_all_bytes or None, said=said, visible=True)
                elif self.clock() >= self._line_due_s:
                    self._line_due_s = self.clock() + LINE_S
                    self.note(said)

            yield tell

    @contextmanager
    def _bar(self, said: str, visible: bool = True) -> Iterator[Any]:
        """A task of rich's on a terminal, else None."""
        if self.quiet or not self.err.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        # rich would send stdout through stderr's console: text() does that itself where both are terminals
        live = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            TextColumn(said, markup=False),
            console=Console(file=self.err, stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with live:
            self._live = live
            try:
                yield live.add_task("", total=None, said="", visible=visible)
            finally:
                self._live = None
