"""The command's face: help texts in the docs, quick start, whisper's flags in both spellings, exit codes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.shell_completion import ShellComplete

from sottovoce import errors
from sottovoce.cli.app import cli, run
from sottovoce.cli.exits import MEANINGS, Exit, exit_of, said, worst
from sottovoce.cli.job import Job, ladder
from sottovoce.cli.options import CONTEXT, config_of
from sottovoce.cli.transcribe import transcribe

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "numpy", "av", "rich", "tiktoken", "huggingface_hub", "asyncio")

# Flag and default of openai-whisper 20250625, transcribe.py:cli. model, device and condition_on_previous_text differ.
WHISPER_FLAGS = {
    "model_dir": None,
    "output_dir": ".",
    "output_format": "all",
    "verbose": True,
    "task": "transcribe",
    "language": None,
    "temperature": 0.0,
    "best_of": 5,
    "beam_size": 5,
    "patience": None,
    "length_penalty": None,
    "suppress_tokens": "-1",
    "initial_prompt": None,
    "carry_initial_prompt": False,
    "condition_on_previous_text": None,  # whisper's True is the sequential strategy's default
    "fp16": True,
    "temperature_increment_on_fallback": 0.2,
    "compression_ratio_threshold": 2.4,
    "logprob_threshold": -1.0,
    "no_speech_threshold": 0.6,
    "word_timestamps": False,
    "prepend_punctuations": "\"'“¿([{-",
    "append_punctuations": "\"'.。,，!！?？:：”)]}、",
    "highlight_words": False,
    "max_line_width": None,
    "max_line_count": None,
    "max_words_per_line": None,
    "threads": None,  # whisper's 0 is Config's default
    "clip_timestamps": "0",
    "hallucination_silence_threshold": None,
}
# A value of each that its parser takes
VALUES = {
    "model": "tiny",
    "device": "cpu",
    "output_format": "json",
    "task": "translate",
    "language": "de",
    "best_of": "None",
    "condition_on_previous_text": "True",
    "beam_size": "None",
    "temperature": "0.5",
    "clip_timestamps": "1,2",
    "threads": "2",
}


def parse(*arguments: str) -> dict[str, object]:
    return transcribe.make_context("transcribe", list(arguments), **CONTEXT).params


def value_of(flag: str) -> str:
    default = WHISPER_FLAGS.get(flag)
    if flag in VALUES:
        return VALUES[flag]
    return "False" if default is True else "True" if default is False else "1"


def test_the_docs_show_the_help_texts_as_they_are() -> None:
    script = ROOT / "scripts" / "update_help.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["transcribe", "--help"], ["models", "--help"], ["--version"]])
def test_help_waits_for_nothing_heavy(arguments: list[str]) -> None:
    """Seconds of torch before a help text: the bound is on what is imported; the time is printed, machines differ."""
    code = (
        f"import sys; from sottovoce.cli.app import run; code = run({arguments!r}); "
        f"sys.exit(code or ','.join(set(sys.modules) & set({HEAVY!r})))"
    )
    start_s = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    elapsed_s = time.monotonic() - start_s
    print(f"{arguments}: {elapsed_s:.3f} s")
    assert done.stderr.strip() == ""
    assert done.stdout
    assert elapsed_s < 5


@pytest.mark.parametrize("flag", [*WHISPER_FLAGS, "model", "device"])
def test_each_flag_of_whisper_is_taken_with_either_joint(flag: str) -> None:
    value = value_of(flag)
    with_underscores = parse("a.wav", f"--{flag}", value)
    assert with_underscores == parse("a.wav", f"--{flag.replace('_', '-')}", value)
    assert with_underscores[flag] != parse("a.wav")[flag], "the value had no effect"


@pytest.mark.parametrize("flag", WHISPER_FLAGS)
def test_each_flag_of_whisper_has_its_default(flag: str) -> None:
    assert parse("a.wav")[flag] == WHISPER_FLAGS[flag]


def test_short_forms_are_whispers() -> None:
    params = parse("a.wav", "-o", "out", "-f", "srt")
    assert (params["output_dir"], params["output_format"]) == ("out", "srt")


def test_a_yes_or_no_flag_alone_means_yes() -> None:
    assert parse("a.wav", "--word_timestamps", "--highlight-words")["word_timestamps"] is True
    assert parse("a.wav", "--word_timestamps", "--highlight-words")["highlight_words"] is True


def test_a_file_behind_a_bare_flag_is_not_swallowed() -> None:
    with pytest.raises(click.BadParameter, match="put the files before"):
        parse("--word_timestamps", "a.wav")


def test_languages_go_by_code_and_by_name() -> None:
    for spelling in ("de", "German", "german", "de-DE"):
        assert parse("a.wav", "--language", spelling)["language"] == "de"
    assert parse("a.wav", "--language", "auto")["language"] is None
    with pytest.raises(click.BadParameter, match="German"):
        parse("a.wav", "--language", "Germann")


def test_several_languages_and_steps_go_by_comma() -> None:
    assert parse("a.wav", "--languages", "German,en-GB,zh_TW")["languages"] == ("de", "en", "zh-Hant")
    assert parse("a.wav", "--clean", "loudness,HighPass")["clean"] == ("highpass", "loudness")
    assert (parse("a.wav")["languages"], parse("a.wav")["clean"]) == ((), ())
    for flag, wrong, meant in (("--languages", "de,Germann", "German"), ("--clean", "denoize", "denoise")):
        with pytest.raises(click.BadParameter, match=meant):
            parse("a.wav", flag, wrong)


def test_one_language_and_several_are_not_given_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["transcribe", "a.wav", "--language", "de", "--languages", "de,en"]) == Exit.USAGE
    assert "leave one out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "clip"),
    [
        ("90-120", (90.0, 120.0)),
        ("1:30-2:00.5", (90.0, 120.5)),
        ("1:00:00-", (3600.0, None)),
        ("-10", (0.0, 10.0)),
    ],
)
def test_clips_are_seconds_or_clock_times(text: str, clip: tuple[float, float | None]) -> None:
    assert parse("a.wav", "--clip", text)["clips"] == (clip,)


@pytest.mark.parametrize("text", ["90", "a-b", "1:90-2:00", "1:2:3:4-", "--5", "9-5", "5-5"])
def test_a_clip_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="START-END"):
        parse("a.wav", "--clip", text)


@pytest.mark.parametrize(
    ("clips", "end_s"),
    [(("0-100", "5-10"), 100.0), (("5-", "20-30"), None), (("60-70", "1-2"), 70.0)],
)
def test_a_recording_is_read_to_the_latest_end_of_its_clips(clips: tuple[str, ...], end_s: float | None) -> None:
    """It was read to the end of the clip that begins last, and words of one that goes on behind it were lost."""
    given: dict[str, Any] = dict(parse("a.wav", *(word for clip in clips for word in ("--clip", clip))))
    config = config_of(given)
    assert given.pop("fp16") is True
    assert Job.of(given.pop("files"), config, given).options["end_s"] == end_s


def complete(*typed: str) -> list[str]:
    *before, incomplete = typed
    shell = ShellComplete(cli, {}, "sottovoce", "_SOTTOVOCE_COMPLETE")
    return [item.value for item in shell.get_completions(before, incomplete)]


def test_shells_complete_commands_models_languages_and_formats() -> None:
    assert "transcribe" in complete("tr")
    assert {"large-v3", "large-v3-turbo"} <= set(complete("transcribe", "--model", "large-v3"))
    assert "tiny.en" in complete("models", "pull", "tin")
    assert complete("transcribe", "--language", "yu") == ["yue"]
    assert "German" in complete("transcribe", "--language", "Ger")
    assert complete("transcribe", "--output-format", "s") == ["srt"]
    assert "--word-timestamps" in complete("transcribe", "--word")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    code = f"from sottovoce.cli.app import run; raise SystemExit(run(['completion', {shell!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"_SOTTOVOCE_COMPLETE={shell}_complete" in done.stdout.replace("'", "")


@pytest.mark.parametrize("first", [0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5])
@pytest.mark.parametrize("step", [0.2, 0.1, 0.05, 0.3, 0.25, 1 / 3])
def test_the_ladder_of_temperatures_has_numpys_very_floats(first: float, step: float) -> None:
    """whisper's command makes it with numpy.arange, and the json files show each float."""
    assert ladder(first, step) == (tuple(float(t) for t in np.arange(first, 1.0 + 1e-6, step)) or (first,))
    assert ladder(first, None) == (first,)


