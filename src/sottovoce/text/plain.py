"""The preset "plain": the files of whisper. Knows no rule of subtitles.

The bytes are those of openai-whisper's writers (whisper/utils.py, 20250625) on the same transcript: its choices of
where a line breaks are kept even where one would choose otherwise. Frozen: tests/null/test_writer_bytes.py. Only
speakers, which whisper does not know, add their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sottovoce.text.clock import srt_time, vtt_time
from sottovoce.text.layout import Layout
from sottovoce.types import Segment, Word

LONG_PAUSE_S = 3.0  # from the start of one word to the start of the next; openai/whisper utils.py:iterate_subtitles
NO_LIMIT = 1000  # characters or words of a line when none is set; openai/whisper utils.py:iterate_subtitles


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle. start, end: seconds. words: what it is made of, where words have times; folds are in them."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    speaker: str | None = None


def txt(segments: Sequence[Segment], layout: Layout) -> str:
    """One segment per line."""
    return "".join(f"{label(s.speaker, layout)}{s.text.strip()}\n" for s in segments)


def vtt(segments: Sequence[Segment], layout: Layout) -> str:
    """WebVTT."""
    blocks = (
        f"{vtt_time(c.start)} --> {vtt_time(c.end)}\n{label(c.speaker, layout)}{c.text}\n\n"
        for c in cues(segments, layout)
    )
    return "WEBVTT\n\n" + "".join(blocks)


def srt(segments: Sequence[Segment], layout: Layout) -> str:
    """SubRip."""
    numbered = enumerate(cues(segments, layout), start=1)
    return "".join(
        f"{i}\n{srt_time(c.start)} --> {srt_time(c.end)}\n{label(c.speaker, layout)}{c.text}\n\n" for i, c in numbered
    )


def tsv(segments: Sequence[Segment], layout: Layout) -> str:
    """Tab-separated: start and end in whole milliseconds, text; one head line. Speakers, if there are any."""
    named = layout.speakers != "none" and any(s.speaker for s in segments)
    rows = (
        f"{round(1000 * s.start)}\t{round(1000 * s.end)}\t{s.text.strip().replace(chr(9), ' ')}"
        + (f"\t{' '.join((s.speaker or '').split())}" if named else "")
        + "\n"
        for s in segments
    )
    return "start\tend\ttext" + ("\tspeaker" if named else "") + "\n" + "".join(rows)


def label(speaker: str | None, layout: Layout) -> str:
    """What stands in front of a speaker's words."""
    return "" if speaker is None or layout.speakers == "none" else f"{' '.join(speaker.split())}: "


def cues(segments: Sequence[Segment], layout: Layout) -> Iterator[Cue]:
    """The subtitles that srt and vtt write."""
    spoken = [s.words for s in segments if s.words is not None]
    if not spoken or len(spoken) < len(segments):
        # no word times; a segment that was blanked for having no sound carries an empty list of words all the same
        for s in segments:
            yield Cue(s.start, s.end, s.text.strip().replace("-->", "->"), speaker=s.speaker)
        return
    for words, speaker in _subtitles(segments, layout):
        text = "".join(w.word for w in words)
        if layout.highlight_words:
            yield from _highlighted(words, text, speaker)
        else:
            yield Cue(words[0].start, words[-1].end, text, tuple(words), speaker)


def _highlighted(words: Sequence[Word], text: str, speaker: str | None) -> Iterator[Cue]:
    """Each word underlined while it is spoken; between words the plain text."""
    last = words[0].start
    for i, word in enumerate(words):
        if vtt_time(last) != vtt_time(word.start):
            yield Cue(last, word.start, text, speaker=speaker)
        marked = re.sub(r"^(\s*)(.*)$", r"\1<u>\2</u>", word.word)
        before, after = ("".join(w.word for w in part) for part in (words[:i], words[i + 1 :]))
        yield Cue(word.start, word.end, before + marked + after, speaker=speaker)
        last = word.end


def _subtitles(segments: Sequence[Segment], layout: Layout) -> Iterator[tuple[list[Word], str | None]]:
    """Words gathered into subtitles, and who speaks. A word that begins a line is stripped; one that folds it carries
    the break.

    Two ways: without width and count together a subtitle ends with its segment (or with max_words_per_line), and a
    width only folds it; with both, subtitles flow across segments and end when the lines are full, after a pause, or
    where another speaks.
    """
    flowing = bool(layout.max_line_count) and bool(layout.max_line_width)
    width = layout.max_line_width or NO_LIMIT
    subtitle: list[Word] = []
    n_lines, line_width = 1, 0
    last = next((w.start for s in segments for w in s.words or ()), segments[0].start)
    spoke = segments[0].speaker
    for word, is_first, speaker in _with_group_starts(segments, layout.max_words_per_line or NO_LIMIT):
        pause = flowing and word.start - last > LONG_PAUSE_S
        group_ends = bool(subtitle) and ((is_first and not flowing) or speaker != spoke)
        last = word.start
        if 0 < line_width <= width - len(word.word) and not pause and not group_ends:
            subtitle.append(word)
            line_width += len(word.word)
            continue
        text = word.word.strip()
        full = bool(subtitle) and bool(layout.max_line_count) and (pause or n_lines >= (layout.max_line_count or 0))
        if full or group_ends:
            yield subtitle, spoke
            subtitle, n_lines, folded = [], 1, False
        else:
            folded = line_width > 0
            n_lines += folded
        spoke = speaker
        subtitle.append(replace(word, word="\n" + text if folded else text))
        line_width = len(text)
    if subtitle:
        yield subtitle, spoke


def _with_group_starts(segments: Sequence[Segment], n_words: int) -> Iterator[tuple[Word, bool, str | None]]:
    for s in segments:
        for i, word in enumerate(s.words or ()):
            yield word, i % n_words == 0, word.speaker or s.speaker
