"""The normaliser for languages other than English: whisper-normalizer's, which is OpenAI's code kept as a library."""

from __future__ import annotations

try:
    from whisper_normalizer.basic import BasicTextNormalizer, remove_symbols, remove_symbols_and_diacritics
except ImportError as e:
    raise ImportError(
        "Whisper's text normalisation needs the package whisper-normalizer; pip install 'sottovoce[normalizers]'"
    ) from e

__all__ = ["BasicTextNormalizer", "remove_symbols", "remove_symbols_and_diacritics"]
