"""One recording in every container and codec that FFmpeg writes here, and texts that only look like one."""

from __future__ import annotations

import io
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np

RATE_HZ = 16_000
# name: (format, codec, rate, format of samples)
FORMS: Mapping[str, tuple[str, str, int, str]] = {
    "wav": ("wav", "pcm_s16le", RATE_HZ, "s16"),
    "u8.wav": ("wav", "pcm_u8", RATE_HZ, "u8"),
    "f32.wav": ("wav", "pcm_f32le", RATE_HZ, "flt"),
    "alaw.wav": ("wav", "pcm_alaw", RATE_HZ, "s16"),
    "adpcm.wav": ("wav", "adpcm_ms", RATE_HZ, "s16"),
    "w64": ("w64", "pcm_s16le", RATE_HZ, "s16"),
    "aiff": ("aiff", "pcm_s16be", RATE_HZ, "s16"),
    "au": ("au", "pcm_s16be", RATE_HZ, "s16"),
    "caf": ("caf", "pcm_s16be", RATE_HZ, "s16"),
    "mp3": ("mp3", "mp3", RATE_HZ, "s16p"),
    "mp2": ("mp2", "mp2", RATE_HZ, "s16"),
    "flac": ("flac", "flac", RATE_HZ, "s16"),
    "vorbis.ogg": ("ogg", "vorbis", RATE_HZ, "fltp"),
    "flac.ogg": ("ogg", "flac", RATE_HZ, "s16"),
    "opus": ("ogg", "libopus", RATE_HZ, "s16"),
    "m4a": ("ipod", "aac", RATE_HZ, "fltp"),
    "mp4": ("mp4", "aac", RATE_HZ, "fltp"),
    "alac.m4a": ("ipod", "alac", RATE_HZ, "s16p"),
    "mov": ("mov", "pcm_s16le", RATE_HZ, "s16"),
    "3gp": ("3gp", "aac", RATE_HZ, "fltp"),
    "webm": ("webm", "libopus", RATE_HZ, "s16"),
    "mkv": ("matroska", "flac", RATE_HZ, "s16"),
    "aac.mkv": ("matroska", "aac", RATE_HZ, "fltp"),
    "aac": ("adts", "aac", RATE_HZ, "fltp"),
    "latm": ("latm", "aac", RATE_HZ, "fltp"),
    "wma": ("asf", "wmav2", RATE_HZ, "fltp"),
    "ac3": ("ac3", "ac3", 48_000, "fltp"),
    "eac3": ("eac3", "eac3", 48_000, "fltp"),
    "ts": ("mpegts", "aac", RATE_HZ, "fltp"),
    "mpg": ("mpeg", "mp2", 44_100, "s16"),
    "avi": ("avi", "mp3", RATE_HZ, "s16p"),
    "flv": ("flv", "aac", 44_100, "fltp"),
    "wv": ("wv", "wavpack", RATE_HZ, "s16p"),
    "tta": ("tta", "tta", RATE_HZ, "s16"),
    "amr": ("amr", "libopencore_amrnb", 8_000, "s16"),
    "rm": ("rm", "real_144", 8_000, "s16"),
    "voc": ("voc", "pcm_u8", RATE_HZ, "u8"),
    "nut": ("nut", "pcm_s16le", RATE_HZ, "s16"),
}
BIT_RATES = {"libopencore_amrnb": 12_200, "wmav2": 32_000}
INNER = "http://127.0.0.1:{port}/inner.wav"
TEXTS: Mapping[str, str] = {
    "file.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "inner.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{INNER}\n#EXT-X-ENDLIST\n",
    "key.m3u8": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{INNER}"\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n',
    "master.m3u8": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{INNER}\n",
    "file.ffconcat": "ffconcat version 1.0\nfile '/etc/passwd'\n",
    "inner.ffconcat": f"ffconcat version 1.0\nfile '{INNER}'\n",
    "concat.txt": "file /etc/passwd\nfile concat:/etc/passwd|/etc/hostname\n",
    "subfile.m3u8": "#EXTM3U\n#EXTINF:9,\nsubfile,,start,0,end,64,,:/etc/passwd\n#EXT-X-ENDLIST\n",
    "gopher.m3u8": "#EXTM3U\n#EXTINF:9,\ngopher://127.0.0.1:{port}/_x\n#EXT-X-ENDLIST\n",
    "mpd": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><BaseURL>{INNER}</BaseURL>'
    '<Period><AdaptationSet mimeType="audio/mp4"><Representation id="1"/></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
    "pls": f"[playlist]\nFile1={INNER}\nNumberOfEntries=1\n",
    "asx": f'<ASX version="3.0"><ENTRY><REF HREF="{INNER}"/></ENTRY></ASX>',
    "xspf": f'<playlist xmlns="http://xspf.org/ns/0/"><trackList><track><location>{INNER}</location></track></trackList>'
    "</playlist>",
    "svg": '<svg xmlns:xlink="http://www.w3.org/1999/xlink"><image xlink:href="file:///etc/passwd"/></svg>',
    "imf": f'<?xml version="1.0"?><AssetMap><Path>{INNER}</Path></AssetMap>',
    "redirect.rm": f"{INNER}\n",
    "rtsp.txt": "RTSPtextRTSP://127.0.0.1:{port}/x\n",
}


def written(name: str, samples: np.ndarray) -> bytes | None:
    """(N,) int16 samples at 16 kHz in one of FORMS; None where FFmpeg has no such encoder."""
    kind, codec, rate, form = FORMS[name]
    out = io.BytesIO()
    out.name = name
    try:
        with av.open(out, "w", format=kind) as container:
            layout, options = ("stereo", {"strict": "-2"}) if codec == "vorbis" else ("mono", {})
            track: Any = container.add_stream(codec, rate=rate, layout=layout, options=options)
            track.format = form
            if codec in BIT_RATES:
                track.bit_rate = BIT_RATES[codec]
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate, frame.time_base = RATE_HZ, Fraction(1, RATE_HZ)
            for given in (frame, None):
                # FLAC's last packet carries no sound
                container.mux([packet for packet in track.encode(given) if packet.size])
    except (av.error.FFmpegError, ValueError):
        return None
    return out.getvalue()


def texts(port: int) -> dict[str, bytes]:
    """Playlists and the like, that point at files of the system and at a port of this machine."""
    return {name: text.replace("{port}", str(port)).encode() for name, text in TEXTS.items()}


def corpus(samples: np.ndarray, port: int) -> dict[str, bytes]:
    """All of them by name."""
    found = {name: written(name, samples) for name in FORMS}
    return {name: data for name, data in found.items() if data} | texts(port)
