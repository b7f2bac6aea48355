"""openai-whisper's Python surface over ours: `import sottovoce.compat.openai_whisper as whisper`.

The same names, arguments and results. What cannot be honoured raises an error that says what to do.
"""

from sottovoce.compat.openai_whisper import audio, decoding, model, timing, tokenizer, utils, version
from sottovoce.compat.openai_whisper.audio import load_audio, log_mel_spectrogram, pad_or_trim
from sottovoce.compat.openai_whisper.decoding import DecodingOptions, DecodingResult, decode, detect_language
from sottovoce.compat.openai_whisper.model import ModelDimensions, Whisper, load_model
from sottovoce.compat.openai_whisper.published import _MODELS, _download, available_models
from sottovoce.compat.openai_whisper.transcribe import transcribe
from sottovoce.compat.openai_whisper.version import __version__

__all__ = [
    "_MODELS",
    "DecodingOptions",
    "DecodingResult",
    "ModelDimensions",
    "Whisper",
    "__version__",
    "_download",
    "audio",
    "available_models",
    "decode",
    "decoding",
    "detect_language",
    "load_audio",
    "load_model",
    "log_mel_spectrogram",
    "model",
    "pad_or_trim",
    "timing",
    "tokenizer",
    "transcribe",
    "utils",
    "version",
]
