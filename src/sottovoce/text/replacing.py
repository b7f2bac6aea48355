"""Replacing words of a text, and of words with times. Knows no sound, no file.

A match that stands in several words makes them one span of time; what it becomes is laid over it again, by its words
one to one where they are as many, else by their length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sottovoce.errors import OptionError
from sottovoce.text.languages import is_unspaced
from sottovoce.types import Segment, Word

_REGEX = re.compile(r"/(.+)/([a-z]*)", re.DOTALL)
_FLAGS = {"i": re.IGNORECASE, "s": re.DOTALL, "x": re.VERBOSE}


@dataclass(frozen=True, slots=True)
class Rule:
    """What is sought, and what it becomes; is_template: with the groups of the match."""

    pattern: re.Pattern[str]
    becomes: str
    is_template: bool

    def of(self, match: re.Match[str]) -> str:
        return match.expand(self.becomes) if self.is_template else self.becomes


def is_expression(sought: str) -> bool:
    """Is what is sought a regular expression, as a rule is written?"""
    return _REGEX.fullmatch(sought) is not None


def rule(sought: str, becomes: str) -> Rule:
    """A rule as it is written: literal words, whatever their case; or /regular expression/, with the flags i, s, x.

    Raises OptionError for an expression that is none, or is replaced by a group that it does not have.
    """
    regex = _REGEX.fullmatch(sought)
    if regex is None:
        words = sought.split()
        if not words:
            raise OptionError(f"replacements: {sought!r} was given, words to replace were expected; leave it out")
        first, last = words[0][0], words[-1][-1]
        before, after = (r"(?<!\w)" if _bounds(first) else ""), (r"(?!\w)" if _bounds(last) else "")
        literal = re.compile(before + r"\s+".join(map(re.escape, words)) + after, re.IGNORECASE)
        return Rule(literal, becomes, False)
    try:
        flags = re.NOFLAG
        for letter in regex[2]:
            flags |= _FLAGS[letter]
        pattern = re.compile(regex[1], flags)
        _check_template(pattern, becomes)
    except (re.error, IndexError, KeyError) as e:
        what = f"the flag {e} is unknown" if isinstance(e, KeyError) else str(e)
        raise OptionError(
            f"replacements: {sought!r} -> {becomes!r}: {what}; a regular expression of Python was expected, with "
            f"groups such as \\1 in what it becomes; mend it, or leave out the slashes for literal words"
        ) from e
    return Rule(pattern, becomes, True)


def replaced(text: str, rules: Sequence[Rule]) -> str:
    """A text with its words replaced, rule after rule."""
    for r in rules:
        for start, end, becomes in reversed(_edits(text, r)):
            text = text[:start] + becomes + text[end:]
    return text


def replaced_words(words: Sequence[Word], rules: Sequence[Rule]) -> tuple[Word, ...]:
    """Words with times, of which some are replaced; times stay in order and inside the words that they were of."""
    found = list(words)
    for r in rules:
        text = "".join(w.word for w in found)
        for start, end, becomes in reversed(_edits(text, r)):
            found = _edited(found, start, end, becomes)
    return tuple(w for w in found if w.word.strip())


def replaced_segment(segment: Segment, rules: Sequence[Rule]) -> Segment:
    """A segment with words replaced in its text and in its words; tokens stay the model's own."""
    text = replaced(segment.text, rules)
    if text == segment.text and not segment.words:
        return segment
    return replace(segment, text=text, words=segment.words and replaced_words(segment.words, rules))


def _check_template(pattern: re.Pattern[str], becomes: str) -> None:
    """Raise re.error or IndexError for a group that the pattern does not have, as the first match would."""
    groups = f"{pattern.pattern}\n|"  # matches nothing too, also where the expression ends in a comment
    match = re.compile(groups, pattern.flags).match("")
    assert match is not None
    match.expand(becomes)


def _bounds(character: str) -> bool:
    """Does a word end at this character, so that no letter may follow it?"""
    return bool(re.match(r"\w", character)) and not is_unspaced(character)


def _edits(text: str, r: Rule) -> list[tuple[int, int, str]]:
    """(start, end, becomes) of each match; with nothing in its place, the space before it goes too."""
    found: list[tuple[int, int, str]] = []
    for match in r.pattern.finditer(text):
        start, end, becomes = match.start(), match.end(), r.of(match)
        edited = found[-1][1] if found else 0  # so far: a space that is gone already is not taken twice
        if edited < start < end and not becomes and text[start - 1].isspace():
            start -= 1
        if start < end:
            found.append((start, end, becomes))
    return found


def _edited(words: list[Word], start: int, end: int, becomes: str) -> list[Word]:
    """The words of a text of which [start, end) becomes something else."""
    offsets, at = [], 0
    for w in words:
        offsets.append(at)
        at += len(w.word)
    first = max(i for i, offset in enumerate(offsets) if offset <= start)
    last = max(i for i, offset in enumerate(offsets) if offset < end)
    text = words[first].word[: start - offsets[first]] + becomes + words[last].word[end - offsets[last] :]
    return [*words[:first], *_laid(text, words[first : last + 1]), *words[last + 1 :]]


def _laid(text: str, over: Sequence[Word]) -> list[Word]:
    """The words of a text, over the time of others; with all its spaces, for other matches may lie before them."""
    parts = re.findall(r"\s*\S+(?:\s+$)?|\s+$", text)
    if len(parts) == len(over):
        return [replace(w, word=part) for w, part in zip(over, parts, strict=True)]
    if not text.strip():
        return [replace(over[0], word=text, end=max(over[0].start, over[-1].end))] if text else []
    start, end = over[0].start, max(over[0].start, over[-1].end)
    probability = sum(w.probability for w in over) / len(over)
    n, done, found = sum(len(p.strip()) for p in parts), 0, []
    for part in parts:
        a, done = done, done + len(part.strip())
        first, last = (round(start + (end - start) * x / n, 2) for x in (a, done))
        under = next((w for w in over if (first + last) / 2 < w.end), over[-1])  # whose speaker it keeps
        found.append(replace(under, word=part, start=first, end=last, probability=probability))
    # rounding must not move the edges
    found[0], found[-1] = replace(found[0], start=start), replace(found[-1], end=end)
    return found
