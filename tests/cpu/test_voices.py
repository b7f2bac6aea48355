"""The networks that tell speakers apart: ours beside torch's, and on real speech."""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np
import pytest
import torch

from sottovoce import Diarizer
from sottovoce.audio import decode, mel, voices
from sottovoce.audio.voices import N_LAYERS, N_MELS, PART, WIDTH, Voices
from sottovoce.errors import AudioError, ModelError
from sottovoce.types import SAMPLE_RATE


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    lstm, linear = torch.nn.LSTM(N_MELS, WIDTH, N_LAYERS, batch_first=True), torch.nn.Linear(WIDTH, WIDTH)
    return {f"lstm.{k}": v for k, v in lstm.state_dict().items()} | {
        f"linear.{k}": v for k, v in linear.state_dict().items()
    }


def plain(weights: dict[str, torch.Tensor], parts: np.ndarray) -> np.ndarray:
    """Resemblyzer's forward: (B, PART, N_MELS) -> (B, WIDTH)."""
    lstm = torch.nn.LSTM(N_MELS, WIDTH, N_LAYERS, batch_first=True)
    lstm.load_state_dict({k.removeprefix("lstm."): v for k, v in weights.items() if k.startswith("lstm.")})
    with torch.no_grad():
        _, (hidden, _) = lstm(torch.from_numpy(parts))
        raw = torch.relu(hidden[-1] @ weights["linear.weight"].T + weights["linear.bias"])
        return np.asarray(raw / raw.norm(dim=1, keepdim=True))


def test_voices_are_torchs() -> None:
    """Gates in another order would still give voices, and wrong ones."""
    weights = state()
    sounds = [np.random.default_rng(i).normal(0, 0.1, n).astype(np.float32) for i, n in enumerate((9000, 70_000))]
    found = Voices({k: v.numpy() for k, v in weights.items()}).embed(sounds)
    for voice, sound in zip(found, sounds, strict=True):
        mean = plain(weights, np.stack(voices.parts(sound))).sum(axis=0)
        assert voice == pytest.approx(mean / np.linalg.norm(mean), abs=2e-6)


def test_a_sound_too_short_to_tell_has_no_voice() -> None:
    found = Voices({k: v.numpy() for k, v in state().items()}).embed([np.ones(1000, np.float32)])
    assert not found.any()


def test_other_weights_are_refused() -> None:
    with pytest.raises(ModelError, match="Resemblyzer"):
        Voices({"conv1.weight": np.zeros(3)})


def test_parts_overlap_by_half_and_quiet_sound_is_lifted() -> None:
    loud = np.random.default_rng(0).normal(0, 0.1, 4 * SAMPLE_RATE).astype(np.float32)
    found = voices.parts(loud)
    assert len(found) == 4 and found[0].shape == (PART, N_MELS)
    assert np.array_equal(found[0][80:], found[1][:80])
    assert voices.parts(loud * 1e-3)[0].sum() == pytest.approx(voices.parts(loud * 1e-2)[0].sum(), rel=1e-3)
    assert len(voices.parts(loud[: SAMPLE_RATE // 2])) == 1


def test_mel_powers_are_whispers_before_the_logarithm() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    logs = np.log10(np.maximum(mel.power(mel.cut(sound, 0, 100), 80), 1e-10))
    given = (np.maximum(logs, logs.max() - 8) + 4) / 4
    assert given == pytest.approx(mel.log_mel(sound, 80), abs=2e-2)  # the last frames mirror the end there


def known() -> np.ndarray:
    with as_file(files("sottovoce.audio") / "assets" / "known.ogg") as clip:
        return decode.load(clip)


def other(sound: np.ndarray, factor: float = 1.35) -> np.ndarray:
    """The same words in another voice: played faster, as a child would speak."""
    at = np.arange(0, sound.size - 1, factor)
    return np.interp(at, np.arange(sound.size), sound).astype(np.float32)


def conversation() -> tuple[np.ndarray, float, float]:
    """Two voices in turn; (samples, where the second begins, where it ends)."""
    one = known()
    two = other(one)
    pause = np.zeros(SAMPLE_RATE // 2, np.float32)
    samples = np.concatenate([one, pause, two, two, pause, one])
    return samples, (one.size + pause.size) / SAMPLE_RATE, (one.size + pause.size + 2 * two.size) / SAMPLE_RATE


@pytest.fixture(scope="module")
def diarizer() -> Diarizer:
    return Diarizer()


@pytest.mark.weights
def test_two_voices_are_two_speakers_whose_turns_are_where_they_are(diarizer: Diarizer) -> None:
    samples, start_s, end_s = conversation()
    turns = diarizer.turns(samples)
    assert {turn.speaker for turn in turns} == {"SPEAKER_00", "SPEAKER_01"}
    second = [turn for turn in turns if turn.speaker == "SPEAKER_01"]
    assert abs(second[0].start - start_s) < 1.0 and abs(second[-1].end - end_s) < 1.0
    assert turns[0].speaker == turns[-1].speaker == "SPEAKER_00"


@pytest.mark.weights
def test_a_known_voice_has_its_name_and_another_does_not(diarizer: Diarizer) -> None:
    samples, *_ = conversation()
    turns = diarizer.turns(samples, known_speakers={"Anna": known(), "Bert": other(known(), 0.75)})
    assert {turn.speaker for turn in turns} == {"Anna", "SPEAKER_01"}


@pytest.mark.weights
def test_one_speaker_is_one_where_that_is_asked_for(diarizer: Diarizer) -> None:
    assert {turn.speaker for turn in diarizer.turns(conversation()[0], speakers=1)} == {"SPEAKER_00"}
    assert {turn.speaker for turn in diarizer.turns(known())} == {"SPEAKER_00"}


@pytest.mark.weights
def test_noise_has_no_speakers_and_is_nobodys_voice(diarizer: Diarizer) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 15 * SAMPLE_RATE).astype(np.float32)
    assert diarizer.turns(noise) == ()
    with pytest.raises(AudioError, match="nobody speaks"):
        diarizer.turns(known(), known_speakers={"Anna": noise})
