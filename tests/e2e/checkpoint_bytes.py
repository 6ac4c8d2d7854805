"""An independent reader of quantized checkpoints (formats.md 7.1 to 7.3), in numpy and torch alone."""

import filecmp
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


def dequantized_codes(stored, module):
    """Codes of 8 bits each, with scales of the matrix, of its rows and column groups, or of blocks of 128 x 128."""
    codes, scales = stored[module + ".weight"], stored[module + ".weight_scale"]
    assert codes.dtype in (torch.int8, torch.float8_e4m3fn), codes.dtype
    out, columns = codes.shape
    tensor, rows = scales.dim() == 1, scales.shape[0] == out
    height = out if tensor else 1 if rows else 128
    width = columns if tensor else columns // scales.shape[1] if rows else 128

    def spread(grid):
        grid = grid.reshape(1, 1) if tensor else grid
        return grid.repeat_interleave(height, 0)[:out].repeat_interleave(width, 1)[:, :columns]

    values = codes.to(scales.dtype)
    if module + ".weight_zero_point" in stored:
        zeros = stored[module + ".weight_zero_point"]
        assert zeros.dtype == torch.int8 and zeros.shape == scales.shape
        values = values - spread(zeros).to(scales.dtype)
    return values * spread(scales)


def dequantized(folder):
    """Dense weights of every linear that is stored in codes: module -> [out, in] in the scales' dtype."""
    stored = tensors(folder)
    config = json.loads((Path(folder) / "config.json").read_text())
    groups = config["quantization_config"]["config_groups"].values()
    dense = {}
    for name in stored:
        module = name.removesuffix(".weight")
        if name.endswith(".weight") and module + ".weight_scale" in stored:
            dense[module] = dequantized_codes(stored, module)
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
    """One hash over every file that makes the checkpoint (reports have times in them, a study tables, replay.yaml the
    folder)."""
    total = hashlib.sha256()
    for path in sorted(Path(folder).iterdir()):
        if path.is_file() and not path.name.startswith(("report.", "study", "replay.")):
            total.update(path.name.encode())
            total.update(path.read_bytes())
    return total.hexdigest()


def same_bytes(first, second):
    """Whether two files are equal. (Of unequal bytes pytest would look for the differences, for hours.)"""
    return filecmp.cmp(first, second, shallow=False)
