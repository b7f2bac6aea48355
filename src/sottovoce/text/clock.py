"""Seconds -> times as files write them. Pure."""

from __future__ import annotations


def format_timestamp(seconds: float, always_include_hours: bool = False, decimal_marker: str = ".") -> str:
    """[HH:]MM:SS.mmm, rounded to the millisecond; hours if there are any, or always."""
    assert seconds >= 0, "a time in a recording is not negative"
    minutes, ms = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours:02d}:" if hours or always_include_hours else ""
    return f"{head}{minutes:02d}:{ms // 1000:02d}{decimal_marker}{ms % 1000:03d}"


def vtt_time(seconds: float) -> str:
    return format_timestamp(seconds)


def srt_time(seconds: float) -> str:
    return format_timestamp(seconds, always_include_hours=True, decimal_marker=",")


def ass_time(seconds: float) -> str:
    """H:MM:SS.cc"""
    minutes, cs = divmod(round(seconds * 100), 6000)
    return f"{minutes // 60}:{minutes % 60:02d}:{cs // 100:02d}.{cs % 100:02d}"


def lrc_time(seconds: float) -> str:
    """MM:SS.cc; minutes may have more digits."""
    minutes, cs = divmod(round(seconds * 100), 6000)
    return f"{minutes:02d}:{cs // 100:02d}.{cs % 100:02d}"


def spoken_time(seconds: float) -> str:
    """[H:]M:SS, for people."""
    minutes, s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{s:02d}" if hours else f"{minutes}:{s:02d}"
