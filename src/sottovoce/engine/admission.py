"""Whether an engine could ever decode a window. Pure: asked on any thread, before the window meets its neighbours.

What is wrong with one window must be found here: on the device it would fail those that are decoded with it.
"""

from __future__ import annotations

import numpy as np

from sottovoce.audio.mel import HOP, N_FFT
from sottovoce.errors import OptionError
from sottovoce.model.dims import Dims
from sottovoce.types import Align, Ask, Decode, Detect, Encode, Sound, Window


def check(window: Window, dims: Dims, n_rows: int) -> None:
    """Raise OptionError if a model of these dimensions, with n_rows decoded together, can never answer."""
    _check_sound(window.sound, dims)
    _check_ids(window.ask, dims.n_vocab)
    match window.ask:
        case Decode():
            _check_decode(window.ask, dims, n_rows)
        case Align():
            n = len(window.ask.sot) + len(window.ask.text) + 2
            if n > dims.n_text_ctx:
                most = dims.n_text_ctx
                raise OptionError(
                    f"text: one of {n} tokens was given, at most {most} were expected; align a shorter text"
                )
        case _:
            pass


def _check_decode(ask: Decode, dims: Dims, n_rows: int) -> None:
    if ask.search.n_rows > n_rows:
        raise OptionError(
            f"beam_size or best_of: {ask.search.n_rows} was given, at most {n_rows} rows decode together here; pass "
            "less, or raise `rows` (--rows, SOTTOVOCE_ROWS)"
        )
    if not 0 < len(ask.prompt) < dims.n_text_ctx:
        raise OptionError(
            f"prompt: {len(ask.prompt)} tokens were given, 1 to {dims.n_text_ctx - 1} were expected; shorten "
            "initial_prompt, hotwords or prefix"
        )
    if not 0 <= ask.i_sot < len(ask.prompt):
        raise OptionError(f"i_sot: {ask.i_sot} was given, a place in the prompt of {len(ask.prompt)} was expected")
    if not 0 <= ask.search.seed < 1 << 63:
        raise OptionError(f"seed: {ask.search.seed} was given, a whole number from 0 to 2**63 - 1 was expected")
    if ask.search.no_repeat_ngram_size >= dims.n_text_ctx:
        raise OptionError(
            f"no_repeat_ngram_size: {ask.search.no_repeat_ngram_size} was given, less than {dims.n_text_ctx} was "
            "expected; pass 0 to allow repetition"
        )


def _check_sound(sound: Sound, dims: Dims) -> None:
    """A shape that does not fit would fail the windows that are encoded with it."""
    forms = {"samples": sound.samples, "mel": sound.mel, "features": sound.features}
    given = {name: array for name, array in forms.items() if array is not None}
    n = sound.n_frames
    if len(given) != 1 or not 0 <= n <= 2 * dims.n_audio_ctx:
        raise OptionError(
            f"a sound with {', '.join(given) or 'nothing'} and {n} frames was given, one of {', '.join(forms)} and at "
            f"most {2 * dims.n_audio_ctx} frames were expected"
        )
    ((name, array),) = given.items()
    shapes: dict[str, tuple[int, ...]] = {
        "samples": (n * HOP + N_FFT - HOP,),
        "mel": (dims.n_mels, min(array.shape[-1], 2 * dims.n_audio_ctx)),
        "features": (dims.n_audio_ctx, dims.n_audio_state),
    }
    if array.shape != shapes[name]:
        raise OptionError(
            f"{name}: shape {array.shape} was given, {shapes[name]} was expected; cut it into windows of 30 s"
        )
    if not np.isfinite(array).all():
        raise OptionError(f"{name}: numbers that are not finite were given, finite ones were expected; mend the sound")


def _check_ids(ask: Ask, n_vocab: int) -> None:
    """An id outside the vocabulary would fail, on some devices for good, everybody who decodes at that step."""
    match ask:
        case Decode():
            terms = () if ask.keywords is None else (int(ask.keywords.tokens.min()), int(ask.keywords.tokens.max()))
            ids = (*ask.prompt, *ask.draft, *ask.rules.suppress, *ask.rules.suppress_first, *ask.rules.begun, *terms)
        case Detect():
            ids = ask.languages
        case Align():
            ids = (*ask.sot, *ask.text)
        case Encode():
            ids = ()
    for i in ids:
        if not 0 <= i < n_vocab:
            raise OptionError(
                f"token id {i} was given, 0 to {n_vocab - 1} were expected; look at initial_prompt, prefix and "
                "suppress_tokens, which may come from another model's tokenizer"
            )
