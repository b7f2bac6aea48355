"""The flags that say which files are written and how words are set in them: of `transcribe` and `render` alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from sottovoce.cli.options import Bool, Maybe
from sottovoce.text.formats import FORMATS, WRITABLE
from sottovoce.text.layout import NAMES, RULES, SPEAKERS, Layout

if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])
WHISPERS = ("highlight_words", "max_line_count", "max_line_width", "max_words_per_line")
FIELDS = {  # flag: field of Layout
    **{name: name for name in WHISPERS},
    "subtitles": "preset",
    **{name: name for name in ("max_chars_per_line", "max_lines", "max_chars_per_second")},
    **{name: name for name in ("min_duration", "max_duration", "min_gap")},
    "speaker_labels": "speakers",
    "word_cues": "word_cues",
    "title": "title",
}
WORD_CUED = ("vtt", "ass", "lrc")
SUFFIXES = {"diarized_json": "diarized.json"}  # of files, where it is not the format's name


class Formats(_Type):
    """Formats, separated by commas; all: whisper's five; none, where nothing may be written."""

    name = "formats"

    def __init__(self, *others: str) -> None:
        self.others = others

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        names = [name.strip().lower().removeprefix(".").replace("-", "_") for name in str(value).split(",")]
        known = (*WRITABLE, "all", *self.others)
        for name in names:
            if name not in known:
                what = f"{', '.join(known)}, or several with commas between"
                self.fail(f"{name!r} was given, one of {what} was expected; try srt", param, ctx)
        if "none" in names and len(names) > 1:
            self.fail(f"{value!r} was given, none or other formats were expected; leave none out", param, ctx)
        return ",".join(names)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        names = (*WRITABLE, "all", *self.others)
        return [CompletionItem(f"{before}{comma}{name}") for name in names if name.startswith(last)]


def formats_of(value: str) -> tuple[str, ...]:
    """The formats that a value of the flag stands for, each once, in the order in which they were given."""
    wide = {"all": FORMATS, "none": ()}
    return tuple(dict.fromkeys(f for name in value.split(",") for f in wide.get(name, (name,))))


def whispers_layout(command: F) -> F:
    """The flags of whisper about lines."""
    flags = (
        click.option(
            "--highlight-words", type=Bool(), default=False, is_flag=False, flag_value="True", show_default=True,
            help="underline each word as it is spoken in srt and vtt, colour it in ass  (needs times of words)",
        ),
        _maybe("--max-line-width", "characters of a line  (needs times of words)"),
        _maybe("--max-line-count", "lines of a subtitle  (needs times of words)"),
        _maybe("--max-words-per-line", "words of a subtitle  (needs times of words)"),
    )  # fmt: skip
    return _all(flags, command)


def subtitle_rules(command: F) -> F:
    """The flags of subtitles by rules: docs/subtitles.md."""
    flags = (
        click.option(
            "--subtitles", type=click.Choice(NAMES), default=None,
            help="how srt, vtt, ass and lrc are set; plain: as whisper sets them, one segment each; broadcast: 42 "
            "columns, 2 lines; short: for phones. Left out: plain, or broadcast with one of the rules below",
        ),
        click.option(
            "--max-chars-per-line", type=int, default=None,
            help="characters of a line; full-width ones in Chinese, Japanese and Korean",
        ),
        click.option("--max-lines", type=int, default=None, help="lines of a subtitle"),
        click.option("--max-chars-per-second", type=float, default=None, help="reading speed"),
        click.option("--min-duration", type=float, default=None, help="seconds that a subtitle is shown, at least"),
        click.option("--max-duration", type=float, default=None, help="seconds that a subtitle is shown, at most"),
        click.option("--min-gap", type=float, default=None, help="seconds between two subtitles"),
        click.option(
            "--speaker-labels", type=click.Choice(SPEAKERS), default=None,
            help="name: in front of what each says; dash: where two share a subtitle; none. Left out: name, where "
            "speakers are known",
        ),
        click.option(
            "--word-cues", is_flag=True, help="times of words inside subtitles: vtt <c>, ass \\k, lrc <mm:ss.xx>"
        ),
        click.option("--title", default=None, help="of the recording, for md, ass and lrc"),
    )  # fmt: skip
    return _all(flags, command)


def layout_of(given: dict[str, Any], formats: tuple[str, ...]) -> Layout:
    """The layout that flags ask for; they are taken out of what is given. Raises OptionError, UsageError."""
    layout = Layout(**{field: given.pop(flag) for flag, field in FIELDS.items()})
    if layout.word_cues and not set(WORD_CUED) & set(formats):
        raise click.UsageError(
            f"--word-cues was given, one of the formats {', '.join(WORD_CUED)} was expected; add -f {WORD_CUED[0]}"
        )
    return layout


def follows_words(given: dict[str, Any]) -> bool:
    """Subtitles are asked for that follow words, by other flags than whisper's."""
    ruled = given["subtitles"] not in (None, "plain") or any(given[name] is not None for name in RULES)
    return bool(ruled or given["word_cues"])


def _maybe(name: str, help: str) -> Callable[[F], F]:
    return click.option(name, type=Maybe(int), default=None, show_default=True, help=help)


def _all(flags: tuple[Callable[[Any], Any], ...], command: F) -> F:
    for flag in reversed(flags):
        command = flag(command)
    return command
