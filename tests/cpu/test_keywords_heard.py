"""Keywords with real weights: a spelling that nobody could know without them, and a thousand others that stay away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest

from sottovoce.api import Whisper
from sottovoce.text.known import SPOKEN, n_errors, words

TERM = {"Old House": 3}  # a name that is said like words of the clip


@pytest.fixture(scope="module")
def clip() -> Iterator[Path]:
    with as_file(files("sottovoce.audio") / "assets" / "known.ogg") as path:
        yield path


@pytest.mark.weights
@pytest.mark.parametrize("beams", [1, 5])
def test_a_term_is_written_as_it_is_given(clip: Path, beams: int) -> None:
    """By both strategies, and by a list together; also a thousand other terms change no word."""
    others = {f"{a}{b}{c}": 1 for a in ["Kra", "Zel", "Mun", "Tho", "Bri"] for b in "bagimoduxy" for c in "nklmrstvwz"}
    asked = {"beam_size": beams, "language": "en"}
    with Whisper("base", compute="bfloat16") as whisper:
        for strategy in ("parallel", "sequential"):
            without = whisper.transcribe(clip, strategy=strategy, **asked)
            assert without.text.strip() == SPOKEN
            found = whisper.transcribe(clip, strategy=strategy, keywords=TERM, **asked)
            assert "Old House" in found.text
            assert found.text.lower() == without.text.lower()
            assert found.segments[0].avg_logprob < without.segments[0].avg_logprob, "the model's own"
        among = whisper.transcribe([clip, clip], keywords=others, **asked)
        assert [t.text.strip() for t in among] == [SPOKEN, SPOKEN]


@pytest.mark.weights
@pytest.mark.parametrize("beams", [1, 5])
def test_a_prompt_is_not_heard_in_silence_or_noise(clip: Path, beams: int) -> None:
    """Window after window, base wrote hotwords and prompts down where nobody spoke, as openai-whisper does."""
    noise = np.random.default_rng(0).normal(scale=0.05, size=10 * 16_000).astype(np.float32)
    hum = (0.2 * np.sin(np.arange(8 * 16_000) * 2 * np.pi * 100 / 16_000)).astype(np.float32)
    prompts = (
        {"hotwords": "Zygmunt Helstone, Prynne, Delmonico and Merneptah"},
        {"initial_prompt": "Welcome to the Helstone lecture on Merneptah and Delmonico."},
    )
    with Whisper("base", compute="bfloat16") as whisper:
        for strategy in ("parallel", "sequential"):
            asked = {"strategy": strategy, "beam_size": beams, "language": "en"}
            for prompt in prompts:
                for sound in (0 * noise, noise, hum):
                    heard = whisper.transcribe(sound, **asked, **prompt).text
                    assert not {"zygmunt", "merneptah", "delmonico"} & set(words(heard)), heard
            said = whisper.transcribe(clip, hotwords="the old house whispers to the sea", **asked)
            assert n_errors(said.text) == 0, "what is said is kept although it stands in the prompt"


@pytest.mark.weights
def test_every_way_to_ask_mends_what_it_says(clip: Path) -> None:
    """Replacements and the hook, by all four methods; times of words stay."""
    with Whisper("tiny.en") as whisper:
        plain = whisper.transcribe(clip, word_timestamps=True)
        asked = {
            "word_timestamps": True,
            "replacements": ["old house=castle", r"/whispers (\w+)/=says \1"],
            "on_segment": lambda s: replace(s, text=s.text.rstrip(".") + "!"),
        }
        found = whisper.transcribe(clip, **asked)
        listed = whisper.transcribe([clip], **asked)[0]
        run = whisper.iter_segments(clip, **asked)
        segments = list(run)
        awaited = asyncio.run(whisper.atranscribe(clip, **asked))
        assert found.text == " The castle listens to the sea, and the sea says back!"
        assert found == listed == awaited
        assert tuple(segments) == found.segments
        before, after = plain.segments[0].words, found.segments[0].words
        assert before is not None and after is not None
        assert [w.word for w in after[:3]] == [" The", " castle", " listens"]
        assert (after[1].start, after[1].end) == (before[1].start, before[2].end)
        assert after[2:-2] == before[3:-2]
        nothing = whisper.transcribe(clip, on_segment=lambda s: None)
        assert (nothing.text, [d.reason for d in nothing.dropped]) == ("", ["hook"])
