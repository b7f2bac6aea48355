"""Triton's kernels are interpreted where there is no CUDA device; Triton asks for that when it is imported."""

from __future__ import annotations

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
