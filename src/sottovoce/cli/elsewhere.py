"""`sottovoce transcribe --server` and `--resident`: the same run, but a server decodes. Imports no sound, no model."""

from __future__ import annotations

import os
from collections.abc import Callable

from sottovoce.cli.exits import Exit
from sottovoce.cli.job import Job
from sottovoce.cli.recordings import Recording
from sottovoce.cli.remote import Address, Remote
from sottovoce.cli.runs import Run, done
from sottovoce.cli.screen import Screen
from sottovoce.config import Config
from sottovoce.errors import OptionError
from sottovoce.request import Request

OF_THE_SERVER = ("revision", "model_dir", "sources", "device", "compute", "kv", "threads", "rows", "encode_windows")
UNSAID = ("strategy", "keywords", "hotwords", "clips", "languages", "diarize", "channels", "replacements", "clean")


def work_elsewhere(
    job: Job,
    screen: Screen,
    recordings: list[Recording],
    *,
    server: str | None,
    api_key: str | None,
    resident: bool,
    resident_idle: float,
) -> list[Exit]:
    """Let a server transcribe recordings; the exit codes of those that failed. Raises ServerError, OptionError."""
    Request.of(job.options)  # a wrong value is found before anything is sent
    if job.options.get("on_segment") is not None:
        raise OptionError("--post-process: a function was given, which no server can be sent; leave it or --server out")
    model = job.config.model
    if resident:
        from sottovoce.cli.resident import reach

        if os.path.exists(model):
            model = os.path.abspath(model)

        def revive() -> Address:
            return reach(job.config, resident_idle)

        remote = Remote(revive(), None, model, revive)
        if job.verbose:
            screen.note(f"{job.config.model} on the resident server")
    else:
        assert server is not None
        remote = Remote(Address.of(server), api_key, model)
        who = remote.greet()
        if job.verbose:
            screen.note(f"{model} on {remote.address}, {who}")
        _warn(job, screen.note, remote.is_ours)
    return done(Run(job, screen, recordings, job.options), remote)


def _warn(job: Job, note: Callable[[str], None], is_ours: bool) -> None:
    """What was asked for, and is not this command's to decide, or cannot be sent."""
    plain = Config()
    if given := [name for name in OF_THE_SERVER if getattr(job.config, name) != getattr(plain, name)]:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        note(f"warning: {flags}: of no effect with --server, which has settings of its own")
    if not is_ours and (lost := [name for name in UNSAID if job.options.get(name)]):
        flags = ", ".join("--" + name.replace("_", "-") for name in lost)
        note(f"warning: {flags}: OpenAI's API has no field for it; this server transcribes without")
