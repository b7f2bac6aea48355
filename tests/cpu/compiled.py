"""Compiles every Triton kernel for compute capabilities 8.0 and 9.0, without a device."""

from __future__ import annotations

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sottovoce.engine import triton_align, triton_attention, triton_choose


def compile_all() -> None:
    for capability in (80, 90):
        for kernel, types, constants in variants():
            warps = triton_choose.WARPS if kernel is triton_choose._choose else 4
            names = kernel.arg_names
            signature = {name: "constexpr" if name in constants else types[name] for name in names}
            places = {(names.index(name),): value for name, value in constants.items()}
            aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if signature[name][0] == "*"}
            source = ASTSource(fn=kernel, signature=signature, constexprs=places, attrs=aligned)
            built = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})
            assert "cubin" in built.asm, f"{kernel.__name__} for {capability}"
        print(capability)


def variants() -> list[tuple[Any, dict[str, str], dict[str, Any]]]:
    """Kernels with the types of their arguments, and what is known when they are compiled."""
    found: list[tuple[Any, dict[str, str], dict[str, Any]]] = []
    numbers = {"n_positions": "i32", "longest": "i32", "scale": "fp32", "n_parts": "i32"}
    parts = {name: "*fp32" for name in ("key_scale", "value_scale", "partial", "tops", "sums")}
    for kept, q, has_lengths in (("bf16", "bf16", True), ("fp16", "fp16", False), ("i8", "bf16", False)):
        types = {"q": f"*{q}", "keys": f"*{kept}", "values": f"*{kept}", "index": "*i64", "lengths": "*i64"}
        constants = {"HAS_LENGTHS": has_lengths, "IS_8_BIT": kept == "i8", "WIDTH": 64}
        constants |= {"SPLIT": triton_attention.SPLIT, "BLOCK": triton_attention.BLOCK}
        found.append((triton_attention._attend_part, numbers | parts | types, constants))
    found.append((triton_attention._join_parts, numbers | parts | {"out": "*bf16"}, {"PARTS": 8, "WIDTH": 64}))
    choose = triton_choose._choose
    types = dict.fromkeys(choose.arg_names, "*i64") | {"logits": "*fp32", "logprobs": "*fp32"}
    types |= dict.fromkeys(("table", "timestamps", "last_is_time", "before_is_time", "ended"), "*u8")
    types |= dict.fromkeys(("stride", "n_vocab", "eot", "time_begin", "no_timestamps", "n_history"), "i32")
    for k, feeds in ((1, True), (6, False)):
        found.append((choose, types, {"K": k, "FEEDS": feeds, "BLOCK": triton_choose.BLOCK}))
    sizes = dict.fromkeys(("n_heads", "n_lines", "n_positions"), "i32")
    medians = {"WIDTH": 7, "ROOM": 8, "BLOCK": triton_align.BLOCK}
    found.append((triton_align._filter_and_mean, sizes | {"x": "*fp32", "out": "*fp32"}, medians))
    path = {"matrix": "*fp32", "total": "*fp32", "trace": "*i8", "starts": "*i64"}
    found.append((triton_align._warp, sizes | path, {"ROOM": 512}))
    return found
