"""Subtitles -> srt, vtt, ass, lrc: markup, escapes, words marked as they are spoken. Knows no rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from sottovoce.text import plain
from sottovoce.text.clock import ass_time, lrc_time, srt_time, vtt_time
from sottovoce.text.layout import Layout
from sottovoce.text.subtitles import Line, Subtitle, subtitles
from sottovoce.text.units import Run
from sottovoce.types import Segment

CLEARED_S = 2.0  # a line of lrc stays until the next one, unless that is later than this
FONTS = {"ja": "Noto Sans CJK JP", "zh": "Noto Sans CJK SC", "yue": "Noto Sans CJK HK", "ko": "Noto Sans CJK KR"}
FONT = "Arial"
RIGHT_TO_LEFT = frozenset(("ar", "he", "fa", "ur", "ps", "sd", "yi"))
JOINER = "\u2060"  # between a backslash and a letter that would make a command of it; has no width


@dataclass(frozen=True, slots=True)
class _Frame:
    """A subtitle while one of its words is marked. marked: (line, run) of it; None where nothing is spoken."""

    start: float
    end: float
    marked: tuple[int, int] | None


def srt(segments: Sequence[Segment], language: str, layout: Layout) -> str:
    """SubRip. It knows no escapes; what would end a subtitle is taken away."""
    if layout.is_plain:
        return plain.srt(segments, layout)
    blocks = (
        f"{srt_time(start)} --> {srt_time(end)}\n{text}\n\n"
        for start, end, text in _shown(segments, language, layout, _srt_text)
    )
    return "".join(f"{i}\n{block}" for i, block in enumerate(blocks, start=1))


def vtt(segments: Sequence[Segment], language: str, layout: Layout) -> str:
    """WebVTT, with voices where speakers are known. The preset plain escapes nothing, as whisper does not."""
    if layout.is_plain and not layout.word_cues:
        return plain.vtt(segments, layout)
    style = "STYLE\n::cue(c:future) {\n  opacity: 0.5;\n}\n\n" if layout.word_cues else ""
    write = _vtt_cued if layout.word_cues else _vtt_text
    blocks = (
        f"{vtt_time(start)} --> {vtt_time(end)}\n{text}\n\n"
        for start, end, text in _shown(segments, language, layout, write)
    )
    return f"WEBVTT\n\n{style}" + "".join(blocks)


def ass(segments: Sequence[Segment], language: str, layout: Layout) -> str:
    """Advanced SubStation Alpha, for a picture of 1920 x 1080, or 1080 x 1920 with the preset short."""
    write = _ass_cued if layout.word_cues else _ass_text
    lines = []
    for sub, start, end, text in _each(segments, language, layout, write):
        name = " & ".join(dict.fromkeys(line.speaker for line in sub.lines if line.speaker))
        name = " ".join(name.replace(",", " ").split())
        lines.append(f"Dialogue: 0,{ass_time(start)},{ass_time(end)},Default,{name},0,0,0,,{text}\n")
    return _ass_head(language, layout) + "".join(lines)


def lrc(segments: Sequence[Segment], language: str, layout: Layout) -> str:
    """Lyrics: one line a subtitle. An empty one takes it away where nothing follows for long."""
    made = [f"[ti:{_one_line(layout.title)}]\n"] if layout.title else []
    every = list(_subtitles(segments, language, layout))
    for i, sub in enumerate(every):
        made.append(f"[{lrc_time(sub.start)}]{_lrc_text(sub, layout)}\n")
        if i + 1 == len(every) or every[i + 1].start - sub.end > CLEARED_S:
            made.append(f"[{lrc_time(sub.end)}]\n")
    return "".join(made)


# --- what is shown when ----------------------------------------------------------------------------------------------

_Writer = Callable[[Subtitle, _Frame], str]


def _shown(
    segments: Sequence[Segment], language: str, layout: Layout, write: _Writer
) -> Iterator[tuple[float, float, str]]:
    for _, start, end, text in _each(segments, language, layout, write):
        yield start, end, text


def _each(
    segments: Sequence[Segment], language: str, layout: Layout, write: _Writer
) -> Iterator[tuple[Subtitle, float, float, str]]:
    for sub in _subtitles(segments, language, layout):
        marking = layout.highlight_words and not layout.word_cues
        for frame in _frames(sub) if marking else (_Frame(sub.start, sub.end, None),):
            yield sub, frame.start, frame.end, write(sub, frame)


def _subtitles(segments: Sequence[Segment], language: str, layout: Layout) -> Iterator[Subtitle]:
    if layout.is_plain:
        found = _plain_subtitles(segments, layout)
    else:
        found = iter(subtitles(segments, language, layout.rules(language), layout.speakers or "name"))
    for sub in found:
        named = layout.speakers != "none"
        yield sub if named else replace(sub, lines=tuple(replace(line, speaker=None) for line in sub.lines))


def _plain_subtitles(segments: Sequence[Segment], layout: Layout) -> Iterator[Subtitle]:
    """Those of whisper, for formats that it does not write."""
    for cue in plain.cues(segments, replace(layout, highlight_words=False)):
        lines: list[list[Run]] = [[]]
        for word in cue.words:
            if word.word.startswith("\n"):
                lines.append([])
            lines[-1].append(Run(word.word.removeprefix("\n"), word.start, word.end))
        if not cue.words:
            lines = [[Run(" ".join(cue.text.split()), cue.start, cue.end)]]
        labels = [plain.label(cue.speaker, layout), *("" for _ in lines[1:])]
        yield Subtitle(
            cue.start,
            cue.end,
            tuple(Line(label, tuple(runs), cue.speaker) for label, runs in zip(labels, lines, strict=True)),
        )


def _frames(sub: Subtitle) -> Iterator[_Frame]:
    """A subtitle's time, divided at its words'."""
    at = sub.start
    spoken = [(run, (i, j)) for i, line in enumerate(sub.lines) for j, run in enumerate(line.runs)]
    for run, place in spoken:
        start, end = (_ms(min(max(t, at), sub.end)) for t in (run.start, run.end))
        if start > at:
            yield _Frame(at, start, None)
        if end > start:
            yield _Frame(start, end, place)
        at = max(at, end)
    if at < sub.end:
        yield _Frame(at, sub.end, None)


def _ms(seconds: float) -> float:
    return round(seconds, 3)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _marked(line: Line, i: int, frame: _Frame, escape: Callable[[str], str], marks: tuple[str, str]) -> str:
    """The spoken text of a line, and marks around the word that is marked."""
    parts = []
    for j, run in enumerate(line.runs):
        text = escape(run.text)
        if frame.marked == (i, j):
            space = text[: len(text) - len(text.lstrip())]
            text = f"{space}{marks[0]}{text.lstrip()}{marks[1]}"
        parts.append(text)
    return "".join(parts)


# --- srt -------------------------------------------------------------------------------------------------------------


def _srt_text(sub: Subtitle, frame: _Frame) -> str:
    lines = (
        _srt_escaped(line.label) + _marked(line, i, frame, _srt_escaped, ("<u>", "</u>"))
        for i, line in enumerate(sub.lines)
    )
    return "\n".join(lines)


def _srt_escaped(text: str) -> str:
    return text.replace("-->", "->")


# --- vtt -------------------------------------------------------------------------------------------------------------


def _vtt_escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _vtt_line(line: Line, spoken: str) -> str:
    voice = _one_line(line.speaker or "")
    text = _vtt_escaped(line.label) + spoken
    return f"<v {_vtt_escaped(voice)}>{text}</v>" if voice else text


def _vtt_text(sub: Subtitle, frame: _Frame) -> str:
    lines = (
        _vtt_line(line, _marked(line, i, frame, _vtt_escaped, ("<u>", "</u>"))) for i, line in enumerate(sub.lines)
    )
    return "\n".join(lines)


def _vtt_cued(sub: Subtitle, frame: _Frame) -> str:
    """Words after their times. A time that is not after the one before it is left out, as the format demands."""
    at, lines = sub.start, []
    for line in sub.lines:
        parts = []
        for run in line.runs:
            text = _vtt_escaped(run.text)
            start = _ms(run.start)
            if at < start < sub.end:
                at = start
                parts.append(f"<{vtt_time(start)}>")
            parts.append(f"<c>{text}</c>")
        lines.append(_vtt_line(line, "".join(parts)))
    return "\n".join(lines)


# --- ass -------------------------------------------------------------------------------------------------------------


def _ass_head(language: str, layout: Layout) -> str:
    upright = layout.preset == "short"
    width, height = (1080, 1920) if upright else (1920, 1080)
    size, margin_v = (78, 480) if upright else (64, 60)
    # colours are &HAABBGGRR; secondary: words that are not yet spoken
    colours = "&H00FFFFFF,&H00A0A0A0,&H00101010,&H80000000"
    direction = -1 if language in RIGHT_TO_LEFT else 1  # -1: as the text says
    font = FONTS.get(language, FONT)
    return (
        "[Script Info]\n"
        + (f"Title: {_one_line(layout.title)}\n" if layout.title else "")
        + "ScriptType: v4.00+\n"
        + f"PlayResX: {width}\nPlayResY: {height}\n"
        + "WrapStyle: 2\nScaledBorderAndShadow: yes\n\n"
        + "[V4+ Styles]\n"
        + "Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, "
        + "Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, "
        + "MarginR, MarginV, Encoding\n"
        + f"Style: Default,{font},{size},{colours},0,0,0,0,100,100,0,0,1,3,1,2,60,60,{margin_v},{direction}\n\n"
        + "[Events]\n"
        + "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    )


def _ass_escaped(text: str) -> str:
    return re.sub(r"\\", rf"\\{JOINER}", text).replace("{", "\\{").replace("}", "\\}")


def _ass_text(sub: Subtitle, frame: _Frame) -> str:
    marks = ("{\\1c&H3CDCFF&\\u1}", "{\\r}")
    lines = (
        _ass_escaped(line.label) + _marked(line, i, frame, _ass_escaped, marks) for i, line in enumerate(sub.lines)
    )
    return "\\N".join(lines)


def _ass_cued(sub: Subtitle, frame: _Frame) -> str:
    """Karaoke: each word with the hundredths of a second that it takes, pauses apart."""
    at, lines = round(sub.start * 100), []
    last = round(sub.end * 100)
    for line in sub.lines:
        parts = [f"{{\\k0}}{_ass_escaped(line.label)}"] if line.label else []
        for run in line.runs:
            start, end = (min(max(round(t * 100), at), last) for t in (run.start, run.end))
            text = _ass_escaped(run.text)
            spoken = text.lstrip()
            space = text[: len(text) - len(spoken)]
            if start > at or space:
                parts.append(f"{{\\k{start - at}}}{space}")
            parts.append(f"{{\\k{end - start}}}{spoken}")
            at = max(end, start)
        lines.append("".join(parts))
    return "\\N".join(lines)


# --- lrc -------------------------------------------------------------------------------------------------------------


def _lrc_escaped(text: str) -> str:
    """Lyrics know no escapes: what would be read as a time gets round brackets."""
    return re.sub(r"[\[<](\d+:\d[\d.:]*)[\]>]", r"(\1)", text)


def _lrc_text(sub: Subtitle, layout: Layout) -> str:
    if not layout.word_cues:
        return " ".join(_lrc_escaped(line.text) for line in sub.lines)
    texts = []
    for line in sub.lines:
        parts = [_lrc_escaped(line.label)]
        for run in line.runs:
            spoken = run.text.lstrip()
            start = min(max(run.start, sub.start), sub.end)
            parts.append(f"{run.text[: len(run.text) - len(spoken)]}<{lrc_time(start)}>{_lrc_escaped(spoken)}")
        texts.append("".join(parts))
    return " ".join(texts)
