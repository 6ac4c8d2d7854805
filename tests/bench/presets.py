"""What each preset makes of the carried model: size, bits per weight of the linears, zeros, perplexity of held-out text.

No times and no memory: a busy machine does not change the result.
"""

import json

from measuring import BIN, ROOT, measure

DATA = ROOT / "tests" / "data"
MODEL = DATA / "mix-llama-5.8m"


def told(verb, *args):
    """What a command says with --json."""
    return json.loads(measure([BIN / "calipress", verb, *args, "--json"])[2].splitlines()[-1])


def row(folder):
    shown = told("inspect", folder)
    measured = told("eval", folder, "--text", DATA / "heldout.jsonl", "--seqlen", 128)
    return {"format": shown["format"], "bytes": int(shown["bytes"]),
            "bits_per_weight": round(shown["bits_per_weight"], 3), "zeros": round(shown["zeros"], 3),
            "perplexity": round(measured["evaluations"][0]["perplexity"], 3)}


def presets(folder):
    result = {"the model itself": row(MODEL)}
    for path in sorted((ROOT / "deploy" / "recipes").glob("*.yaml")):
        out = folder / path.stem
        calibration = ["--calibration", DATA / "calibration.jsonl"] if "calibration:" in path.read_text() else []
        measure([BIN / "calipress", "run", MODEL, out, "--recipe", path, "--threads-per-worker", 1, *calibration])
        result[path.stem] = row(out)
    return result
