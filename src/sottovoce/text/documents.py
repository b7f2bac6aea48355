"""A transcript to be read, or computed with: csv and Markdown. Knows no subtitle."""

from __future__ import annotations

import csv as tables
import re
from collections.abc import Iterator, Sequence
from io import StringIO

from sottovoce.text.clock import spoken_time
from sottovoce.text.layout import Layout
from sottovoce.types import Segment

PARAGRAPH_PAUSE_S = 2.0  # begins another paragraph
FULL = 500  # characters of a paragraph, after which the next sentence begins another
SENTENCE_ENDS = (".", "!", "?", "。", "！", "？", "؟", "।", "…")
MARKUP = re.compile(r"([\\`*_\[\]<>&~|$#])")
AT_LINE_START = re.compile(r"^(?:([+=-])|(\d+)([.)]))")


def csv(segments: Sequence[Segment], language: str, layout: Layout) -> str:
    """Comma-separated, as RFC 4180 quotes it: start and end in seconds, speaker, text; one head line."""
    out = StringIO()
    rows = tables.writer(out, lineterminator="\n")
    rows.writerow(("start", "end", "speaker", "text"))
    for s in segments:
        speaker = s.speaker if s.speaker is not None and layout.speakers != "none" else ""
        rows.writerow((f"{s.start:.3f}", f"{s.end:.3f}", speaker, s.text.strip()))
    return out.getvalue()


def md(segments: Sequence[Segment], language: str, layout: Layout) -> str:
    """Markdown: paragraphs of a speaker, with the time at which each begins; a title if there is one."""
    blocks = [f"# {escaped(' '.join(layout.title.split()))}\n"] if layout.title else []
    spoke: str | None = None
    for paragraph in _paragraphs(segments):
        speaker = paragraph[0].speaker if layout.speakers != "none" else None
        name = f"**{escaped(' '.join(speaker.split()))}** " if speaker and speaker.strip() and speaker != spoke else ""
        spoke = speaker
        text = " ".join(_joined(paragraph).split())
        blocks.append(f"{name}`{spoken_time(paragraph[0].start)}` {escaped(text)}\n")
    return "\n".join(blocks)


def escaped(text: str) -> str:
    """Text in which Markdown finds nothing of its own."""
    text = MARKUP.sub(r"\\\1", text)
    return AT_LINE_START.sub(lambda m: f"\\{m[1]}" if m[1] else f"{m[2]}\\{m[3]}", text)


def _joined(paragraph: Sequence[Segment]) -> str:
    """The text of segments, which carry their leading spaces."""
    return "".join(s.text for s in paragraph)


def _paragraphs(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    paragraph: list[Segment] = []
    for s in segments:
        if not s.text.strip():
            continue
        if paragraph and _begins(s, paragraph):
            yield paragraph
            paragraph = []
        paragraph.append(s)
    if paragraph:
        yield paragraph


def _begins(s: Segment, paragraph: Sequence[Segment]) -> bool:
    last = paragraph[-1]
    if s.speaker != last.speaker or s.start - last.end >= PARAGRAPH_PAUSE_S:
        return True
    return sum(len(x.text) for x in paragraph) > FULL and last.text.rstrip("\"'”’»)」』 ").endswith(SENTENCE_ENDS)
