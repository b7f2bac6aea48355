"""Why two decoders of one model part ways: sound, encoder, decoder, search, or a tie that rounding breaks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from bench.compare import first_split
from bench.findings import Cause
from bench.peer import Peer

from sottovoce.api import Whisper
from sottovoce.audio import mel_torch
from sottovoce.engine.cache import Pools, PrefillPass
from sottovoce.flow.drive import drive
from sottovoce.model import modules
from sottovoce.request import Request
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Answer, Decode, Decoded, Window

MEL_CLOSE = 1e-4  # on a scale of about -1 to 1; two orders of summation in float32 give 1e-6
LOGITS_CLOSE = 2e-3  # scores are about 10; two orders of summation in float32 give 1e-4
TIE = 4  # a margin that is smaller than so many times the scores' difference is no margin
SHAKE = 1e-6  # how far the log-mel is moved to see whether the peer agrees with itself
N_SHAKES = 6


@dataclass(frozen=True, slots=True)
class Explanation:
    """cause, and in words where and by how much."""

    cause: Cause
    text: str


class Explainer:
    """Compares single steps of our decoder and the peer's."""

    def __init__(self, whisper: Whisper, peer: Peer) -> None:
        self.whisper = whisper
        self.peer = peer

    @cached_property
    def network(self) -> Any:
        return modules.load(self.whisper.files.path, dtype=torch.float32)

    def explain(self, samples: np.ndarray, options: dict[str, Any], their_options: dict[str, Any]) -> Explanation:
        """Decode a recording again on both sides, and look at the first step that differs."""
        ours = self._steps(samples, options)
        mels = str(self.peer.work / "mels.npy")
        given = {"samples": self.peer.save("samples", samples), "options": their_options, "mels": mels}
        answer = self.peer.ask_model("transcribe", **given)
        theirs = answer["steps"]
        for i, ((window, decoded), step) in enumerate(zip(ours, theirs, strict=False)):
            if list(decoded.tokens) != step["tokens"]:
                return self._explain_step(i, window, decoded, step, np.load(mels)[i], answer["language"], their_options)
        n = min(len(ours), len(theirs))
        return Explanation(Cause.FLOW, f"{n} steps give the same tokens, of {len(ours)} ours and {len(theirs)} theirs")

    def _steps(self, samples: np.ndarray, options: dict[str, Any]) -> list[tuple[Window, Decoded]]:
        asked: list[tuple[Window, Any]] = []

        def submit(window: Window) -> Any:
            future = self.whisper.ask(window.sound, window.ask, window.key)
            asked.append((window, future))
            return future

        for _ in drive(self.whisper.flow(samples, Request.of(dict(options)).options), submit):
            pass
        answers: list[tuple[Window, Answer]] = [(w, f.result()) for w, f in asked if isinstance(w.ask, Decode)]
        return [(w, a) for w, a in answers if isinstance(a, Decoded)]

    def _explain_step(
        self,
        i: int,
        window: Window,
        decoded: Decoded,
        step: dict[str, Any],
        their_mel: np.ndarray,
        language: str,
        options: dict[str, Any],
    ) -> Explanation:
        assert isinstance(window.ask, Decode)
        tokenizer = Tokenizer(self.whisper.dims.n_vocab)
        prompt = step["prompt"][-(self.whisper.dims.n_text_ctx // 2 - 1) :]
        ours_prompt = list(window.ask.prompt[1 : window.ask.i_sot])
        if ours_prompt != prompt:
            at = first_split(ours_prompt, prompt)
            return Explanation(Cause.FLOW, f"step {i}: the prompts differ from token {at} on")
        our_mel = mel_torch.batch([window.sound], self.whisper.dims.n_mels, "cpu")[0].numpy()
        d_mel = float(np.abs(our_mel - their_mel).max())
        if d_mel > MEL_CLOSE:
            at = int(np.abs(our_mel - their_mel).max(axis=0).argmax())
            return Explanation(Cause.MEL, f"step {i}: log-mel differs by {d_mel:.1e} at frame {at} of the window")
        a, b = [*decoded.tokens, tokenizer.eot], [*step["tokens"], tokenizer.eot]
        n = first_split(a, b)
        fed = [*window.ask.prompt, *a[:n]]
        ours, our_features = self._logits(our_mel, fed)
        theirs, their_features = self._their_logits(their_mel, fed)
        d_features, d_logits = (float(np.abs(x - y).max()) for x, y in ((our_features, their_features), (ours, theirs)))
        gaps = [float(x[-1, a[n]] - x[-1, b[n]]) for x in (ours, theirs)]
        text = (
            f"step {i}, token {n}: ours {tokenizer.decode_with_timestamps([a[n]])!r}, theirs "
            f"{tokenizer.decode_with_timestamps([b[n]])!r}; ours leads by {gaps[0]:+.1e} in our scores, {gaps[1]:+.1e} "
            f"in theirs; largest differences: mel {d_mel:.1e}, encoder {d_features:.1e}, scores {d_logits:.1e}"
        )
        if d_logits > LOGITS_CLOSE:
            return Explanation(Cause.MODEL, text)
        rule = self._time_margin(theirs[-1], tokenizer.timestamp_begin)
        if min(abs(gaps[0]), abs(gaps[1])) < TIE * d_logits:
            return Explanation(Cause.TIE, text)
        # a beam splits earlier than its winner, and the rule of timestamps has a threshold: let the peer speak
        beams = {k: options[k] for k in ("beam_size", "patience", "length_penalty") if options.get(k)}
        saved = self.peer.save("mel", their_mel)
        shaken = self.peer.ask_model(
            "shaken", mel=saved, language=language, prompt=prompt, options=beams, step=SHAKE, n=N_SHAKES
        )
        n_ours = sum(s == list(decoded.tokens) for s in shaken)
        text += (
            f"; all timestamps against the best text {rule:+.1e}; the peer with its mel moved by {SHAKE:.0e}: "
            f"{n_ours} of {N_SHAKES} times our tokens, {sum(s == step['tokens'] for s in shaken)} times its own"
        )
        return Explanation(Cause.TIE if n_ours else Cause.SEARCH, text)

    def _logits(self, frames: np.ndarray, tokens: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """((T, V), (1500, C)) of our network."""
        with torch.inference_mode():
            features = self.network.encoder(torch.from_numpy(frames)[None])
            pools = Pools(self.network.dims, 1, 1, torch.device("cpu"), torch.float32)
            pools.put_sound_([0], self.network.decoder.cross_kv(features))
            positions = torch.arange(len(tokens))[None]
            hidden = self.network.decoder(torch.tensor([tokens]), positions, PrefillPass(pools, [0], [0]))
            return self.network.decoder.logits(hidden)[0].numpy(), features[0].numpy()

    def _their_logits(self, frames: np.ndarray, tokens: list[int]) -> tuple[np.ndarray, np.ndarray]:
        out, features = (str(self.peer.work / f"{name}.npy") for name in ("logits", "features"))
        self.peer.ask_model("logits", mel=self.peer.save("mel", frames), tokens=tokens, out=out, features=features)
        return np.load(out), np.load(features)

    @staticmethod
    def _time_margin(logits: np.ndarray, begin: int) -> float:
        return float(np.logaddexp.reduce(logits[begin:]) - logits[:begin].max())
