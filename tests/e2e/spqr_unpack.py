"""Reads SpQR checkpoints by docs/formats/spqr.md alone: numpy, and nothing of calipress."""

import json
import sys
from pathlib import Path

import numpy as np

DTYPES = {"I16": "<u2", "I32": "<u4", "I64": "<i8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read_tensors(folder):
    """{name: (dtype, array)} of every safetensors file; BF16 as its 16 bits."""
    tensors = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8:8 + size]).items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            raw = np.frombuffer(data[8 + size + begin:8 + size + end], DTYPES[entry["dtype"]])
            tensors[name] = (entry["dtype"], raw.reshape(entry["shape"]))
    return tensors


def to_float(dtype, array):
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


def to_bits(dtype, values):
    """float32 rounded to `dtype`, halves to even, as its bits."""
    if dtype == "F32":
        return values.view(np.uint32)
    if dtype == "F16":
        return values.astype(np.float16).view(np.uint16)
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def unpack(words, count, bits):
    """The first `count` codes of each row of 32-bit words."""
    stream = np.unpackbits(words.astype("<u4").view(np.uint8), axis=-1, bitorder="little")
    codes = stream[..., :count * bits].reshape(*words.shape[:-1], count, bits)
    return (codes.astype(np.uint32) << np.arange(bits, dtype=np.uint32)).sum(-1)


def dequantize(tensors, module, config):
    """(dtype, bits of the weight [out, in])."""
    get = lambda name: tensors[f"{module}.{name}"][1]
    out, columns = (int(size) for size in get("weight_shape"))
    width, run = config["group_size"], config["scale_group_size"]
    groups = columns // width
    dtype = tensors[f"{module}.scale_grid"][0]

    def level(name, bits):
        codes = unpack(get(f"{name}_packed"), out * groups, bits).reshape(out, groups)
        step, low = to_float(dtype, get(f"{name}_grid")).astype(np.float64)
        rows = np.arange(out) // run
        return (codes * step[rows] + low[rows]).astype(np.float32).repeat(width, axis=1)

    codes = unpack(get("weight_packed"), columns, config["bits"]).astype(np.float32)
    placed = level("scale", config["scale_bits"]) * (codes - level("zero", config["zero_bits"]))
    weight = np.empty_like(placed)
    weight[:, get("weight_order") if config["act_order"] else np.arange(columns)] = placed
    bits = to_bits(dtype, weight)
    offsets = get("outlier_offsets").astype(np.int64)
    rows = np.repeat(np.arange(out), np.diff(offsets))
    values = get("outlier_values")
    bits[rows, get("outlier_columns").astype(np.int64)] = values.view(np.uint32) if dtype == "F32" else values.view(np.uint16)
    return dtype, bits


def modules(tensors):
    return sorted(name.removesuffix(".weight_packed") for name in tensors if name.endswith(".weight_packed"))


def unpack_checkpoint(folder):
    """{name of the weight: (dtype, bits)} of every quantized linear."""
    config = json.loads((Path(folder) / "config.json").read_text())["quantization_config"]
    assert config["quant_method"] == "spqr" and config["version"] == 1, config
    tensors = read_tensors(folder)
    return {f"{module}.weight": dequantize(tensors, module, config) for module in modules(tensors)}


def bits_per_weight(folder):
    """Of the quantized linears, all their tensors counted."""
    tensors = read_tensors(folder)
    stored = weights = 0
    for module in modules(tensors):
        weights += int(np.prod(tensors[f"{module}.weight_shape"][1]))
        stored += sum(array.nbytes for name, (_, array) in tensors.items() if name.startswith(module + "."))
    return 8 * stored / weights


if __name__ == "__main__":
    print(f"{bits_per_weight(sys.argv[1]):.4f} bits per weight")
