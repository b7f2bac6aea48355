"""Networks in ONNX -> sessions that run them on the CPU. The one place that imports onnxruntime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# From 1.29 on its wheels write an identifier of the machine and send events to Microsoft, unless this is set before
# they are imported. Nothing leaves a machine because of us
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

from sottovoce.errors import ModelError


def session(network: bytes | Path, n_threads: int = 1) -> Any:
    """An onnxruntime.InferenceSession of a network, given as its bytes or its file.

    Raises ModelError if it is no network.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = n_threads, 1
    options.enable_cpu_mem_arena = False  # it would keep the largest block's memory for ever
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the CPU to others
    try:
        given = network if isinstance(network, bytes) else str(network)
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as e:
        # onnxruntime has a class of its own for each code of its C library, below none but Exception
        what = "its bytes" if isinstance(network, bytes) else str(network)
        raise ModelError(f"{what}: no network that onnxruntime can run ({e}); fetch it again") from e
