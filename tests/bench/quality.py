"""Perplexity, divergence, error by linear, seconds and size after every method, ours and llm-compressor's, on the same
token ids.

Needs ../shared. QUALITY=name,name: those rows alone.
"""

import json
import os
import subprocess
import sys

from measuring import BIN, HERE, PEER, SHARED, CommandFailed, measure, peer, recipe

MODEL = os.environ.get("QUALITY_MODEL", "mix-llama-5.8m")

# Row: our steps, the peer's method (None: it has none).
ROWS = {
    "rtn-w4a16": ("{rtn: {}}", "rtn"),
    "gptq-w4a16": ("{gptq: {}}", "gptq"),
    "gptq-w4a16-asym": ("{gptq: {symmetric: false}}", "gptq-asym"),
    "rtn-w4a16-asym": ("{rtn: {symmetric: false}}", None),
    "awq-w4a16": ("{awq: {}}", "awq"),
    "spqr-4bit": ("{spqr: {}}", None),
    "smoothquant-w8a8": ("{smoothquant: {}}, {gptq: {bits: 8, group_size: -1, activations: dynamic}}", "smoothquant"),
    "fp8-dynamic": ("{rtn: {bits: 8, group_size: -1, type: float, activations: dynamic}}", "fp8-dynamic"),
    "magnitude-50": ("{magnitude: {}}", None),
    "wanda-50": ("{wanda: {}}", "wanda"),
    "wanda-2of4": ("{wanda: {pattern: '2:4'}}", "wanda-2of4"),
    "wanda-60": ("{wanda: {sparsity: 0.6}}", "wanda-60"),
    "dsnot-60": ("{dsnot: {sparsity: 0.6}}", None),
    "wanda-70": ("{wanda: {sparsity: 0.7}}", "wanda-70"),
    "owl-wanda-70": ("{wanda: {sparsity: 0.7, owl: {}}}", "owl-wanda-70"),
    "sparsegpt-50": ("{sparsegpt: {}}", "sparsegpt"),
    "sparsegpt-2of4": ("{sparsegpt: {pattern: '2:4'}}", "sparsegpt-2of4"),
    "sparse24-w4a16": ("{wanda: {pattern: '2:4'}}, {gptq: {}}", None),
    "sparsegpt-2of4-w4a16": ("{sparsegpt: {pattern: '2:4', quantize: {}}}", None),
}


def bits_per_weight(checkpoint, model):
    """Bits on disk per weight of the blocks' linears, scales, zeros and indices counted; and bytes of all tensors."""
    weights = {}
    for file in sorted(model.glob("*.safetensors")):
        for name, tensor in tensors(file).items():
            if name.endswith("_proj.weight"):
                weights[name.removesuffix(".weight")] = tensor["shape"][0] * tensor["shape"][1]
    stored = total = 0
    for file in sorted(checkpoint.glob("*.safetensors")):
        for name, tensor in tensors(file).items():
            size = tensor["data_offsets"][1] - tensor["data_offsets"][0]
            total += size
            if name.rpartition(".")[0] in weights and not name.endswith(".bias"):
                stored += size
    return stored * 8 / sum(weights.values()), total


def tensors(file):
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    header.pop("__metadata__", None)
    return header


def quality(folder):
    model = SHARED / "data" / "models" / MODEL
    ids = folder / "ids.npy"
    subprocess.run([PEER, SHARED / "bench" / "make_calibration_tokens.py", model,
                    SHARED / "data" / "text" / "train_mix.jsonl.xz", ids], check=True, capture_output=True)
    texts = {name: SHARED / "data" / "text" / f"{name}.jsonl" for name in ("stories_test", "novels_test")}
    measured = {}

    def tell(label, checkpoint, seconds):
        row = measured[label] = {"seconds": round(seconds, 1)}
        bits, size = bits_per_weight(checkpoint, model)
        row |= {"bits": round(bits, 3), "bytes": size}
        for name, text in texts.items():
            command = [BIN / "calipress", "eval", checkpoint, "--text", text, "--seqlen", "256", "--json"]
            if checkpoint != model:
                command += ["--reference", model]
            told = json.loads(measure(command)[2].strip().splitlines()[-1])["evaluations"][0]
            row[name] = {k: round(told[k], 5) for k in ("perplexity", "kl_divergence", "top1_agreement") if k in told}
        # SpQR's layout is ours; AWQ and SmoothQuant fold scales into the weights, which are then other ones.
        if checkpoint != model and not label.startswith(("spqr", "awq", "smoothquant")):
            output = measure([PEER, HERE / "layer_errors.py", model, ids, checkpoint])[2]
            errors = next(json.loads(line) for line in output.splitlines() if line.startswith('{"layer_errors'))
            row["error"] = round(next(iter(errors["layer_errors"].values())), 6)
        print(label, json.dumps(row), file=sys.stderr, flush=True)

    tell("original", model, 0)
    wanted = os.environ.get("QUALITY", "").split(",")
    for name, (steps, theirs) in ROWS.items():
        if wanted != [""] and name not in wanted:
            continue
        try:
            out = folder / name
            seconds = measure([BIN / "calipress", "run", model, out, "--recipe", recipe(folder, ids, steps),
                               "--threads-per-worker", "2"])[0]
            tell(f"{name}, calipress", out, seconds)
            if theirs:
                seconds = peer(theirs, model, ids, folder / f"{name}-peer")[0]
                tell(f"{name}, llm-compressor", folder / f"{name}-peer", seconds)
        except CommandFailed as error:
            # One method that the peer cannot do here must not take the others' figures.
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            measured[f"{name}, failed"] = str(error).strip().splitlines()[-1]
    return measured
