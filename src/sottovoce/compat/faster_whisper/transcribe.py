"""faster-whisper's `transcribe` over our engine: WhisperModel, and BatchedInferencePipeline, which shares its engine.

Source: faster_whisper/transcribe.py (1.2.1).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from typing import IO, Any

import numpy as np

from sottovoce import types as ours
from sottovoce.audio.source import Source
from sottovoce.compat.faster_whisper import asked, chunks, loading
from sottovoce.compat.faster_whisper.audio import decode_audio, load_samples, pad_or_trim
from sottovoce.compat.faster_whisper.decoder import Decoder, Heard, feature_sounds
from sottovoce.compat.faster_whisper.feature_extractor import FeatureExtractor
from sottovoce.compat.faster_whisper.segments import (
    Segment,
    TranscriptionInfo,
    TranscriptionOptions,
    Word,
    get_compression_ratio,
    get_suppressed_tokens,
    merge_punctuations,
    restore_speech_timestamps,
)
from sottovoce.compat.faster_whisper.tokenizer import _LANGUAGE_CODES, Tokenizer, Vocabulary
from sottovoce.compat.faster_whisper.utils import download_model, format_timestamp, get_end, get_logger
from sottovoce.compat.faster_whisper.vad import (
    SpeechTimestampsMap,
    VadOptions,
    collect_chunks,
    get_speech_timestamps,
)
from sottovoce.errors import OptionError
from sottovoce.options import Options
from sottovoce.types import SAMPLE_RATE, Sound

__all__ = [
    "_LANGUAGE_CODES",
    "BatchedInferencePipeline",
    "FeatureExtractor",
    "Segment",
    "SpeechTimestampsMap",
    "Tokenizer",
    "TranscriptionInfo",
    "TranscriptionOptions",
    "VadOptions",
    "WhisperModel",
    "Word",
    "collect_chunks",
    "decode_audio",
    "download_model",
    "format_timestamp",
    "get_compression_ratio",
    "get_end",
    "get_logger",
    "get_speech_timestamps",
    "get_suppressed_tokens",
    "merge_punctuations",
    "pad_or_trim",
    "restore_speech_timestamps",
]

# Lists, as in the reference: programs read them from the signature. Nothing changes them.
_TEMPERATURES = list(ours.TEMPERATURES)
_NON_SPEECH = [-1]


class WhisperModel:
    """A Whisper model, loaded once and kept. Calls from several threads are decoded together."""

    def __init__(
        self,
        model_size_or_path: str | os.PathLike[str],
        device: str = "auto",
        device_index: int | list[int] = 0,
        compute_type: str = "default",
        cpu_threads: int = 0,
        num_workers: int = 1,
        download_root: str | None = None,
        local_files_only: bool = False,
        files: Mapping[str, bytes | IO[bytes]] | None = None,
        revision: str | None = None,
        use_auth_token: str | bool | None = None,
        **model_kwargs: Any,
    ) -> None:
        """Load a model: a name of `available_models`, a hub repository id, a folder or a file.

        compute_type: as in CTranslate2; the whole-number types are run in the nearest of ours, with a warning.
        cpu_threads 0: as many as this process may use. num_workers: calls share one batch, whatever it is.
        download_root: a folder of models; local_files_only: no network. files: a model's files by name, in memory.
        Raises OptionError (a ValueError), DeviceNotThere (a RuntimeError and ValueError), ModelNotFound (a
        FileNotFoundError), UnreadableModel (a RuntimeError).
        """
        self.logger: logging.Logger = get_logger()
        if num_workers < 1:
            raise OptionError(f"num_workers: {num_workers} was given, 1 or more was expected; leave it out")
        self._whisper = loading.load(
            model_size_or_path,
            device=device,
            device_index=device_index,
            compute_type=compute_type,
            cpu_threads=cpu_threads,
            download_root=download_root,
            local_files_only=local_files_only,
            files=files,
            revision=revision,
            use_auth_token=use_auth_token,
            more=model_kwargs,
            log=self.logger,
        )
        self._decoder = Decoder(self._whisper)
        self.model = loading.described(self._whisper)
        self.hf_tokenizer = Vocabulary(self._whisper.dims.n_vocab)
        self.feat_kwargs = {"feature_size": self.model.n_mels}
        self.feature_extractor = FeatureExtractor(**self.feat_kwargs)
        self.input_stride = 2
        self.num_samples_per_token = self.feature_extractor.hop_length * self.input_stride
        self.frames_per_second = SAMPLE_RATE // self.feature_extractor.hop_length
        self.tokens_per_second = SAMPLE_RATE // self.num_samples_per_token
        self.time_precision = 0.02
        self.max_length = asked.N_TEXT_CTX

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"'WhisperModel' has no attribute {name!r} here: the decoding loop of faster-whisper is not rebuilt; use "
            "transcribe, detect_language, feature_extractor, hf_tokenizer, model"
        )

    @property
    def supported_languages(self) -> list[str]:
        """Codes of the languages that the model knows."""
        if not self.model.is_multilingual:
            return ["en"]
        return [code for code in _LANGUAGE_CODES if code in self._whisper.languages]

    def transcribe(
        self,
        audio: Source,
        language: str | None = None,
        task: str = "transcribe",
        log_progress: bool = False,
        beam_size: int = 5,
        best_of: int = 5,
        patience: float = 1,
        length_penalty: float = 1,
        repetition_penalty: float = 1,
        no_repeat_ngram_size: int = 0,
        temperature: float | list[float] | tuple[float, ...] = _TEMPERATURES,
        compression_ratio_threshold: float | None = 2.4,
        log_prob_threshold: float | None = -1.0,
        no_speech_threshold: float | None = 0.6,
        condition_on_previous_text: bool = True,
        prompt_reset_on_temperature: float = 0.5,
        initial_prompt: str | Iterable[int] | None = None,
        prefix: str | None = None,
        suppress_blank: bool = True,
        suppress_tokens: list[int] | None = _NON_SPEECH,
        without_timestamps: bool = False,
        max_initial_timestamp: float = 1.0,
        word_timestamps: bool = False,
        prepend_punctuations: str = ours.PREPEND_PUNCTUATIONS,
        append_punctuations: str = ours.APPEND_PUNCTUATIONS,
        multilingual: bool = False,
        vad_filter: bool = False,
        vad_parameters: dict[str, Any] | VadOptions | None = None,
        max_new_tokens: int | None = None,
        chunk_length: int | None = None,
        clip_timestamps: str | list[float] = "0",
        hallucination_silence_threshold: float | None = None,
        hotwords: str | None = None,
        language_detection_threshold: float | None = 0.5,
        language_detection_segments: int = 1,
    ) -> tuple[Iterable[Segment], TranscriptionInfo]:
        """The segments of a recording, decoded as they are asked for, and what is known of it beforehand.

        The keywords mean what they mean in faster-whisper. vad_filter: silences are cut before decoding, unless
        clip_timestamps is given. max_new_tokens: so many, where the reference may stop at half of them.
        Raises OptionError (a ValueError), MissingRecording (a FileNotFoundError), UnreadableRecording (a ValueError);
        while iterating EngineError.
        """
        known = asked.keywords(locals(), self.model.is_multilingual, self.logger)
        options = asked.options(known)
        samples = load_samples(audio)
        duration_s = len(samples) / SAMPLE_RATE
        spans = None
        if vad_filter and clip_timestamps == "0":
            vad_parameters = asked.vad_options(vad_parameters, VadOptions())
            spans = get_speech_timestamps(samples, vad_parameters)
            samples = np.concatenate(collect_chunks(samples, spans)[0])
        start = round(options.clips[0][0] * self.frames_per_second) if options.clips else 0
        sounds = self._decoder.sounds(samples, start, options.language_detection_segments or 1)
        tokenizer, heard = self._set(known, options, sounds)
        options = asked.options(known | {"language": tokenizer.language_code})
        info = self._info(known, tokenizer, heard, (duration_s, len(samples) / SAMPLE_RATE), vad_parameters)
        segments = self._decoder.segments(samples, options, log_progress)
        return (restore_speech_timestamps(segments, spans, SAMPLE_RATE) if spans else segments), info

    def detect_language(
        self,
        audio: np.ndarray | None = None,
        features: np.ndarray | None = None,
        vad_filter: bool = False,
        vad_parameters: dict[str, Any] | VadOptions | None = None,
        language_detection_segments: int = 1,
        language_detection_threshold: float = 0.5,
    ) -> Heard:
        """The language, its probability, and (code, probability) of all languages, the most probable first.

        audio: samples at 16 kHz. features: (n_mels, F) of a FeatureExtractor, in their place.
        Raises OptionError (a ValueError) for an English-only model.
        """
        assert audio is not None or features is not None, "audio or features must be given"
        n = language_detection_segments
        if audio is not None:
            if vad_filter:
                spans = get_speech_timestamps(audio, asked.vad_options(vad_parameters, VadOptions()))
                audio = np.concatenate(collect_chunks(audio, spans)[0])
            sounds = self._decoder.sounds(audio[: n * self.feature_extractor.n_samples], 0, n)
        else:
            assert features is not None
            sounds = feature_sounds(features, n)
        return self._decoder.vote(sounds, language_detection_threshold)

    # --- shared with the pipeline ------------------------------------------------------------------------------------

    def _set(
        self, known: Mapping[str, Any], options: Options, sounds: Iterable[Sound]
    ) -> tuple[Tokenizer, Heard | None]:
        """A tokenizer for the language that is given, or else heard, and what was heard."""
        is_multilingual, heard, language = self.model.is_multilingual, None, options.language
        if language is None:
            heard = self._decoder.vote(sounds, options.language_detection_threshold)
            language = heard[0]
            self.logger.info("Detected language '%s' with probability %.2f", language, heard[1])
        return Tokenizer(self.hf_tokenizer, is_multilingual, known["task"], language), heard

    def _info(
        self,
        known: Mapping[str, Any],
        tokenizer: Tokenizer,
        heard: Heard | None,
        durations_s: tuple[float, float],
        vad_options: Any,
    ) -> TranscriptionInfo:
        duration, after_vad = durations_s
        self.logger.info("Processing audio with duration %s", format_timestamp(duration))
        self.logger.info("VAD filter removed %s of audio", format_timestamp(max(0, duration - after_vad)))
        return TranscriptionInfo(
            language=tokenizer.language_code,
            language_probability=1 if heard is None else heard[1],
            duration=duration,
            duration_after_vad=after_vad,
            all_language_probs=None if heard is None else heard[2],
            transcription_options=asked.reported(known, tokenizer),
            vad_options=vad_options,
        )


class BatchedInferencePipeline:
    """Decodes the spoken parts of a recording together.

    Unlike the reference it keeps Whisper's gates: a chunk that fails them is decoded again at the next temperature.
    What follows the last timestamp of a chunk is decoded again too, not dropped. The context of a chunk is
    initial_prompt and hotwords; text of other chunks (condition_on_previous_text) is none, as in the reference.
    """

    def __init__(self, model: WhisperModel) -> None:
        self.model = model
        self.last_speech_timestamp = 0.0

    def transcribe(
        self,
        audio: Source,
        language: str | None = None,
        task: str = "transcribe",
        log_progress: bool = False,
        beam_size: int = 5,
        best_of: int = 5,
        patience: float = 1,
        length_penalty: float = 1,
        repetition_penalty: float = 1,
        no_repeat_ngram_size: int = 0,
        temperature: float | list[float] | tuple[float, ...] = _TEMPERATURES,
        compression_ratio_threshold: float | None = 2.4,
        log_prob_threshold: float | None = -1.0,
        no_speech_threshold: float | None = 0.6,
        condition_on_previous_text: bool = True,
        prompt_reset_on_temperature: float = 0.5,
        initial_prompt: str | Iterable[int] | None = None,
        prefix: str | None = None,
        suppress_blank: bool = True,
        suppress_tokens: list[int] | None = _NON_SPEECH,
        without_timestamps: bool = True,
        max_initial_timestamp: float = 1.0,
        word_timestamps: bool = False,
        prepend_punctuations: str = ours.PREPEND_PUNCTUATIONS,
        append_punctuations: str = ours.APPEND_PUNCTUATIONS,
        multilingual: bool = False,
        vad_filter: bool = True,
        vad_parameters: dict[str, Any] | VadOptions | None = None,
        max_new_tokens: int | None = None,
        chunk_length: int | None = None,
        clip_timestamps: list[dict[str, float]] | None = None,
        hallucination_silence_threshold: float | None = None,
        batch_size: int = 8,
        hotwords: str | None = None,
        language_detection_threshold: float | None = 0.5,
        language_detection_segments: int = 1,
    ) -> tuple[Iterable[Segment], TranscriptionInfo]:
        """The segments of a recording, in order, and what is known of it beforehand.

        batch_size: chunks in flight. clip_timestamps: [{"start": s, "end": s}, ...], which take the place of the
        speech detector. Raises OptionError (a ValueError), AudioError, RuntimeError for a long recording without
        vad_filter and clip_timestamps; while iterating EngineError.
        """
        known = asked.keywords(locals(), self.model.model.is_multilingual, self.model.logger)
        known |= {"clip_timestamps": [], "condition_on_previous_text": False, "whole_windows": without_timestamps}
        model = self.model
        options = asked.options(known)
        samples = load_samples(audio)
        if clip_timestamps:
            spoken = chunks.of_clips(samples, clip_timestamps)
        elif vad_filter:
            vad_parameters = chunks.vad_options(vad_parameters, options.chunk_length)
            spoken = chunks.of_speech(samples, vad_parameters, options.chunk_length)
        else:
            spoken = chunks.of_speech(samples, None, options.chunk_length)
        n = options.language_detection_segments or 1
        sounds = model._decoder.chunk_sounds([c.samples for c in spoken.chunks], n)
        tokenizer, heard = model._set(known, options, sounds)
        options = asked.options(known | {"language": tokenizer.language_code})
        durations_s = (len(samples) / SAMPLE_RATE, spoken.duration_s)
        info = model._info(known | {"clip_timestamps": spoken.spans}, tokenizer, heard, durations_s, vad_parameters)
        segments = model._decoder.chunk_segments(spoken.chunks, options, batch_size, log_progress)
        return (segments if clip_timestamps else restore_speech_timestamps(segments, spoken.spans, SAMPLE_RATE)), info
