"""faster-whisper behind FastAPI, as people serve it: one model, a pool of threads. Runs in the peer's environment.

The route and its threads are as in speaches (a plain function, which FastAPI runs in its pool, one model for all); what
it loses there is left out: no plugin, no model manager, no detector of speech, no times. CTranslate2 runs as many
requests at once as it has workers.
"""

from __future__ import annotations

import argparse
import io
from typing import Any

import uvicorn
from fastapi import FastAPI, File, Form, UploadFile
from faster_whisper import WhisperModel


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("--weights", required=True)
    p.add_argument("--port", type=int, required=True)
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--compute", default="int8")
    p.add_argument("--beam-size", type=int, default=1)
    args = p.parse_args()
    how: dict[str, Any] = {"cpu_threads": args.threads, "num_workers": args.workers, "compute_type": args.compute}
    model = WhisperModel(args.weights, device="cpu", **how)
    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/audio/transcriptions")
    def transcriptions(
        file: UploadFile = File(),  # noqa: B008
        language: str | None = Form(None),
        temperature: float | None = Form(None),
        model_name: str = Form("base", alias="model"),
    ) -> dict[str, str]:
        sound = io.BytesIO(file.file.read())
        segments, _ = model.transcribe(sound, language=language, beam_size=args.beam_size, without_timestamps=True)
        return {"text": "".join(s.text for s in segments).strip()}

    uvicorn.run(app, host="127.0.0.1", port=args.port, log_level="warning")


if __name__ == "__main__":
    main()
