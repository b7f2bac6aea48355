"""What a model wrote against what was said: errors by set and language, and their tables. Pure; knows no model.

Word errors; character errors where words have no spaces between them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from bench.data import Clip
from bench.edits import Edits, edits

BY_CHARACTER = ("zh", "ja", "ko", "th")  # scored without spaces: their writers, or this data, do not agree on them
UNACCENTED = ("es",)  # the data's scripts lack accents: both sides are folded
Normalise = Callable[[str, list[str]], list[str]]  # language, texts -> texts as they are compared


@dataclass(frozen=True, slots=True)
class Case:
    """One way of decoding: default options, thus with fallback; the language is given where it is known."""

    model: str
    compute: str
    beam_size: int
    device: str = "cpu"
    threads: int = 0
    rows: int = 16
    strategy: str = "parallel"

    @property
    def name(self) -> str:
        search = "greedy" if self.beam_size == 1 else f"beam {self.beam_size}"
        return f"{self.model}, {self.compute}, {search}, {self.strategy}"


@dataclass(slots=True)
class Heard:
    """What one case wrote. texts: by clip; seconds, audio_s: of decoding, files included, model loading not."""

    case: Case
    texts: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    audio_s: float = 0.0
    seconds: float = 0.0
    peak_bytes: int = 0

    @property
    def speed(self) -> float:
        """Times real time."""
        return self.audio_s / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Score:
    """Of one case on one group of clips. unit: words or characters."""

    set: str
    language: str
    unit: str
    n_clips: int
    edits: Edits


def score(heard: Heard, clips: Iterable[Clip], normalise: Normalise) -> list[Score]:
    """Errors of what was written, per set and language. Clips without speech: all that is written is an insertion."""
    groups: dict[tuple[str, str], list[Clip]] = {}
    for clip in clips:
        if clip.name in heard.texts:
            groups.setdefault((clip.set, clip.language), []).append(clip)
    found = []
    for (name, language), group in groups.items():
        references = normalise(language, [c.reference or "" if c.language else "" for c in group])
        written = normalise(language, [heard.texts[c.name] for c in group])
        total = Edits()
        for want, got in zip(references, written, strict=True):
            total += edits(units(want, language), units(got, language))
        unit = "characters" if language in BY_CHARACTER else "words"
        found.append(Score(name, language, unit, len(group), total))
    return found


def units(text: str, language: str) -> list[str]:
    """What is counted of a normalised text: words, or characters."""
    if language in UNACCENTED:
        text = fold(text)
    return [c for c in text if not c.isspace()] if language in BY_CHARACTER else text.split()


def fold(text: str) -> str:
    """Without accents: decomposed, marks dropped."""
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")


def summary(heard: Sequence[Heard], scores: Sequence[Sequence[Score]]) -> str:
    """A Markdown table, one line a case: error rates of groups of sets, speed and memory."""
    lines = [
        "| case | English WER | English, long WER | other languages WER | zh ja ko CER | words in non-speech "
        "| x real time | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for h, each in zip(heard, scores, strict=True):
        speech = [s for s in each if s.language]
        groups = [
            [s for s in speech if s.language == "en" and s.set != "longform"],
            [s for s in speech if s.language == "en" and s.set == "longform"],
            [s for s in speech if s.language != "en" and s.unit == "words"],
            [s for s in speech if s.unit == "characters"],
        ]
        rates = [_rate(sum((s.edits for s in group), Edits())) for group in groups]
        n_invented = sum(s.edits.insertions for s in each if not s.language)
        cells = [h.case.name, *rates, n_invented, f"{h.speed:.1f}", f"{h.peak_bytes / 2**20:.0f} MiB"]
        lines.append("| " + " | ".join(str(c) for c in cells) + " |")
    return "\n".join(lines)


def details(heard: Sequence[Heard], scores: Sequence[Sequence[Score]]) -> str:
    """A Markdown table, one line a case, set and language."""
    lines = [
        "| case | set | language | clips | unit | n | substitutions | deletions | insertions | rate |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for h, each in zip(heard, scores, strict=True):
        for s in sorted(each, key=lambda s: (s.set, s.language)):
            e = s.edits
            cells = [h.case.name, s.set, s.language or "none", s.n_clips, s.unit, e.n]
            cells += [e.substitutions, e.deletions, e.insertions, _rate(e)]
            lines.append("| " + " | ".join(str(c) for c in cells) + " |")
    failed = [f"* {h.case.name}: {name}: {why}" for h in heard for name, why in h.failed.items()]
    return "\n".join(lines + (["", *failed] if failed else []))


def _rate(e: Edits) -> str:
    return f"{100 * e.rate:.2f} %" if e.n else "-"
