"""Windows, speakers and turns without a network: what is told of frames becomes a line of who speaks when."""

from __future__ import annotations

import tracemalloc
from itertools import groupby

import numpy as np
import pytest

from sottovoce.audio import activity, diarization
from sottovoce.audio.activity import FRAME, N_FRAMES, N_LOCAL, WINDOW
from sottovoce.audio.clusters import Number
from sottovoce.audio.diarization import Heard, Stretch
from sottovoce.types import SAMPLE_RATE

VOICES = np.eye(3, dtype=np.float32)


class Told:
    """A segmentation network that hears speaker i where the sound is i + 1, and nobody in silence."""

    class Input:
        name = "input"

    def get_inputs(self) -> list[Told.Input]:
        return [self.Input()]

    def run(self, _: None, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        sound = given["input"][:, 0]
        at = np.arange(N_FRAMES) * FRAME + activity.FIELD // 2
        classes = np.rint(sound[:, at]).astype(int)  # 4: speakers 0 and 1 at once
        return [np.log(np.eye(7, dtype=np.float32)[classes] + 1e-9)]


class Pitch:
    """A network of voices: the level of the sound is the speaker."""

    def embed(self, sounds: list[np.ndarray]) -> np.ndarray:
        out = np.zeros((len(sounds), 256), np.float32)
        for line, sound in zip(out, sounds, strict=True):
            line[round(float(np.median(sound)))] = 1
        return out


def diarize(sound: np.ndarray, **more: object) -> list[tuple[float, float, int]]:
    found = diarization.diarize(sound, Told(), Pitch(), **more)  # type: ignore[arg-type]
    return [(turn.start / SAMPLE_RATE, turn.end / SAMPLE_RATE, turn.speaker) for turn in found.turns]


def said(*parts: tuple[float, int]) -> np.ndarray:
    """Seconds of a level each."""
    return np.concatenate([np.full(round(s * SAMPLE_RATE), level, np.float32) for s, level in parts])


def test_sets_of_speakers_become_speakers() -> None:
    logs = np.log(np.array([[0.1, 0.2, 0.0, 0.0, 0.6, 0.1, 0.0]]) + 1e-12)
    assert activity.speakers(logs)[0] == pytest.approx([0.9, 0.6, 0.1], abs=1e-5)


@pytest.mark.parametrize(("n", "expected"), [(1, 1), (WINDOW, 1), (WINDOW + 1, 2), (10 * WINDOW, 19)])
def test_windows_cover_the_recording(n: int, expected: int) -> None:
    n_windows = activity.n_windows(n, WINDOW // 2)
    assert n_windows == expected
    assert (n_windows - 1) * (WINDOW // 2) + WINDOW >= n


def test_turns_are_where_they_were() -> None:
    turns = diarize(said((1, 0), (8, 1), (2, 0), (9, 2), (1, 0), (7, 1), (2, 0)))
    assert [speaker for *_, speaker in turns] == [0, 1, 0]
    expected = [(1, 9), (11, 20), (21, 28)]
    for (start, end, _), (a, b) in zip(turns, expected, strict=True):
        assert start == pytest.approx(a, abs=0.04) and end == pytest.approx(b, abs=0.04)


def test_two_who_speak_at_once_both_have_a_turn() -> None:
    turns = diarize(said((6, 1), (3, 4), (6, 2), (1, 0)))
    assert [(round(start), round(end), speaker) for start, end, speaker in turns] == [(0, 9, 0), (6, 15, 1)]


def test_silence_has_no_turns() -> None:
    assert diarize(said((12, 0))) == []
    assert diarize(np.zeros(0, np.float32)) == []


def test_a_short_gap_is_closed_and_a_longer_one_is_not() -> None:
    assert len(diarize(said((5, 1), (0.2, 0), (5, 1)))) == 1
    assert len(diarize(said((5, 1), (0.8, 0), (5, 1)))) == 2


def test_so_many_speakers_as_are_asked_for() -> None:
    sound = said((8, 1), (1, 0), (8, 2), (1, 0), (8, 3))
    assert len({speaker for *_, speaker in diarize(sound)}) == 3
    assert len({speaker for *_, speaker in diarize(sound, number=Number(2, 2))}) == 2


def test_whoever_does_not_want_to_hear_more_ends_it() -> None:
    def enough(done_s: float, all_s: float) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        diarize(said((20, 1)), on_progress=enough)


def test_two_of_a_window_are_two_speakers() -> None:
    likeness = np.array([[0.9, 0.8, 0.1], [0.95, 0.2, 0.3], [0.9, 0.1, 0.2]])
    assert diarization.assign(likeness, np.array([0, 0, 1])).tolist() == [1, 0, 0]


def test_a_stretch_with_another_voice_than_its_windows_speaker_is_anothers() -> None:
    """The network takes two who follow one another quickly for one; their voices tell."""
    first, second = np.zeros((2, N_FRAMES, N_LOCAL), np.uint8)
    first[0:200, 0] = first[220:400, 0] = 255
    i_end = 400 - diarization.STEP // FRAME
    second[0:i_end, 0] = 255
    stretches = (Stretch(0, 0, 0, 200, 3.4), Stretch(0, 0, 220, 400, 3.0), Stretch(1, 0, 0, i_end, 1.7))
    voices = np.stack([VOICES[0], VOICES[1], VOICES[1]])
    heard = Heard(WINDOW + diarization.STEP, diarization.STEP, (first, second), stretches, voices)
    turns = diarization.conclude(heard, Number()).turns
    assert [turn.speaker for turn in turns] == [0, 1]


def test_of_a_long_recording_not_all_voices_are_compared_and_all_are_told() -> None:
    """Comparing every pair of an afternoon's voices would take gigabytes."""
    n = 3 * diarization.N_AT_ONCE
    owners = np.random.default_rng(0).integers(0, 3, n)
    level = np.zeros((N_FRAMES, N_LOCAL), np.uint8)
    level[:290, 0] = 255
    stretches = tuple(Stretch(i, 0, 0, 290, 4.9) for i in range(n))
    heard = Heard(n * diarization.STEP, diarization.STEP, (level,) * n, stretches, VOICES[owners])
    found = diarization.conclude(heard, Number())
    assert len(found.voices) == 3
    order = list(dict.fromkeys(owners.tolist()))
    told = [key for key, _ in groupby(order[turn.speaker] for turn in found.turns)]
    assert told == [key for key, _ in groupby(owners.tolist())]


def test_the_line_of_many_speakers_takes_not_much_more_than_itself() -> None:
    """Ranks of every speaker in every frame took 0.7 GB for 10 hours with 20 speakers, beside the recording."""
    n, k = 1440, 20  # two hours
    level = np.full((N_FRAMES, N_LOCAL), 200, np.uint8)
    stretches = tuple(Stretch(i, 0, 0, N_FRAMES, 9.9) for i in range(n))
    heard = Heard(n * diarization.STEP, diarization.STEP, (level,) * n, stretches, np.zeros((n, 3), np.float32))
    tracemalloc.start()
    line = diarization._line(heard, np.arange(n) % k, k)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * line.size * 4, f"{peak / line.size:.1f} bytes a speaker and frame"
