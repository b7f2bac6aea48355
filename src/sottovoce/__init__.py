"""The public names, sorted; nothing else. Heavy rooms are opened at first use, so that importing costs nothing."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sottovoce.api import Whisper
    from sottovoce.config import Config
    from sottovoce.errors import (
        AudioError,
        BusyError,
        ConfigError,
        DownloadError,
        EngineError,
        ModelError,
        OptionError,
        OutputError,
        ServerError,
        SottovoceError,
    )
    from sottovoce.options import Options
    from sottovoce.speakers import Diarizer, diarize
    from sottovoce.text.formats import Transcript
    from sottovoce.text.layout import Layout
    from sottovoce.types import Segment, Task, Turn, Word
    from sottovoce.waking import open_pool

__version__ = "0.1.0"

_HOME = {
    "AudioError": "sottovoce.errors",
    "BusyError": "sottovoce.errors",
    "Config": "sottovoce.config",
    "ConfigError": "sottovoce.errors",
    "Diarizer": "sottovoce.speakers",
    "DownloadError": "sottovoce.errors",
    "EngineError": "sottovoce.errors",
    "Layout": "sottovoce.text.layout",
    "ModelError": "sottovoce.errors",
    "OptionError": "sottovoce.errors",
    "Options": "sottovoce.options",
    "OutputError": "sottovoce.errors",
    "Segment": "sottovoce.types",
    "ServerError": "sottovoce.errors",
    "SottovoceError": "sottovoce.errors",
    "Task": "sottovoce.types",
    "Transcript": "sottovoce.text.formats",
    "Turn": "sottovoce.types",
    "Whisper": "sottovoce.api",
    "Word": "sottovoce.types",
    "diarize": "sottovoce.speakers",
    "open_pool": "sottovoce.waking",
}

__all__ = [
    "AudioError",
    "BusyError",
    "Config",
    "ConfigError",
    "Diarizer",
    "DownloadError",
    "EngineError",
    "Layout",
    "ModelError",
    "OptionError",
    "Options",
    "OutputError",
    "Segment",
    "ServerError",
    "SottovoceError",
    "Task",
    "Transcript",
    "Turn",
    "Whisper",
    "Word",
    "diarize",
    "open_pool",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sottovoce' has no attribute {name!r}; public names: {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
