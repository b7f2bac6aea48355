"""Which segments may be invented: too little voice for them, or a window that may be silent. Pure: nothing is asked.

What is doubtful is heard again by itself (reading.py). Who speaks says the same again; what was made of a noise is
another text then, or none.
"""

from __future__ import annotations

from difflib import SequenceMatcher

from sottovoce.flow.gates import plain
from sottovoce.flow.spans import POSITION, Span, Stretch
from sottovoce.types import SAMPLE_RATE, Segment

FASTEST = 25  # letters in a second of voice: the fastest readers have 20, what was invented in noise 50 and more
DOUBTFUL = 0.3  # probability of silence, of a window
CLEAR = 0.75  # mean probability of speech of a voice that is heard clearly
STRAY_S = 0.2  # how far a segment's times may be off
AROUND_S = 0.5  # of sound on either side of what is heard again
SAME = 0.5  # how much of two texts must be the same


def is_doubtful(segment: Segment, stretch: Stretch) -> bool:
    """Is a segment of a stretch to be heard again? Whom the detector hears clearly, speaks, whatever the model says."""
    spoken_s, voiced_s = _under(segment, stretch)
    faint = voiced_s < CLEAR * spoken_s
    return is_unvoiced(segment, stretch) or (segment.no_speech_prob > DOUBTFUL and faint)


def is_unvoiced(segment: Segment, stretch: Stretch) -> bool:
    """Has a segment more letters than can be said in the seconds of voice under it?"""
    n_letters = len(plain(segment.text).replace(" ", ""))
    return n_letters > FASTEST * _under(segment, stretch)[1]


def is_clear(stretch: Stretch) -> bool:
    """Does the detector hear a voice clearly in all of a stretch's speech?"""
    spoken = sum(s.end - s.start for s in stretch.speech)
    return sum((s.end - s.start) * s.voice for s in stretch.speech) >= CLEAR * spoken


def _under(segment: Segment, stretch: Stretch) -> tuple[float, float]:
    """Seconds of speech while a segment lasts, and seconds of voice: the same, times how probable they are."""
    start, end = (segment.start - STRAY_S) * SAMPLE_RATE, (segment.end + STRAY_S) * SAMPLE_RATE
    parts = [(max(0.0, min(s.end, end) - max(s.start, start)), s.voice) for s in stretch.speech]
    return sum(n for n, _ in parts) / SAMPLE_RATE, sum(n * voice for n, voice in parts) / SAMPLE_RATE


def around(segment: Segment, stretch: Stretch, n_samples: int) -> Stretch:
    """A segment with a little of what is around it. n_samples: of the recording."""
    start = max(0, round((segment.start - AROUND_S) * SAMPLE_RATE)) // POSITION * POSITION
    end = min(n_samples, round((segment.end + AROUND_S) * SAMPLE_RATE) // POSITION * POSITION)
    inside = (Span(max(s.start, start), min(s.end, end), s.voice) for s in stretch.speech)
    return Stretch(start, end, tuple(s for s in inside if s.start < s.end))


def is_same(text: str, other: str) -> bool:
    """Do two texts say the same, but for a few words?"""
    a, b = plain(text).split(), plain(other).split()
    if len(a) == 1 == len(b):
        a, b = list(a[0]), list(b[0])
    return SequenceMatcher(None, a, b, autojunk=False).ratio() >= SAME
