"""How words are set in files: whisper's own layout, presets of subtitles, rules of languages. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from sottovoce.errors import OptionError

SPEAKERS = ("none", "name", "dash")
WHISPERS = ("max_line_width", "max_line_count", "max_words_per_line")
RULES = ("max_chars_per_line", "max_lines", "max_chars_per_second", "min_duration", "max_duration", "min_gap")
CJK = frozenset(("zh", "yue", "ja", "ko"))  # a character is a full-width one: two columns
SHORTEST_S = 0.04  # a subtitle is shown for a frame at least, whatever its words' times are


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for subtitles of one language.

    columns: of a line; a full-width character takes two. columns_per_s: reading speed. ambiguous_width: columns of
    characters such as … and “, which fonts for Chinese, Japanese and Korean draw twice as wide as others.
    """

    columns: int
    n_lines: int
    columns_per_s: float
    min_s: float
    max_s: float
    gap_s: float
    ambiguous_width: int = 1


@dataclass(frozen=True, slots=True)
class _Preset:
    """chars, chars_per_s: by language, "" for all others; in Chinese, Japanese and Korean of full-width characters."""

    chars: Mapping[str, int]
    chars_per_s: Mapping[str, float]
    n_lines: int
    min_s: float
    max_s: float
    gap_s: float


# Lengths, speeds and durations are those on which published style guides for subtitles agree (42 columns, 17 to 20
# characters a second, 5/6 to 7 s, two frames of 24 a second between). Japanese guides say 4 characters a second: for
# translations, which may be shortened. What is spoken is 7 and more.
PRESETS: Mapping[str, _Preset] = {
    "broadcast": _Preset(
        chars={"": 42, "zh": 16, "yue": 16, "ja": 13, "ko": 16, "th": 35},
        chars_per_s={"": 17, "en": 20, "ar": 20, "hi": 22, "zh": 9, "yue": 9, "ja": 7, "ko": 12},
        n_lines=2,
        min_s=5 / 6,
        max_s=7.0,
        gap_s=0.083,
    ),
    "short": _Preset(  # on a phone held upright
        chars={"": 22, "zh": 10, "yue": 10, "ja": 10, "ko": 10, "th": 20},
        chars_per_s={"": 25, "zh": 12, "yue": 12, "ja": 10, "ko": 15},
        n_lines=2,
        min_s=0.5,
        max_s=3.0,
        gap_s=0.0,
    ),
}
NAMES = ("plain", *PRESETS)


@dataclass(frozen=True, slots=True)
class Layout:
    """How words are set in files.

    Of whisper, and only with the preset "plain", where a subtitle is a segment, or what these make of its words (they
    take words with times). max_line_width: characters of a line. max_line_count: lines of a subtitle; it acts only
    together with a width, and then subtitles run across segments. max_words_per_line: words of a subtitle; no effect
    with width and count. None and 0 are no limit. highlight_words, with any preset: every word once marked while it is
    spoken, in srt, vtt and ass.

    preset: "plain", the files of whisper byte for byte; "broadcast"; "short", for phones. None: broadcast if one of the
    rules below is set, else plain. The rules replace the preset's: max_chars_per_line, full-width ones in Chinese,
    Japanese and Korean; max_lines; max_chars_per_second: reading speed; min_duration, max_duration: of a subtitle,
    seconds; min_gap: seconds between two. Which of them yields where not all can hold: docs/subtitles.md.
    speakers: "name" where another begins to speak, "dash" in front of each where two share a subtitle, or "none"; None:
    names, if there are any. word_cues: times of words inside subtitles: vtt <c>, ass \\k, lrc <mm:ss.xx>.
    title: stands above md, and in the head of ass and lrc.
    """

    max_line_width: int | None = None
    max_line_count: int | None = None
    highlight_words: bool = False
    max_words_per_line: int | None = None
    preset: str | None = None
    max_chars_per_line: int | None = None
    max_lines: int | None = None
    max_chars_per_second: float | None = None
    min_duration: float | None = None
    max_duration: float | None = None
    min_gap: float | None = None
    speakers: str | None = None
    word_cues: bool = False
    title: str | None = None

    def __post_init__(self) -> None:
        for name in WHISPERS:
            n = getattr(self, name)
            if n is not None and n < 0:
                raise OptionError(
                    f"{name}: {n} was given, a whole number above 0 was expected; leave it out for no limit"
                )
        _one_of("preset", self.preset, NAMES, "broadcast")
        _one_of("speakers", self.speakers, SPEAKERS, "name")
        _within("max_chars_per_line", self.max_chars_per_line, 6, 1000, "characters", "42")
        _within("max_lines", self.max_lines, 1, 10, "lines", "2")
        _within("max_chars_per_second", self.max_chars_per_second, 1, 1000, "characters a second", "17")
        _within("min_duration", self.min_duration, 0, 60, "seconds", "0.8")
        _within("max_duration", self.max_duration, 0.5, 600, "seconds", "7")
        _within("min_gap", self.min_gap, 0, 5, "seconds", "0.083")
        ruled = [name for name in RULES if getattr(self, name) is not None]
        if self.preset == "plain" and ruled:
            raise OptionError(
                f"{ruled[0]}: {getattr(self, ruled[0])} was given, nothing was expected in the preset plain, whose "
                "subtitles are whisper's; leave the preset out, or choose broadcast"
            )
        if self.is_plain:
            return
        for name in WHISPERS:
            if getattr(self, name):
                remedy = "max_chars_per_line and max_lines are the rules of the others"
                raise OptionError(
                    f"{name}: {getattr(self, name)} was given, nothing was expected but in the preset plain; {remedy}"
                )
        rules = self.rules("en")
        if rules.min_s > rules.max_s:
            raise OptionError(
                f"min_duration: {rules.min_s:g} was given, at most max_duration ({rules.max_s:g}) was expected; "
                "set both"
            )

    @property
    def is_plain(self) -> bool:
        """Subtitles are whisper's."""
        return self.preset == "plain" or (self.preset is None and all(getattr(self, name) is None for name in RULES))

    def rules(self, language: str) -> Rules:
        """The rules for a language's code: the preset's, and over them those that are set."""
        preset = PRESETS[self.preset or "broadcast"]
        wide = 2 if language in CJK else 1
        chars = self.max_chars_per_line or preset.chars.get(language, preset.chars[""])
        speed = self.max_chars_per_second or preset.chars_per_s.get(language, preset.chars_per_s[""])
        return Rules(
            columns=chars * wide,
            n_lines=self.max_lines or preset.n_lines,
            columns_per_s=speed * wide,
            min_s=max(SHORTEST_S, preset.min_s if self.min_duration is None else self.min_duration),
            max_s=preset.max_s if self.max_duration is None else self.max_duration,
            gap_s=preset.gap_s if self.min_gap is None else self.min_gap,
            ambiguous_width=wide,
        )


def _one_of(name: str, given: str | None, known: tuple[str, ...], example: str) -> None:
    if given is not None and given not in known:
        raise OptionError(f"{name}: {given!r} was given, one of {', '.join(known)} was expected; try {example}")


def _within(name: str, given: float | None, least: float, most: float, unit: str, example: str) -> None:
    if given is None:
        return
    whole = name in ("max_chars_per_line", "max_lines")
    good = isinstance(given, int) if whole else isinstance(given, int | float)
    if not good or isinstance(given, bool) or not isfinite(given) or not least <= given <= most:
        raise OptionError(
            f"{name}: {given!r} was given, {unit} from {least:g} to {most:g} were expected; try {example}"
        )


PLAIN = Layout()
