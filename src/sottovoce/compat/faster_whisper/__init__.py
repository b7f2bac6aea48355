"""faster-whisper's Python surface over our engine: a program changes its import line and runs.

Source: SYSTRAN/faster-whisper 1.2.1.
"""

from sottovoce.compat.faster_whisper.audio import decode_audio
from sottovoce.compat.faster_whisper.transcribe import BatchedInferencePipeline, WhisperModel
from sottovoce.compat.faster_whisper.utils import available_models, download_model, format_timestamp
from sottovoce.compat.faster_whisper.version import __version__

__all__ = [
    "BatchedInferencePipeline",
    "WhisperModel",
    "__version__",
    "available_models",
    "decode_audio",
    "download_model",
    "format_timestamp",
]
