"""The slow twin of boosting: what a token gains, found anew from the whole text and the whole list of terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sottovoce.flow.keywords import MOST, Gains

Tokens = tuple[int, ...]


class PlainKeywords:
    """terms: token sequences with their weights."""

    def __init__(self, terms: Mapping[Tokens, float], greedy: Gains, beams: Gains) -> None:
        self.terms, self.kinds = terms, (greedy, beams)

    def gain(self, text: Sequence[int], token: int, beams: bool) -> float:
        """What a token gains after a text; among beams also what it gives back."""
        before, after = self.open(text), self.open((*text, token))
        goes_on = self._step(after, beams) if after and self._is_child(before, token) else 0.0
        if not beams:
            return goes_on
        # it goes on from the longest open beginning that has such a continuation
        source = after[:-1] if after else ()
        return goes_on + self.lent(source) - self.lent(before)

    def gains(self, text: Sequence[int], n_vocab: int, beams: bool) -> list[float]:
        """Of each token; of those that are in no term, found once."""
        known = {token for term in self.terms for token in term}
        other = self.gain(text, -1, beams)
        return [self.gain(text, token, beams) if token in known else other for token in range(n_vocab)]

    def open(self, text: Sequence[int]) -> Tokens:
        """The longest end of the text that is a beginning of a term."""
        for i in range(len(text)):
            if self._begins(tuple(text[i:])):
                return tuple(text[i:])
        return ()

    def lent(self, path: Tokens) -> float:
        """What the tokens of an open beginning have gained and must give back where it fails."""
        lent = 0.0
        for n in range(1, len(path) + 1):
            part = path[:n]
            lent = 0.0 if part in self.terms else max(0.0, lent + self._step(part, True) - self.kept(part))
        return lent

    def kept(self, path: Tokens) -> float:
        """What the longest term that ends a path, but for the path itself, has gained."""
        for i in range(1, len(path)):
            if path[i:] in self.terms:
                return sum(self._step(path[i : i + n], True) for n in range(1, len(path) - i + 1))
        return 0.0

    def _begins(self, path: Tokens) -> bool:
        return any(term[: len(path)] == path for term in self.terms)

    def _is_child(self, before: Tokens, token: int) -> bool:
        return any(self._begins((*before[i:], token)) for i in range(len(before) + 1))

    def _step(self, path: Tokens, beams: bool) -> float:
        """What the last token of a beginning gains: the most that one of its terms gives."""
        g, n = self.kinds[beams], len(path)
        return max(
            min(MOST, weight * (g.whole if len(term) == 1 else g.further if n > 1 else g.first))
            for term, weight in self.terms.items()
            if term[:n] == path
        )
