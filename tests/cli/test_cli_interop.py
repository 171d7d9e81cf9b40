"""What ``pyfq compress`` writes, opened by the tools it is written for."""

import json

import numpy as np
import pytest

from pyfq.cli import main
from pyfq.io import open_safetensors, write_safetensors

torch = pytest.importorskip("torch", reason="needs the oracles extra")
quantization = pytest.importorskip(
    "compressed_tensors.quantization", reason="needs the oracles extra"
)
compressors = pytest.importorskip(
    "compressed_tensors.compressors", reason="needs the oracles extra"
)


@pytest.mark.parametrize(
    "flags",
    [
        ["--bits", "8"],
        ["--bits", "6", "--group-size", "200"],
        ["--bits", "8", "--per-row"],
        ["--bits", "8", "--per-row", "--scheme", "affine"],
        ["--bits", "8", "--per-tensor", "--scheme", "affine"],
        ["--bits", "4", "--group-size", "64"],
        ["--bits", "4", "--group-size", "64", "--scheme", "affine"],
        ["--bits", "3", "--per-row", "--scheme", "affine"],
        ["--bits", "5", "--per-tensor", "--scheme", "affine"],
    ],
)
def test_compressed_tensors_reads_the_same_numbers(tmp_path, flags):
    from safetensors.torch import load_file

    rng = np.random.default_rng(0)
    tensors = {
        f"m{i}.weight": rng.standard_normal((37 + i, 128), np.float32) for i in range(90, 93)
    }
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text("{}")
    write_safetensors(source / "model.safetensors", tensors)
    packed, dense = tmp_path / "packed", tmp_path / "dense"
    assert main(["compress", str(source), "-o", str(packed), *flags]) == 0
    assert main(["compress", str(source), "-o", str(dense), "--dense", *flags]) == 0

    config = json.loads((packed / "config.json").read_text())["quantization_config"]
    config = quantization.QuantizationConfig.model_validate(config)
    state = load_file(packed / "model.safetensors")
    (scheme,) = config.config_groups.values()
    compressor = compressors.BaseCompressor.get_value_from_registry(scheme.format)
    with open_safetensors(dense / "model.safetensors") as expected:
        for module in scheme.targets:
            parts = {
                name: state[f"{module}.{name}"]
                for name in (*compressor.compression_param_names(scheme),)
            }
            got = compressor.decompress(parts, scheme)["weight"].numpy()
            np.testing.assert_array_equal(got, expected[f"{module}.weight"], strict=True)
    assert len(scheme.targets) == len(tensors)
