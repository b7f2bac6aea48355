"""What a flow says, mended before anybody hears it: words replaced, segments changed or dropped by the user's function.

The flow itself goes on from the model's own words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sottovoce.errors import OptionError
from sottovoce.flow.protocol import Event, Flow, Known
from sottovoce.flow.through import through
from sottovoce.text.formats import Dropped
from sottovoce.text.replacing import Rule, replaced_segment
from sottovoce.types import Segment

BY_HOOK, BY_RULE = "hook", "replaced by nothing"  # why a segment is not in the transcript
Hook = Callable[[Segment], Segment | None]


def mended(flow: Flow, rules: Sequence[Rule], hook: Hook | None) -> Flow:
    """The same flow with its segments mended: rules first, then the hook; what is dropped has its line."""
    segments: list[Segment] = []
    dropped: list[Dropped] = []

    def mend(said: Event) -> Event:
        if not isinstance(said, Known):
            return said
        kept: list[Segment] = []
        for segment in said.segments:
            found = replaced_segment(segment, rules)
            if segment.text.strip() and not found.text.strip():
                dropped.append(Dropped(segment.start, segment.end, BY_RULE))
                continue
            if hook is not None:
                answer = _asked(hook, found)
                if answer is None:
                    dropped.append(Dropped(segment.start, segment.end, BY_HOOK))
                    continue
                found = answer
            kept.append(replace(found, id=len(segments) + len(kept)))
        segments.extend(kept)
        return Known(tuple(kept), said.position_s)

    whole = yield from through(flow, mend)
    lines = sorted((*whole.dropped, *dropped), key=lambda line: line.start)
    return replace(whole, text="".join(s.text for s in segments), segments=tuple(segments), dropped=tuple(lines))


def _asked(hook: Hook, segment: Segment) -> Segment | None:
    """What the user's function makes of a segment. Raises OptionError if it fails, or gives anything else."""
    where = f"the segment at {segment.start:.2f} s"
    try:
        answer: object = hook(segment)
    except Exception as e:  # whatever it is, it is the user's own
        remedy = "mend the function, or leave it out"
        raise OptionError(f"on_segment: it failed on {where}: {type(e).__name__}: {e}; {remedy}") from e
    if answer is None or isinstance(answer, Segment):
        return answer
    what = "a Segment, or None to drop it, was expected; use dataclasses.replace(segment, text=...)"
    raise OptionError(f"on_segment: it returned {answer!r} for {where}, {what}")
