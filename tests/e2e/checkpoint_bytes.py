"""An independent reader of pack-quantized checkpoints (formats.md 7.1), in numpy and torch alone."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open


def tensors(folder):
    """Every tensor of a checkpoint folder by name."""
    folder = Path(folder)
    index = folder / "model.safetensors.index.json"
    files = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else ["model.safetensors"]
    found = {}
    for name in files:
        with safe_open(folder / name, framework="pt") as opened:
            for key in opened.keys():
                found[key] = opened.get_tensor(key)
    return found


def unpack_bits(words, bits, count):
    """Codes from little-endian bit streams along the last axis; offset binary to signed."""
    raw = words.astype("<i4").view(np.uint8)
    stream = np.unpackbits(raw, axis=-1, bitorder="little")[..., : count * bits]
    values = stream.reshape(*stream.shape[:-1], count, bits)
    return (values * (1 << np.arange(bits))).sum(-1).astype(np.int64) - (1 << (bits - 1))


def dequantized(folder):
    """Dense weights of every linear that is stored packed: module -> [out, in] in the scales' dtype."""
    stored = tensors(folder)
    config = json.loads((Path(folder) / "config.json").read_text())
    groups = config["quantization_config"]["config_groups"].values()
    dense = {}
    for name in stored:
        if not name.endswith(".weight_packed"):
            continue
        module = name.removesuffix(".weight_packed")
        scheme = next(g["weights"] for g in groups if g["targets"] == ["Linear"] or module in g["targets"])
        bits = scheme["num_bits"]
        out, columns = (int(v) for v in stored[module + ".weight_shape"])
        codes = torch.from_numpy(unpack_bits(stored[name].numpy(), bits, columns))
        scales = stored[module + ".weight_scale"]
        if not scheme["symmetric"]:
            packed = stored[module + ".weight_zero_point"].numpy()
            zeros = torch.from_numpy(unpack_bits(np.ascontiguousarray(packed.T), bits, out).T.copy())
            codes = codes - zeros.repeat_interleave(columns // zeros.shape[1], dim=1)
        spread = scales.repeat_interleave(columns // scales.shape[1], dim=1)
        dense[module] = codes.to(scales.dtype) * spread
    return dense


def digest(folder):
    """One hash over every file that makes the checkpoint (the report has times in it)."""
    total = hashlib.sha256()
    for path in sorted(Path(folder).iterdir()):
        if path.is_file() and path.name not in ("report.json", "report.html"):
            total.update(path.name.encode())
            total.update(path.read_bytes())
    return total.hexdigest()