# --- exit codes -----------------------------------------------------------------------------------------------------


def test_every_error_has_an_exit_code_of_its_own_kind() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    for kind in kinds:
        if kind is not errors.SottovoceError:
            assert exit_of(kind("x")) not in (Exit.DONE, Exit.BUG), kind
    assert exit_of(errors.DownloadError("x")) is Exit.MODEL
    assert exit_of(ZeroDivisionError()) is Exit.BUG


def test_every_exit_code_is_explained() -> None:
    assert set(MEANINGS) == set(Exit)


def test_of_several_failures_the_highest_counts_and_a_bug_before_all() -> None:
    assert worst([]) is Exit.DONE
    assert worst([Exit.AUDIO, Exit.OUTPUT, Exit.AUDIO]) is Exit.OUTPUT
    assert worst([Exit.AUDIO, Exit.BUG]) is Exit.BUG


def test_a_wrong_command_line_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["transcribe"]) == Exit.USAGE
    assert capsys.readouterr().err == "sottovoce: Missing argument 'FILE...'; see: sottovoce transcribe --help\n"


def test_an_error_is_one_line_and_names_the_recording_once() -> None:
    assert said(errors.AudioError("it is\nempty"), "a.wav") == "a.wav: it is empty"
    assert said(errors.AudioError("'a.wav': it is empty"), "a.wav") == "'a.wav': it is empty"


def test_a_bug_shows_where_it_is() -> None:
    try:
        _ = 1 // 0
    except ZeroDivisionError as e:
        assert "Traceback" in said(e, "a.wav")
        assert "bug" in said(e, "a.wav").splitlines()[0]
