"""What audio/decode.py hears: the same sound from every container, rate, width and kind of source."""

from __future__ import annotations

import io
import os
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.audio import decode
from sottovoce.errors import AudioError, OptionError

EDGE = 1600  # samples at either end where resamplers and codecs swing in


def tone(hz: float, n: int, rate: int = 16_000, level: float = 0.3) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(n) / rate)


def media(
    channels: np.ndarray, rate: int, container: str, codec: str, fmt: str, layout: str = "", **options: str
) -> bytes:
    """channels: (C, N) in [-1, 1) -> a media file, written with PyAV."""
    file = io.BytesIO()
    n_channels = len(channels)
    name = layout or {1: "mono", 2: "stereo"}.get(n_channels, f"{n_channels} channels")
    with av.open(file, "w", format=container, options=options) as out:
        stream = out.add_stream(codec, rate=rate, layout=name)
        stream.format = fmt
        resampler = av.AudioResampler(fmt, name, rate, frame_size=stream.codec_context.frame_size or 1024)
        frame = av.AudioFrame(format="flt", layout=name, samples=channels.shape[1])
        frame.planes[0].update(np.ascontiguousarray(channels.T, np.float32).tobytes())
        frame.sample_rate = rate
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return file.getvalue()


def wav(pcm: np.ndarray, rate: int = 16_000) -> bytes:
    """pcm: (N,) or (N, C) int16 -> RIFF, without FFmpeg."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1 if pcm.ndim == 1 else pcm.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(pcm.astype("<i2").tobytes())
    return file.getvalue()


def loudness_at(samples: np.ndarray, hz: float) -> float:
    """Amplitude of a tone, away from the edges."""
    x = samples[EDGE:-EDGE].astype(np.float64)
    return float(2 * abs(np.mean(x * np.exp(-2j * np.pi * hz * np.arange(x.size) / 16_000))))


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=2, max_size=4000))
def test_sixteen_bit_mono_at_16_khz_comes_back_bit_for_bit(data: bytes) -> None:
    pcm = np.frombuffer(data[: len(data) // 2 * 2], "<i2")
    got = decode.load(wav(pcm))
    assert got.dtype == np.float32
    assert np.array_equal(got, pcm.astype(np.float32) / 32768)


def test_one_sample_is_a_recording() -> None:
    assert decode.load(wav(np.array([-32768]))).tolist() == [-1.0]


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000]),
    st.sampled_from(["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_mulaw"]),
    st.integers(1, 2),
)
def test_rates_and_widths_and_stereo_are_heard_alike(rate: int, codec: str, n_channels: int) -> None:
    fmts = {"pcm_u8": "u8", "pcm_s24le": "s32", "pcm_s32le": "s32", "pcm_f32le": "flt", "pcm_f64le": "dbl"}
    channels = np.stack([tone(300, rate, rate, 0.4), tone(1000, rate, rate, 0.2)][:n_channels])
    got = decode.load(media(channels, rate, "wav", codec, fmts.get(codec, "s16")))
    assert abs(got.size - 16_000) <= 2
    assert loudness_at(got, 300) == pytest.approx(0.4 / n_channels, abs=0.01)
    if n_channels == 2:
        assert loudness_at(got, 1000) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("container", "codec", "fmt"),
    [
        ("flac", "flac", "s16"),
        ("mp3", "libmp3lame", "fltp"),
        ("ogg", "libopus", "flt"),
        ("webm", "libopus", "flt"),
        ("ipod", "aac", "fltp"),
        ("mp4", "aac", "fltp"),
        ("adts", "aac", "fltp"),
        ("aiff", "pcm_s16be", "s16"),
        ("matroska", "ac3", "fltp"),
    ],
)
def test_containers_and_codecs_are_heard_alike(container: str, codec: str, fmt: str) -> None:
    channels = np.stack([tone(440, 96_000, 48_000)] * 2)
    got = decode.load(media(channels, 48_000, container, codec, fmt))
    assert abs(got.size - 32_000) < EDGE
    assert loudness_at(got, 440) == pytest.approx(0.3, abs=0.03)


def test_the_tail_held_back_by_the_resampler_is_not_lost() -> None:
    pcm = np.zeros(44_100, np.int16)
    pcm[-4410:] = np.rint(tone(300, 4410, 44_100) * 32767)
    got = decode.load(wav(pcm, 44_100))
    assert got.size == 16_000
    assert np.abs(got[-60:-20]).max() > 0.2


def test_every_kind_of_source_gives_the_same_samples(tmp_path: Path) -> None:
    data = media(tone(440, 48_000, 48_000)[None], 48_000, "ogg", "libopus", "flt")
    path = tmp_path / "a recording, with 音 in its name.ogg"
    path.write_bytes(data)
    want = decode.load(data)
    offset = io.BytesIO(b"what was read before" + data)
    offset.seek(20)
    for source in (path, str(path), bytearray(data), memoryview(data), io.BytesIO(data), offset):
        assert np.array_equal(decode.load(source), want), type(source)
    with path.open("rb") as file:
        assert np.array_equal(decode.load(file), want)
        assert not file.closed


def test_a_pipe_that_cannot_seek_is_a_source() -> None:
    pcm = np.arange(8000, dtype=np.int16)
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as end:
        end.write(wav(pcm))
    with os.fdopen(reading, "rb") as end:
        assert np.array_equal(decode.load(end), pcm.astype(np.float32) / 32768)


@pytest.mark.parametrize("options", [{}, {"movflags": "empty_moov+frag_keyframe"}])
def test_an_mp4_comes_through_a_pipe_wherever_its_index_is(options: dict[str, str]) -> None:
    """Telephones and editors write the index behind the sound: through a pipe such a recording had no sound."""
    data = media(tone(440, 48_000, 48_000)[None], 48_000, "mp4", "aac", "fltp", **options)
    assert (data.index(b"moov") > data.index(b"mdat")) is not bool(options)
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as end:
        end.write(data)
    with os.fdopen(reading, "rb") as end:
        assert np.array_equal(decode.load(end), decode.load(data))


def test_a_reader_with_nothing_but_read_is_a_source() -> None:
    class Reader:
        def __init__(self, data: bytes) -> None:
            self.data = data

        def read(self, n: int) -> bytes:
            n = min(n, 100)  # a socket gives what it has
            piece, self.data = self.data[:n], self.data[n:]
            return piece

    pcm = np.arange(3000, dtype=np.int16)
    assert np.array_equal(decode.load(Reader(wav(pcm))), pcm.astype(np.float32) / 32768)  # type: ignore[arg-type]


@pytest.mark.parametrize("n_channels", [2, 3, 6, 8, 9, 16])
def test_a_channel_can_be_chosen(n_channels: int) -> None:
    pcm = np.stack([np.full(800, 1000 * (i + 1), np.int16) for i in range(n_channels)], axis=1)
    for i in (0, 1, n_channels - 1):
        assert np.array_equal(decode.load(wav(pcm), channel=i), np.full(800, 1000 * (i + 1) / 32768, np.float32))


def test_so_many_channels_that_they_have_no_places_are_mixed_evenly() -> None:
    pcm = np.stack([np.full(800, 1000 * (i + 1), np.int16) for i in range(9)], axis=1)
    assert np.allclose(decode.load(wav(pcm)), 5000 / 32768, atol=2 / 32768)


def test_a_channel_that_is_not_there_is_an_error_with_their_number() -> None:
    data = wav(np.zeros((100, 2), np.int16))
    with pytest.raises(AudioError, match=r"channel 2 was asked for, but there are 2 channels, counted from 0"):
        decode.load(data, channel=2)
    with pytest.raises(AudioError, match="there is 1 audio stream"):
        decode.load(data, stream=1)
    with pytest.raises(AudioError, match="channel -1"):
        decode.load(data, channel=-1)


def two_streams() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        streams = [out.add_stream("pcm_s16le", rate=16_000, layout=name) for name in ("mono", "stereo")]
        streams[1].metadata["language"] = "ger"
        for stream, n, level in zip(streams, (1, 2), (1000, 2000), strict=True):
            data = np.full((1, 1600 * n), level, np.int16)
            frame = av.AudioFrame.from_ndarray(data, format="s16", layout=stream.layout.name)
            frame.sample_rate = 16_000
            out.mux(stream.encode(frame))
    return file.getvalue()


def test_a_stream_can_be_chosen() -> None:
    data = two_streams()
    assert np.allclose(decode.load(data), 1000 / 32768)
    assert np.allclose(decode.load(data, stream=1), 2000 / 32768)


def test_probe_tells_what_there_is_to_choose() -> None:
    first, second = decode.probe(two_streams())
    assert (first.index, first.codec, first.channels, first.sample_rate_hz) == (0, "pcm_s16le", 1, 16_000)
    assert (second.index, second.channels, second.language) == (1, 2, "ger")
    (track,) = decode.probe(wav(np.zeros(24_000, np.int16)))
    assert track.duration_s == pytest.approx(1.5)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1.2), st.one_of(st.none(), st.floats(0.001, 2)))
def test_a_part_is_the_whole_cut(start_s: float, length_s: float | None) -> None:
    data = wav(np.arange(44_100, dtype=np.int64).astype(np.int16), 44_100)
    end_s = None if length_s is None else start_s + length_s
    whole = decode.load(data)[round(start_s * 16_000) : None if end_s is None else round(end_s * 16_000)]
    for source in (data, decode.load(data)):
        if whole.size:
            assert np.array_equal(decode.load(source, start_s=start_s, end_s=end_s), whole)
        else:
            with pytest.raises(AudioError, match="0 samples"):
                decode.load(source, start_s=start_s, end_s=end_s)


def test_what_lies_after_the_end_is_not_read() -> None:
    class Counted(io.BytesIO):
        n = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.n += len(data)
            return data

    file = Counted(wav(np.zeros(16_000 * 120, np.int16)))
    assert decode.load(file, end_s=1).size == 16_000
    assert file.n < 1_000_000 < len(file.getvalue())


def test_parts_that_end_before_they_begin_are_refused() -> None:
    data = wav(np.zeros(100, np.int16))
    with pytest.raises(OptionError, match="end_s"):
        decode.load(data, start_s=2, end_s=1)
    with pytest.raises(OptionError, match="start_s"):
        decode.load(data, start_s=-1)
    with pytest.raises(OptionError, match="start_s"):
        decode.load(data, start_s=float("nan"))


def test_blocks_are_the_recording_in_pieces() -> None:
    data = media(tone(440, 96_000, 48_000)[None], 48_000, "ogg", "libopus", "flt")
    pieces = list(decode.blocks(data))
    assert len(pieces) > 10
    assert all(piece.dtype == np.float32 for piece in pieces)
    assert np.array_equal(np.concatenate(pieces), decode.load(data))
    samples = decode.load(data)
    assert np.array_equal(np.concatenate(list(decode.blocks(samples))), samples)


def test_progress_runs_to_the_end() -> None:
    calls: list[tuple[float, float | None]] = []
    decode.load(wav(np.zeros(16_000 * 35, np.int16)), on_progress=lambda done, total: calls.append((done, total)))
    done = [d for d, _ in calls]
    assert done == sorted(done)
    assert len(done) >= 3
    assert calls[-1] == (35.0, 35.0)


def test_a_recording_may_change_its_rate_and_channels_on_the_way() -> None:
    slow = media(tone(440, 22_050, 22_050)[None], 22_050, "mp3", "libmp3lame", "fltp", write_xing="0")
    fast = media(np.stack([tone(440, 44_100, 44_100)] * 2), 44_100, "mp3", "libmp3lame", "fltp", write_xing="0")
    got = decode.load(fast + slow)
    assert abs(got.size - 32_000) < 2 * EDGE
    assert loudness_at(got[:16_000], 440) == pytest.approx(0.3, abs=0.05)
    assert loudness_at(got[18_000:], 440) == pytest.approx(0.3, abs=0.05)


# --- samples as source -----------------------------------------------------------------------------------------------


def test_float_samples_pass_through() -> None:
    samples = tone(440, 1000).astype(np.float32)
    assert np.array_equal(decode.load(samples), samples)
    assert np.array_equal(decode.load(samples.astype(np.float64)), samples)
    assert decode.load(samples.astype(np.float16)).dtype == np.float32
    assert decode.load(np.repeat(samples, 2)[::2]).flags.c_contiguous


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([np.int16, np.int32]), st.integers(1, 50), st.randoms(use_true_random=False))
def test_whole_samples_are_scaled(dtype: type, n: int, random: object) -> None:
    least = int(np.iinfo(dtype).min)
    given_ = np.array([random.randint(least, -least - 1) for _ in range(n)], dtype)  # type: ignore[attr-defined]
    assert np.allclose(decode.load(given_), given_ / -least, atol=1e-6)


def test_what_turns_into_an_array_is_a_source() -> None:
    class Tensor:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return np.ones(3, np.float32)

    assert decode.load(Tensor()).tolist() == [1, 1, 1]  # type: ignore[arg-type]
