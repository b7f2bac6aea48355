"""Which segments look invented: words that are too long, too short or improbable, beside silence.

Source: openai/whisper transcribe.py (hallucination_silence_threshold).
"""

from __future__ import annotations

from collections.abc import Sequence

from sottovoce.types import APPEND_PUNCTUATIONS, PREPEND_PUNCTUATIONS, Segment, Word

PUNCTUATION = PREPEND_PUNCTUATIONS + APPEND_PUNCTUATIONS
IMPROBABLE = 0.15
SHORTEST_S, LONGEST_S = 0.133, 2.0
N_JUDGED = 8  # words at a segment's beginning that are looked at
EDGE_S = 2.0  # as near to a window's edge, silence is taken for granted


def is_anomaly(segment: Segment | None) -> bool:
    """Are most of the segment's first words of odd length or improbable?"""
    if segment is None or not segment.words:
        return False
    words = [w for w in segment.words if w.word not in PUNCTUATION][:N_JUDGED]
    score = sum(_oddness(w) for w in words)
    return score >= 3 or score + 0.01 >= len(words)


def _oddness(word: Word) -> float:
    duration = word.end - word.start
    score = 1.0 if word.probability < IMPROBABLE else 0.0
    return score + max(0.0, (SHORTEST_S - duration) * 15) + max(0.0, duration - LONGEST_S)


def skip_hallucinations(
    segments: Sequence[Segment],
    threshold_s: float,
    last_speech_s: float,
    start_s: float,
    end_s: float,
    window_end_s: float,
) -> tuple[list[Segment], float, float] | None:
    """Cut a window before the first odd segment that stands between silences longer than threshold_s.

    start_s, end_s: the window's sound; window_end_s: its end if it were full.
    Returns what is kept, where to go on (s), and where the odd segment ended (s); None if nothing is odd.
    """
    for i, segment in enumerate(segments):
        if not segment.words:
            continue
        if is_anomaly(segment):
            following = next((s for s in segments[i + 1 :] if s.words), None)
            next_s = following.words[0].start if following is not None and following.words else end_s
            before = (
                segment.start - last_speech_s > threshold_s
                or segment.start < threshold_s
                or segment.start - start_s < EDGE_S
            )
            after = next_s - segment.end > threshold_s or is_anomaly(following) or window_end_s - segment.end < EDGE_S
            if before and after:
                return list(segments[:i]), max(start_s + 1, segment.start), segment.end
        last_speech_s = segment.end
    return None
