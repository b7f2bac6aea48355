"""What other programs call a transcript -> the dictionary that ours is. Pure.

OpenAI's verbose_json holds words apart from segments, without spaces and marks, and its language by name; with
timestamp_granularities=["word"] it holds no segments. Its diarized_json has speakers, and no figures of the decoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unicodedata import category

from sottovoce.text.languages import TO_LANGUAGE_CODE

PAUSE_S = 1.0  # between words, where there are no segments: another begins
SENTENCE_ENDS = ".!?。！？…؟۔।॥"
DEFAULTS: Mapping[str, Any] = {
    "seek": 0,
    "tokens": (),
    "temperature": 0.0,
    "avg_logprob": 0.0,
    "compression_ratio": 0.0,
    "no_speech_prob": 0.0,
}


def as_ours(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The dictionary as `Transcript.to_dict` makes it. Of one that is ours, or openai-whisper's, only the
    language may change, to its code.

    Raises KeyError, TypeError or ValueError for one that is none.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"{type(given).__name__} was given, a dictionary was expected")
    segments, words = given.get("segments"), given.get("words")
    if segments is None and not words:
        if "text" in given:
            raise ValueError("text without times was given, segments or words were expected (verbose_json has them)")
        raise KeyError("segments")
    named = str(given.get("language") or "").lower()
    language = TO_LANGUAGE_CODE.get(named, named)
    if words is None and any(isinstance(s, Mapping) and ("seek" in s or "tokens" in s) for s in segments or ()):
        return {**given, "language": language} if "language" in given else given
    if segments is None:
        made = list(_by_sentences(str(given["text"]), words or ()))
    else:
        made = [{**DEFAULTS, **s, "words": _timed(str(s["text"]), s.get("words"))} for s in segments]
        if words:
            _hand_out(words, made)
    for i, s in enumerate(made):
        s["id"] = i
        if s["words"] is None:
            del s["words"]
    text = given["text"] if "text" in given else "".join(str(s["text"]) for s in made)
    return {**given, "text": text, "language": language, "segments": made}


def _timed(text: str, words: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]] | None:
    """A segment's own words, if each of them has its times: aligners leave out those that they could not place."""
    if not words or any("start" not in w or "end" not in w for w in words):
        return None
    found, n = _matched(text, [{"probability": w.get("score", 1.0), **w} for w in words])
    return found if n == len(words) else None


def _hand_out(words: Sequence[Mapping[str, Any]], segments: list[dict[str, Any]]) -> None:
    """To each segment its words, with the spaces and marks of its text; where they do not match it, none."""
    i = 0
    for s in segments:
        found, n = _matched(str(s["text"]), words[i:])
        if found is None:
            end = float(s["end"])
            n = sum(1 for _ in _while_before(words[i:], end))
        s["words"] = found
        i += n


def _while_before(words: Sequence[Mapping[str, Any]], end: float) -> Iterator[Mapping[str, Any]]:
    for w in words:
        if (float(w["start"]) + float(w["end"])) / 2 >= end:
            return
        yield w


def _matched(text: str, words: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]] | None, int]:
    """The first of the words as they stand in a text, which they must cover; and how many they are."""
    low = text.lower()
    found: list[dict[str, Any]] = []
    at = n = 0
    if len(low) != len(text):  # a letter whose small form is two: places would not agree
        low = text
    for w in words:
        word = str(w["word"]).strip()
        place = low.find(word.lower() if low is not text else word, at)
        if place < 0 or _has_letters(text[at:place]):
            break
        n += 1
        if not word:
            continue
        end = place + len(word)
        while end < len(text) and not text[end].isspace() and not _has_letters(text[end]) and not _opens(text[end]):
            end += 1
        found.append({"probability": 1.0, **w, "word": text[at:end]})
        at = end
    if not found or _has_letters(text[at:]):
        return None, 0
    found[-1]["word"] += text[at:].rstrip()
    return found, n


def _has_letters(text: str) -> bool:
    return any(c.isalnum() for c in text)


def _opens(c: str) -> bool:
    return category(c) in ("Ps", "Pi")


def _by_sentences(text: str, words: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Segments out of words alone: they end with sentences, and before pauses."""
    found, n = _matched(text, words)
    if found is None or n < len(words):
        found = [{"probability": 1.0, **w, "word": f" {str(w['word']).strip()}"} for w in words]
    first = 0
    for i, w in enumerate(found):
        is_last = i + 1 == len(found)
        ends = str(w["word"]).rstrip("\"'”’»)]}」』 ").endswith(tuple(SENTENCE_ENDS))
        if is_last or ends or float(found[i + 1]["start"]) - float(w["end"]) >= PAUSE_S:
            own = found[first : i + 1]
            spoken = "".join(str(x["word"]) for x in own)
            yield {**DEFAULTS, "start": own[0]["start"], "end": w["end"], "text": spoken, "words": own}
            first = i + 1
