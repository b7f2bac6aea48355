"""Each peer's environment, and the same weights in each peer's form: python -m bench.environments FOLDER.

What is there already is left as it is, so a run that was cut short goes on. Weights come from where `sottovoce models`
has them; nothing but packages is fetched.

    FOLDER/NAME/             an environment for each peer
    FOLDER/models/MODEL/     ct2/  hf/  openvino/  model.pt  ggml.bin
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from bench import ggml
from bench.data import names

from sottovoce.config import Config
from sottovoce.model import export, hub, modules
from sottovoce.model.whisper import Whisper
from sottovoce.text.handover import tokenizer_files
from sottovoce.text.tokenizer import Tokenizer, suppressed

TORCH = "torch==2.13.0"  # first and alone, then named again: another torch would bring gigabytes for GPUs
ENVIRONMENTS: dict[str, tuple[tuple[str, ...], ...]] = {  # name: what pip is asked for, step by step
    "faster-whisper": (("faster-whisper==1.2.1", "ctranslate2==4.8.5"),),
    "openvino": (("openvino-genai==2026.4.1.0", "openvino-tokenizers==2026.4.1.0", "openvino==2026.4.1"),),
    "openai-whisper": ((TORCH,), (TORCH, "openai-whisper==20250625")),
    "whispercpp": (("pywhispercpp==1.5.1",),),
    "transformers": ((TORCH,), (TORCH, "transformers==5.23.0")),
    "convert": ((TORCH,), (TORCH, "optimum-intel[openvino]==2.2.0", "ctranslate2==4.8.5")),
}
FORMS = ("hf", "ct2", "openvino", "pt", "ggml")
NOT_WANTED = {"convert": ("torchvision",)}  # comes along, is not needed, and is built for another torch
STAMP = "made.json"


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="bench.environments", description=__doc__)
    p.add_argument("folder", type=Path)
    p.add_argument("--only", type=names, default=list(ENVIRONMENTS), help="of the environments, by comma")
    p.add_argument("--models", type=names, default=["base"], help="by comma")
    p.add_argument("--forms", type=names, default=list(FORMS), help="of the weights, by comma")
    args = p.parse_args(argv)
    folder: Path = args.folder.absolute()
    failed = [name for name in args.only if not make(folder / name, ENVIRONMENTS[name], NOT_WANTED.get(name, ()))]
    for model in args.models:
        failed += [f"{model}: {form}" for form in args.forms if not put(folder, model, form)]
    for name in failed:
        say(f"{name}: could not be made; the sides that need it will be left out")
    return 1 if failed else 0


def make(folder: Path, steps: Sequence[Sequence[str]], not_wanted: Sequence[str] = ()) -> bool:
    """An environment with its packages. False if pip fails; what it said is on the terminal."""
    stamp = folder / STAMP
    wanted = json.dumps(steps)
    if stamp.is_file() and stamp.read_text("utf-8") == wanted:
        return True
    python = folder / "bin" / "python"
    commands = [] if python.exists() else [[sys.executable, "-m", "venv", str(folder)]]
    commands += [[str(python), "-m", "pip", "install", "--quiet", *step] for step in steps]
    commands += [[str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *not_wanted]] if not_wanted else []
    if not all(ran(command) for command in commands):
        return False
    stamp.write_text(wanted, "utf-8")
    return True


def put(folder: Path, model: str, form: str) -> bool:
    """One form of a model's weights. False if it could not be made."""
    here = folder / "models" / model
    here.mkdir(parents=True, exist_ok=True)
    targets = {"hf": "hf/config.json", "ct2": "ct2/model.bin", "openvino": "openvino/openvino_decoder_model.xml"}
    if (here / targets.get(form, {"pt": "model.pt", "ggml": "ggml.bin"}.get(form, form))).exists():
        return True
    say(f"{model}: {form}")
    tools = folder / "convert" / "bin"
    match form:
        case "hf":
            write_hf(model, here / "hf")
            return True
        case "pt":
            export.export_pt(network(model)[0], here / "model.pt", torch.float16)
            return True
        case "ggml":
            ggml.write(network(model)[0], here / "ggml.bin")
            return True
        case "ct2":
            files = hub.fetch(model, Config())
            if (files.path / "model.bin").is_file():  # the very file
                (here / "ct2").symlink_to(files.path, target_is_directory=True)
                return True
            given = [
                str(tools / "ct2-transformers-converter"),
                "--model",
                str(here / "hf"),
                "--quantization",
                "float16",
            ]
            extra = ["--copy_files", "tokenizer.json", "preprocessor_config.json"]
            return put(folder, model, "hf") and ran([*given, "--output_dir", str(here / "ct2"), *extra])
        case "openvino":
            task = ["--task", "automatic-speech-recognition-with-past", "--weight-format", "fp16"]
            given = [str(tools / "optimum-cli"), "export", "openvino", "--model", str(here / "hf"), *task]
            return put(folder, model, "hf") and ran([*given, str(here / "openvino")])
    raise SystemExit(f"{form!r} is not a form; known are {', '.join(FORMS)}")


def network(model: str) -> tuple[Whisper, Tokenizer]:
    files = hub.fetch(model, Config())
    heads = files.card.alignment_heads if files.card else None
    found = modules.load(files.path, dtype=torch.float32, alignment_heads=heads)
    return found, Tokenizer(found.dims.n_vocab)


def write_hf(model: str, folder: Path) -> None:
    """As `sottovoce models export` does, and with a tokenizer's files whatever form the weights came in."""
    found, tokenizer = network(model)
    export.export_safetensors(
        found,
        folder,
        languages=tokenizer.language_codes if tokenizer.multilingual else (),
        suppress=suppressed(tokenizer, (-1,)),
        suppress_first=(*tokenizer.encode(" "), tokenizer.eot),
        extra_files=tokenizer_files(tokenizer),
    )


def ran(command: Sequence[str]) -> bool:
    say(" ".join(command))
    try:
        return subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0
    except OSError as e:
        say(str(e))
        return False


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
