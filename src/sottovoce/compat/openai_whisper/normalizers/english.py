"""The English normaliser: whisper-normalizer's, less what it has added to OpenAI's.

Error rates are compared with published ones only if both texts were normalised alike.
Source: openai/whisper normalizers/english.py (20250625); whisper-normalizer english.py (0.1.15).
"""

from __future__ import annotations

try:
    from whisper_normalizer import english
    from whisper_normalizer.english import EnglishNumberNormalizer, EnglishSpellingNormalizer
except ImportError as e:
    raise ImportError(
        "Whisper's text normalisation needs the package whisper-normalizer; pip install 'sottovoce[normalizers]'"
    ) from e

__all__ = ["EnglishNumberNormalizer", "EnglishSpellingNormalizer", "EnglishTextNormalizer"]

ADDED = (r"\bkinda\b", r"\bsorta\b", r"\bdunno\b", r"\bcause\b")  # contractions that OpenAI's leaves as they are


class EnglishTextNormalizer:
    """Lower case, no fillers and brackets, contractions spelled out, numbers as digits, American spelling."""

    def __init__(self) -> None:
        self._normalize = english.EnglishTextNormalizer()
        for pattern in ADDED:
            self._normalize.replacers.pop(pattern, None)

    def __call__(self, s: str) -> str:
        return str(self._normalize(s))
