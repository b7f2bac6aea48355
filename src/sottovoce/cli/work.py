"""What `sottovoce transcribe` does: recordings together through one Whisper, files as each is done. Reads no flag."""

from __future__ import annotations

from typing import Any

from sottovoce.api import Whisper
from sottovoce.cli.exits import Exit
from sottovoce.cli.job import Job
from sottovoce.cli.recordings import Recording
from sottovoce.cli.runs import Run, done
from sottovoce.cli.screen import Screen
from sottovoce.request import Request
from sottovoce.speakers import Diarizer


def work(job: Job, screen: Screen, recordings: list[Recording]) -> list[Exit]:
    """Transcribe recordings, say on the screen what happens, and return the exit codes of those that failed."""
    Request.of(job.options)  # a wrong value is found before a model is fetched
    with screen.fetching(job.config.model) as on_download:
        model = Whisper(config=job.config, on_download=on_download)
    if Request.of(job.options).options.diarize:
        with screen.fetching("the networks that tell speakers apart") as on_download:
            model.diarizer = Diarizer(job.config, on_download)
    if job.verbose:
        screen.note(f"{model.name} ({model.files.form} from {model.files.source}) on {model.choice.reason}")
    return done(Run(job, screen, recordings, _for_model(job, screen, model)), model)


def _for_model(job: Job, screen: Screen, model: Whisper) -> dict[str, Any]:
    """The options as this model can honour them: one that knows English only takes English, and says so."""
    language, languages = job.options["language"], job.options["languages"]
    if model.is_multilingual or (language in (None, "en") and set(languages) <= {"en"}):
        return job.options
    given = f"--languages {','.join(languages)}" if languages else f"--language {language}"
    screen.note(f"warning: {model.name} knows English only, but {given} was given; using English")
    return job.options | {"language": "en", "languages": ()}
