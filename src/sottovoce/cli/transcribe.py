"""`sottovoce transcribe`: the flags of the `whisper` command, and more. Does nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from sottovoce.cli.diarize import speaker_flags
from sottovoce.cli.exits import worst
from sottovoce.cli.job import Job, prepare
from sottovoce.cli.layout import WHISPERS, Formats, follows_words, formats_of, subtitle_rules, whispers_layout
from sottovoce.cli.options import Bool, Cleaning, Clip, Language, Languages, Maybe, config_of, settings, start_log
from sottovoce.cli.screen import Screen
from sottovoce.cli.terms import File, Function, Replacement, Terms
from sottovoce.types import APPEND_PUNCTUATIONS, PREPEND_PUNCTUATIONS, Strategy

F = TypeVar("F", bound=Callable[..., Any])


def _yes_no(name: str, default: bool, help: str) -> Callable[[F], F]:
    return click.option(
        name, type=Bool(), default=default, is_flag=False, flag_value="True", show_default=True, help=help
    )


def _maybe(name: str, kind: type[int] | type[float], default: float | None, help: str) -> Callable[[F], F]:
    return click.option(name, type=Maybe(kind), default=default, show_default=True, help=help)


@click.command(options_metavar="[FLAGS]")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True))
@settings("model", "revision", "model_dir", "sources", "offline", "device", "compute")
@_yes_no("--fp16", True, "False: compute in float32; True: in the best precision of the device (see --compute)")
@settings("kv", "threads", "rows", "memory_share", "encode_windows")
# --- who does it
@click.option(
    "--server", default=None, envvar="SOTTOVOCE_SERVER",
    help="let a server transcribe: the address of a sottovoce, or of any that speaks OpenAI's API. Variable: "
    "SOTTOVOCE_SERVER",
)  # fmt: skip
@click.option(
    "--api-key", default=None, envvar="SOTTOVOCE_API_KEY", help="of that server; better as variable SOTTOVOCE_API_KEY"
)
@click.option(
    "--resident", is_flag=True, envvar="SOTTOVOCE_RESIDENT",
    help="let a server of this user's transcribe, which is started if need be and stays for the next command. "
    "Variable: SOTTOVOCE_RESIDENT",
)  # fmt: skip
@click.option(
    "--resident-idle", type=float, default=900.0, show_default=True, help="seconds without a command until it ends"
)
# --- what comes out
@click.option("--output-dir", "-o", default=".", show_default=True, type=click.Path(), help="folder for the files")
@click.option(
    "--output-format", "-f", type=Formats("none"), default="all", show_default=True,
    help="files to write for each recording: txt, vtt, srt, tsv, json, ass, lrc, csv, md; several with commas between; "
    "all: the first five, as whisper's; diarized_json: as OpenAI's, with --diarize or --channels; none: text on stdout "
    "only",
)  # fmt: skip
@_yes_no("--verbose", True, "print the text on stdout; with times, where stdout is a terminal")
@click.option("--times", is_flag=True, help="with times, also where stdout is no terminal")
@click.option("--quiet", "-q", is_flag=True, help="nothing on stderr but errors")
@click.option("--resume", is_flag=True, help="skip recordings whose files are all there, and newer than the recording")
# --- what is said
@click.option(
    "--task", type=click.Choice(["transcribe", "translate"]), default="transcribe", show_default=True,
    help="the words as they are spoken, or in English",
)  # fmt: skip
@click.option(
    "--language", "-l", type=Language(), default=None,
    help="code or name, such as de, German or Deutsch; detected if left out. zh-Hans, zh-CN, zh-Hant, zh-TW: Chinese, "
    "and in whose characters",
)  # fmt: skip
@click.option(
    "--languages", type=Languages(), default=(),
    help="those that may be spoken, by comma, such as de,en: detection chooses among them, and a recording that "
    "switches between them is followed",
)  # fmt: skip
@_yes_no("--multilingual", False, "follow a recording that switches between any languages")
@click.option(
    "--initial-prompt", default=None, help="text before the first window; in the parallel strategy before each"
)
@_yes_no("--carry-initial-prompt", False, "put the initial prompt before every window, as the parallel strategy does")
@click.option("--hotwords", default=None, help="words to expect, given to every window as context")
@click.option(
    "--keywords", "keywords", type=Terms(), multiple=True,
    help="terms that the decoder prefers, by comma, such as 'Sottovoce,Ada:2' with a weight; repeatable",
)  # fmt: skip
@click.option("--keywords-file", type=File(), default=None, help="a term on each line, maybe with :weight; # comments")
@click.option(
    "--replace", "replacements", type=Replacement(), multiple=True,
    help="from=to: whole words of the text that become others; /from/=to for a regular expression; repeatable",
)  # fmt: skip
@click.option("--replacements", "replacements_file", type=File(), default=None, help="a file with from=to on each line")
@click.option(
    "--post-process", "on_segment", type=Function(), default=None,
    help="module:function that is given each Segment and returns what it becomes; None drops it",
)  # fmt: skip
@click.option(
    "--condition-on-previous-text", type=Bool(), default=None, is_flag=False, flag_value="True",
    help="let each window know the text before it; left out: as the strategy does",
)  # fmt: skip
# --- which part of the recording
@click.option("--stream", type=int, default=0, show_default=True, help="audio stream of the file, counted from 0")
@click.option("--channel", type=int, default=None, help="channel to hear, counted from 0; all are mixed if left out")
@click.option(
    "--clip", "clips", type=Clip(), multiple=True,
    help="only this part, in seconds or [hh:]mm:ss, such as 1:30-2:00; repeatable. What follows the last is not read",
)  # fmt: skip
@click.option("--clip-timestamps", default="0", show_default=True, help="start,end,start,end,... in seconds")
@click.option(
    "--clean", type=Cleaning(), default=(),
    help="what is done to the sound before it is heard, by comma: highpass (hum, rumble), denoise (steady noise), "
    "loudness (quiet speakers). Nothing by default: Whisper hears noisy speech better as it is",
)  # fmt: skip
# --- how it is decoded
@click.option(
    "--strategy", type=click.Choice([s.value for s in Strategy]), default=None,
    help="parallel: speech is found first, and cut in pauses into windows that are decoded together; sequential: "
    "window after window, as whisper does. Parallel, unless a flag is set that only the sequential one can honour: "
    "--condition-on-previous-text True, --hallucination-silence-threshold",
)  # fmt: skip
@click.option("--temperature", type=float, default=0.0, show_default=True, help="of sampling; 0: the most probable")
@_maybe("--temperature-increment-on-fallback", float, 0.2, "step by which to try again when a gate fails")
@_maybe("--best-of", int, 5, "candidates of sampling")
@_maybe("--beam-size", int, 5, "beams at temperature 0; 1: greedy")
@_maybe("--patience", float, None, "of the beam search (arXiv 2204.05424); None is 1.0")
@_maybe("--length-penalty", float, None, "alpha of arXiv 1609.08144; None: mean log-probability")
@click.option("--suppress-tokens", default="-1", show_default=True, help="ids never to sample; -1: the usual ones")
@click.option("--seed", type=int, default=0, show_default=True, help="of sampling")
# --- the gates
@_maybe("--compression-ratio-threshold", float, 2.4, "try again where text repeats itself more than this")
@_maybe("--logprob-threshold", float, -1.0, "try again where the mean log-probability is lower than this")
@_maybe("--no-speech-threshold", float, 0.6, "silence, where its probability is higher and the gate above fails")
# --- words
@_yes_no(
    "--word-timestamps", False,
    "times of words, and better times of segments by them; True, if left out, where --subtitles or a rule of theirs is "
    "given, or --word-cues",
)  # fmt: skip
@click.option("--prepend-punctuations", default=PREPEND_PUNCTUATIONS, show_default=True, help="belong to the next word")
@click.option("--append-punctuations", default=APPEND_PUNCTUATIONS, show_default=True, help="belong to the word before")
@whispers_layout
@_maybe(
    "--hallucination-silence-threshold", float, None,
    "skip silences longer than this, in seconds, around what seems made up  (needs --word-timestamps)",
)  # fmt: skip
# --- who speaks
@click.option("--diarize", is_flag=True, help="tell who speaks, by voice: every word and segment has a speaker")
@speaker_flags
@click.option("--channels", is_flag=True, help="transcribe every channel by itself, as one speaker; for calls")
@click.option("--channel-names", default=None, help="of the speakers, by comma; left,right if left out")
# --- subtitles
@subtitle_rules
@settings("log_level")
def transcribe(files: tuple[str, ...], **given: Any) -> int:
    """Write down what is said in recordings.

    FILE is any audio or video file, a folder (searched with all below it), a pattern in quotes, an http(s) URL, or -
    for the standard input. Recordings are decoded together; each one's files are written as soon as it is done, and
    one that fails does not touch the others.

    All flags of the `whisper` command mean here what they mean there, with - or _ between their words. Only the
    defaults of --model, --device and --condition-on-previous-text are others; --strategy sequential gives whisper's
    very words.

    \b
    stdout   the text, one segment a line; with times if stdout is a terminal
    stderr   progress, notes, errors
    files    <output-dir>/<name of the recording>.<format>; a recording found in a folder keeps its place below that
             folder; where two would share a name, the later one's gets a number; the standard input is called stdin
    """
    config = config_of(given)
    if click.get_current_context().get_parameter_source("word_timestamps") is ParameterSource.DEFAULT:
        given["word_timestamps"] = follows_words(given)
    place = {name: given.pop(name) for name in ("server", "api_key", "resident", "resident_idle")}
    _check(given)
    if place["server"] and place["resident"]:
        raise click.UsageError("--server and --resident were both given, one was expected; leave one out")
    if not given.pop("fp16") and config.compute == "auto":
        config = config.with_(compute="float32")
    job = Job.of(files, config, given)
    screen = Screen(quiet=job.quiet)
    start_log(config, screen.write)
    recordings, exits = prepare(job, screen)
    if recordings and (place["server"] or place["resident"]):
        from sottovoce.cli.elsewhere import work_elsewhere

        exits += work_elsewhere(job, screen, recordings, **place)
    elif recordings:
        from sottovoce.cli.work import work  # torch: what fails before, fails at once

        exits += work(job, screen, recordings)
    return worst(exits)


def _check(given: dict[str, Any]) -> None:
    """What the flags demand of each other."""
    if not given["word_timestamps"]:
        for name in WHISPERS:
            if given[name]:
                raise click.UsageError(f"--{name.replace('_', '-')} was given, it needs --word-timestamps True as well")
    if given["language"] and given["languages"]:
        raise click.UsageError("--language and --languages were both given, one was expected; leave one out")
    if given["clips"] and given["clip_timestamps"] != "0":
        raise click.UsageError("--clip and --clip-timestamps were both given, one was expected; leave one out")
    if "diarized_json" in formats_of(given["output_format"]) and not (
        given["diarize"] or given["channels"] or given["channel_names"]
    ):
        raise click.UsageError("--output-format diarized_json was given, it needs --diarize or --channels as well")
    if given["output_format"] == "none" and not given["verbose"]:
        raise click.UsageError("--output-format none and --verbose False leave nothing to be done; leave one out")
    increment = given["temperature_increment_on_fallback"]
    if increment is not None and increment <= 0:
        raise click.UsageError(
            f"--temperature-increment-on-fallback: {increment} was given, above 0 or None was expected; try 0.2"
        )
