"""compare.py [NAME ...]: calipress beside llm-compressor, or beside itself, in one run.

gptq      end-to-end GPTQ W4 g128 of a random-weight Llama (hidden 1024, 8 layers), same tokens, same threads: seconds
          and peak memory of both, and their ratios.
wanda     the same of Wanda, half of the weights, unstructured.
sparsegpt the same of SparseGPT.
pipeline  two workers of one thread against one worker of one thread, propagation: original.
replicas  the same with propagation: compressed (true-sequential GPTQ) and sharding: samples.
generate  tokens per second that a model writes, beside transformers' generate with one batch of all sequences, in the
          better of fp32 and bf16: the carried model (128 x 256), and the random Llama (GENERATE, default 128x512).
quality   perplexity, seconds and size after every method on a trained model, ours and theirs, same calibration tokens
          (needs ../shared).
presets   size, bits per weight and perplexity after every preset.
replay-a, replay-b, replay-c, replay-d, study-speed: the papers' findings on small models, and a study beside as many
          jobs (replays.py; needs ../shared).

Prints a table and a JSON line. Timings are medians of REPEAT runs (environment; default 3).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from measuring import BIN, HERE, PEER, ROOT, CommandFailed, measure, peer, recipe
from presets import presets
from quality import quality
from replays import REPLAYS

REPEAT = int(os.environ.get("REPEAT", "3"))
CARRIED = ROOT / "tests" / "data" / "mix-llama-5.8m"
GPTQ = "{gptq: {bits: 4, group_size: 128}}"


def random_llama(folder):
    python = PEER if Path(PEER).exists() else sys.executable
    subprocess.run([python, HERE / "make_random_llama.py", folder / "model", folder / "ids.npy"], check=True,
                   capture_output=True)
    return folder / "model", folder / "ids.npy"


def phases(out):
    report = json.loads((out / "report.json").read_text())
    found = {}
    for phase in report["phases"]:
        found[phase["name"]] = {"seconds": round(phase["seconds"], 2),
                                **{k: round(v, 2) for k, v in phase.get("activities", {}).items()}}
    return found


def ours(folder, model, ids, label, workers=1, threads=2, extra="", steps=GPTQ):
    runs = []
    for i in range(REPEAT):
        out = folder / f"{label}-{i}"
        runs.append(measure([BIN / "calipress", "run", model, out, "--recipe", recipe(folder, ids, steps, extra),
                             "--workers", workers, "--threads-per-worker", threads])[:2])
    return {"seconds": round(statistics.median(run[0] for run in runs), 2),
            "peak_mb": round(max(run[1] for run in runs) / 1e6), "phases": phases(out)}


def beside(folder, theirs, steps):
    """The peer's method beside our steps."""
    model, ids = random_llama(folder)
    # Theirs counts oneshot and save alone; ours the whole program, from exec to exit.
    seconds, process_seconds, peak = peer(theirs, model, ids, folder / "peer")
    mine = ours(folder, model, ids, "ours", steps=steps)
    return {"llm-compressor": {"seconds": round(seconds, 2), "whole_process_seconds": round(process_seconds, 2),
                               "peak_mb": round(peak / 1e6)},
            "calipress": mine, "speedup": round(seconds / mine["seconds"], 2),
            "memory_ratio": round(mine["peak_mb"] * 1e6 / peak, 2)}


def gptq(folder):
    return beside(folder, "gptq", GPTQ)


def wanda(folder):
    return beside(folder, "wanda", "{wanda: {sparsity: 0.5}}")


def sparsegpt(folder):
    return beside(folder, "sparsegpt", "{sparsegpt: {sparsity: 0.5}}")


def two_workers(folder, extra):
    model, ids = random_llama(folder)
    one = ours(folder, model, ids, "one", workers=1, threads=1, extra=extra)
    two = ours(folder, model, ids, "two", workers=2, threads=1, extra=extra)
    compress = [run["phases"]["compress"]["seconds"] for run in (one, two)]
    return {"one worker": one, "two workers": two, "speedup": round(one["seconds"] / two["seconds"], 2),
            "speedup_compress_phase": round(compress[0] / compress[1], 2)}


def pipeline(folder):
    return two_workers(folder, "propagation: original\n")


def replicas(folder):
    return two_workers(folder, "propagation: compressed\nsharding: samples\n")


def generate(folder):
    result = {}
    sequences, length = map(int, os.environ.get("GENERATE", "128x512").split("x"))
    for label, model, count, tokens in (("mix-llama-5.8m", CARRIED, 128, 256),
                                        ("random Llama", random_llama(folder)[0], sequences, length)):
        python = PEER if Path(PEER).exists() else sys.executable
        _, peak, output = measure([python, HERE / "generate_peer.py", model, count, tokens], env={"THREADS": "2"})
        theirs = next(json.loads(line) for line in output.splitlines() if line.startswith('{"generate'))["generate"]
        prompts = folder / "prompts.npy"
        np.save(prompts, np.ones((count, 1), dtype=np.int64))
        runs = []
        for _ in range(REPEAT):
            _, own_peak, output = measure([BIN / "calipress-test-generate", model, prompts, folder / "out.npy", tokens,
                                           "1.0", "2"])
            told = next(json.loads(line) for line in output.splitlines() if line.startswith('{"seconds'))
            runs.append((told["seconds"], own_peak))
        seconds = statistics.median(run[0] for run in runs)
        written = count * (tokens - 1)
        result[label] = {"sequences": count, "tokens": tokens,
                         "transformers": {name: round(written / value) for name, value in theirs.items()},
                         "calipress": round(written / seconds), "speedup": round(min(theirs.values()) / seconds, 2),
                         "peak_mb": [round(peak / 1e6), round(max(run[1] for run in runs) / 1e6)]}
    return result


OURS = (gptq, wanda, sparsegpt, pipeline, replicas, generate, quality, presets)
BENCHES = {bench.__name__: bench for bench in OURS} | REPLAYS


def main():
    unknown = [name for name in sys.argv[1:] if name not in BENCHES]
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    for name in sys.argv[1:] or ["gptq"]:
        with tempfile.TemporaryDirectory(prefix="calipress-bench-") as folder:
            try:
                result = BENCHES[name](Path(folder))
            except CommandFailed as error:
                sys.exit(str(error))
        print(f"== {name}")
        for key, value in result.items():
            print(f"{key:>36}: {json.dumps(value)}")
        print(json.dumps({"bench": name, **result}))


if __name__ == "__main__":
    main()
