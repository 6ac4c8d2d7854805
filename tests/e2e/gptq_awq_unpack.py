"""Reads gptq and awq checkpoints by docs/formats/gptq-awq.md alone: numpy, bit by bit, and nothing of calipress."""

import json
from pathlib import Path

import numpy as np

from spqr_unpack import read_tensors

AWQ_COLUMNS = [0, 2, 4, 6, 1, 3, 5, 7]  # of a word's nibbles, the lowest first


def fields(words, bits):
    """[..., n] words -> [..., n, 32 / bits] fields, the lowest bits first."""
    words = words.astype(np.uint64)
    mask = np.uint64((1 << bits) - 1)
    return np.stack([(words >> np.uint64(at)) & mask for at in range(0, 32, bits)], axis=-1).astype(np.int64)


def gptq(tensors, module, config):
    """(codes, zero points, scales), each [in or groups, out]; codes and zero points unsigned."""
    bits = config["bits"]
    qweight = tensors[f"{module}.qweight"][1]
    codes = fields(qweight, bits).transpose(0, 2, 1).reshape(-1, qweight.shape[1])
    stored = tensors[f"{module}.qzeros"][1].astype(np.uint64)
    if config["checkpoint_format"] == "gptq":
        stored = (stored + np.uint64(0xFFFFFFFF // ((1 << bits) - 1))) & np.uint64(0xFFFFFFFF)  # one in every field
    zeros = fields(stored, bits).reshape(stored.shape[0], -1)
    return codes, zeros, tensors[f"{module}.scales"][1]


def awq(tensors, module, config):
    def spread(words):
        nibbles = fields(words, 4)
        plain = np.empty_like(nibbles)
        plain[..., AWQ_COLUMNS] = nibbles
        return plain.reshape(words.shape[0], -1)

    part = lambda name: tensors[f"{module}.{name}"][1]
    return spread(part("qweight")), spread(part("qzeros")), part("scales")


def config_of(folder):
    return json.loads((Path(folder) / "config.json").read_text())["quantization_config"]


def unpack_checkpoint(folder):
    """{name of the weight: its F16 bits [out, in]} of every quantized linear."""
    config, tensors = config_of(folder), read_tensors(folder)
    reader = {"gptq": gptq, "awq": awq}[config["quant_method"]]
    weights = {}
    for name in sorted(tensors):
        module = name.removesuffix(".qweight")
        if module == name:
            continue
        assert tensors[f"{module}.scales"][0] == "F16"
        codes, zeros, scales = reader(tensors, module, config)
        width = codes.shape[0] // scales.shape[0]
        assert config["group_size"] in (width, -1)
        if config["quant_method"] == "gptq":
            assert np.array_equal(tensors[f"{module}.g_idx"][1], np.arange(codes.shape[0]) // width)
        spread = lambda grid: np.repeat(grid, width, axis=0)
        weight = (codes - spread(zeros)).astype(np.float16) * spread(scales.view(np.float16))
        weights[f"{module}.weight"] = np.ascontiguousarray(weight.T).view(np.uint16)
    return weights
