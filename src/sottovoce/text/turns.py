"""Who spoke when, and its written forms: rttm json txt. Strings only; knows no sound and no transcript."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from json import dumps

from sottovoce.text.clock import format_timestamp
from sottovoce.types import Turn


def rttm(turns: Sequence[Turn], name: str) -> str:
    """NIST's Rich Transcription Time Marked: one SPEAKER line a turn. name: of the recording.

    Fields hold no spaces, so that those of names become underscores. Source: NIST RT-09 evaluation plan, appendix A.
    """
    return "".join(
        f"SPEAKER {_field(name)} 1 {turn.start:.3f} {turn.end - turn.start:.3f} <NA> <NA> {_field(turn.speaker)}"
        " <NA> <NA>\n"
        for turn in turns
    )


def json(turns: Sequence[Turn], name: str) -> str:
    """An object with the turns, and the seconds that each speaker speaks."""
    seconds: dict[str, float] = {}
    for turn in turns:
        seconds[turn.speaker] = seconds.get(turn.speaker, 0.0) + turn.end - turn.start
    rows = [{"start": round(t.start, 3), "end": round(t.end, 3), "speaker": t.speaker} for t in turns]
    speakers = {speaker: round(s, 3) for speaker, s in seconds.items()}
    return dumps({"recording": name, "speakers": speakers, "turns": rows}, ensure_ascii=False) + "\n"


def txt(turns: Sequence[Turn], name: str) -> str:
    """One turn a line: start, end, speaker."""
    return "".join(
        f"[{format_timestamp(turn.start)} --> {format_timestamp(turn.end)}] {turn.speaker}\n" for turn in turns
    )


FORMS: Mapping[str, Callable[[Sequence[Turn], str], str]] = {"rttm": rttm, "json": json, "txt": txt}


def labelled(text: str, speaker: str | None) -> str:
    """A line of text with its speaker before it."""
    return f"{speaker}: {text.strip()}" if speaker else text


def _field(text: str) -> str:
    return "_".join(text.split()) or "<NA>"
