"""What each preset makes of the carried model: size, bits per weight of the linears, zeros, perplexity of held-out text.
Neither times nor memory are compared: a busy machine does not change the result."""

import json
import subprocess

from measuring import BIN, ROOT

DATA = ROOT / "tests" / "data"
MODEL = DATA / "mix-llama-5.8m"


def calipress(*args):
    done = subprocess.run([BIN / "calipress", *map(str, args)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout) if "--json" in args else None


def row(folder):
    shown = calipress("inspect", folder, "--json")
    measured = calipress("eval", folder, "--text", DATA / "heldout.jsonl", "--seqlen", 128, "--json")
    return {"format": shown["format"], "bytes": int(shown["bytes"]), "bits_per_weight": round(shown["bits_per_weight"], 3),
            "zeros": round(shown["zeros"], 3), "perplexity": round(measured["evaluations"][0]["perplexity"], 3)}


def presets(folder):
    result = {"the model itself": row(MODEL)}
    for path in sorted((ROOT / "deploy" / "recipes").glob("*.yaml")):
        out = folder / path.stem
        args = [] if "calibration:" not in path.read_text() else ["--calibration", DATA / "calibration.jsonl"]
        calipress("run", MODEL, out, "--recipe", path, "--threads-per-worker", 1, *args)
        result[path.stem] = row(out)
    return result
