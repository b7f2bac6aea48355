"""openai-whisper's `whisper.normalizers`: how texts are made comparable before words are counted."""

from sottovoce.compat.openai_whisper.normalizers.basic import BasicTextNormalizer
from sottovoce.compat.openai_whisper.normalizers.english import EnglishTextNormalizer

__all__ = ["BasicTextNormalizer", "EnglishTextNormalizer"]
