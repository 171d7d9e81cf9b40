"""Checkpoints that another tool has quantized: who wrote one, and what reads it.

The signs are those that each tool leaves: ``quant_method`` in the ``quantization_config`` of
``config.json``, as transformers defines it, or the names and dtypes of tensors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyfq._core.check import shown
from pyfq.cli._model_config import CONFIG, OWN_QUANTIZATION, QUANTIZATION, read_config, values_of
from pyfq.cli._source import Source

_TRANSFORMERS = "transformers and vLLM"
_OWN = OWN_QUANTIZATION["format"]

#: What writes each ``quant_method``, and what reads it.
_TOOLS = {
    "fp8": ("float8, as DeepSeek and transformers write it", _TRANSFORMERS),
    "fbgemm_fp8": ("float8 of FBGEMM", _TRANSFORMERS),
    "gptq": ("GPTQ (GPTQModel, AutoGPTQ)", _TRANSFORMERS),
    "awq": ("AWQ (AutoAWQ)", _TRANSFORMERS),
    "bitsandbytes": ("bitsandbytes", f"{_TRANSFORMERS}, with bitsandbytes,"),
    "compressed-tensors": ("compressed-tensors (llm-compressor)", _TRANSFORMERS),
    "torchao": ("torchao", f"{_TRANSFORMERS}, with torchao,"),
    "hqq": ("HQQ", "transformers, with hqq,"),
    "quanto": ("quanto (optimum-quanto)", "transformers and diffusers, with optimum-quanto,"),
    "aqlm": ("AQLM", "transformers, with aqlm,"),
    "vptq": ("VPTQ", "transformers, with vptq,"),
    "eetq": ("EETQ", "transformers, with eetq,"),
    "higgs": ("HIGGS", "transformers, with flute-kernel,"),
    "spqr": ("SpQR", "transformers, with spqr_quant,"),
    "bitnet": ("BitNet", "transformers"),
    "mxfp4": ("MXFP4, as gpt-oss has it", _TRANSFORMERS),
    "quark": ("AMD Quark", _TRANSFORMERS),
    "auto-round": ("AutoRound", _TRANSFORMERS),
    "modelopt": ("NVIDIA ModelOpt", "vLLM and TensorRT-LLM"),
    "exl2": ("ExLlamaV2", "ExLlamaV2"),
    "exl3": ("ExLlamaV3", "ExLlamaV3"),
    "mlx": ("MLX", "mlx-lm"),
    _OWN: ("pyfq, but its weights have lost the entry 'pyfq'", ""),
}

# The method of a `quantization_config` without one.
_NAMELESS = ""

_INTEGERS = ("U8", "I8", "I16", "U16", "I32", "U32", "I64")


@dataclass(frozen=True)
class Foreign:
    """Another tool's quantization.

    Attributes
    ----------
    tool : str
        What wrote it.
    sign : str
        What tells so.
    readers : str
        What reads it; "" if nothing does.
    """

    tool: str
    sign: str
    readers: str

    def __str__(self) -> str:
        """Return who wrote it, what tells so, and what reads it."""
        readers = f", which {self.readers} can read" if self.readers else ""
        return f"{self.tool} ({self.sign}){readers}"


def foreign_of(source: Source) -> Foreign | None:
    """Return what another tool did to a checkpoint that pyfq did not compress, None if nothing."""
    path = source.file.parent / CONFIG
    config = values_of(read_config(path)) if path.exists() else {}
    by_tensors = _sign_of_tensors(source.words)
    found = _found_in(config)
    if found is None:
        found = by_tensors
    elif by_tensors is None and not _holds_codes(source.words):
        method, sign = found
        found = (method, f"{sign}, though all tensors are floats: delete that entry if it is so")
    if found is None:
        return None
    method, sign = found
    tool = "a tool that it does not name" if method == _NAMELESS else f"the method {shown(method)}"
    tool, readers = _TOOLS.get(method, (tool, "the library that wrote it"))
    return Foreign(tool, sign, readers)


def refuse_quantized(source: Source) -> None:
    """Raise ValueError if another tool has quantized a checkpoint: its codes are not weights."""
    foreign = foreign_of(source)
    if foreign is not None:
        raise ValueError(
            f"{source.path} is quantized already, by {foreign}; "
            "pyfq compresses floats: take the checkpoint that it was made from"
        )


def _found_in(config: Mapping[str, Any]) -> tuple[str, str] | None:
    for key in (QUANTIZATION, "compression_config"):
        entry = config.get(key)
        if isinstance(entry, Mapping) and entry:
            method = entry.get("quant_method")
            if not isinstance(method, str):
                method = _method_without_name(key, entry)
            if method.startswith("bitsandbytes"):
                method = "bitsandbytes"
            return method, f"{key} of {CONFIG}"
        if entry:
            return _NAMELESS, f"{key} of {CONFIG}"
    mlx = config.get("quantization")
    if isinstance(mlx, Mapping) and {"bits", "group_size"} <= mlx.keys():
        return "mlx", f"quantization of {CONFIG}"
    return None


def _method_without_name(key: str, entry: Mapping[str, Any]) -> str:
    if {"load_in_8bit", "load_in_4bit"} & entry.keys():
        return "bitsandbytes"
    if key == "compression_config" or "config_groups" in entry:
        return "compressed-tensors"
    return _OWN if entry.get("format") == _OWN else _NAMELESS


def _sign_of_tensors(words: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the ``quant_method`` that names and dtypes tell of, and the sign."""
    of_end: dict[str, set[str]] = {}
    for name, word in words.items():
        of_end.setdefault(name.rpartition(".")[2], set()).add(word)

    def has(end: str, *dtypes: str) -> bool:
        return not of_end.get(end, set()).isdisjoint(dtypes)

    codes = any(has("weight", word) for word in ("U8", "I8"))
    float8 = next((w for ws in of_end.values() for w in ws if w.startswith("F8_")), None)
    signs = (
        ("gptq", has("qweight", *_INTEGERS) and "g_idx" in of_end, "qweight and g_idx"),
        ("awq", has("qweight", *_INTEGERS) and "qzeros" in of_end, "qweight and qzeros"),
        ("bitsandbytes", any(e.startswith("bitsandbytes__") for e in of_end), "quant_state"),
        ("bitsandbytes", codes and "absmax" in of_end, "absmax"),
        ("bitsandbytes", has("weight", "I8") and "SCB" in of_end, "SCB"),
        ("hqq", has("W_q", *_INTEGERS), "W_q"),
        ("quanto", "_data" in of_end and "_scale" in of_end, "_data and _scale"),
        ("aqlm", has("codes", *_INTEGERS) and "codebooks" in of_end, "codes and codebooks"),
        ("exl2", has("q_weight", *_INTEGERS) and "q_scale" in of_end, "q_weight and q_scale"),
        ("exl3", "trellis" in of_end and "suh" in of_end, "trellis and suh"),
        ("modelopt", "weight_scale_2" in of_end, "weight_scale_2"),
        ("compressed-tensors", has("weight_packed", *_INTEGERS), "weight_packed"),
        ("torchao", any(end.endswith("qdata") for end in of_end), "qdata"),
        ("mxfp4", _has_pairs(of_end, "_blocks", "_scales"), "_blocks and _scales"),
        ("mlx", has("weight", "U32") and "scales" in of_end, "weight of U32 and scales"),
        ("compressed-tensors", has("weight", "I8") and "weight_scale" in of_end, "weight_scale"),
        ("bitnet", has("weight", "U8") and "weight_scale" in of_end, "weight_scale"),
    )
    for method, found, sign in signs:
        if found:
            return method, f"tensors called {sign}"
    scale = next((e for e in of_end if e in _FLOAT8_SCALES or e.startswith("weight_scale")), None)
    if float8 is not None and scale is not None:
        return "fp8", f"tensors of {float8} beside {scale}"
    return None


# Not "scale": norms have it, in checkpoints that were merely cast to float8, too.
_FLOAT8_SCALES = ("scale_weight", "scale_inv", "input_scale", "scale_input", "scaled_fp8")


def _has_pairs(of_end: Mapping[str, set[str]], one: str, other: str) -> bool:
    return any(
        end.endswith(one) and "U8" in of_end[end] and end.removesuffix(one) + other in of_end
        for end in of_end
    )


def _holds_codes(words: Mapping[str, str]) -> bool:
    """Tell whether there are matrices of anything but floats, as far as names tell."""
    return any(
        word in (*_INTEGERS, "F4") or word.startswith(("F8_", "F6_"))
        for name, word in words.items()
        if "weight" in name
    )
