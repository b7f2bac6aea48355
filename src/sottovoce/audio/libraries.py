"""Which media libraries are at work. Knows no recording."""

from __future__ import annotations

import av


def versions() -> dict[str, str]:
    """Version by name: PyAV, then the libraries of FFmpeg that it carries."""
    return {"PyAV": av.__version__} | {
        name: ".".join(str(n) for n in version) for name, version in sorted(av.library_versions.items())
    }
