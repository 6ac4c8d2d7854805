"""compare.py [gptq|wanda|pipeline|replicas|quality ...]: calipress beside llm-compressor, or beside itself, in one run.

gptq      end-to-end GPTQ W4 g128 of a random-weight Llama (hidden 1024, 8 layers), same tokens, same threads: seconds
          and peak memory of both, and their ratios.
wanda     the same of Wanda, half of the weights, unstructured.
pipeline  two workers of one thread against one worker of one thread, propagation: original.
replicas  the same with propagation: compressed (true-sequential GPTQ) and sharding: samples.
quality   perplexity after RTN and GPTQ on a trained model, ours and theirs, same calibration tokens (needs ../shared).

Prints a table and a JSON line. Timings are medians of REPEAT runs (environment; default 3).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("CALIPRESS_BIN", ROOT / "build" / "release" / "bin"))
DEPS = Path(os.environ.get("CALIPRESS_DEPS", Path.home() / ".cache" / "calipress"))
SHARED = Path(os.environ.get("CALIPRESS_SHARED", ROOT.parent / "shared"))
PEER = str(DEPS / "bench-venv" / "bin" / "python")
HERE = Path(__file__).parent
REPEAT = int(os.environ.get("REPEAT", "3"))


def tree_rss(pid):
    """Resident bytes of a process and all below it."""
    total, stack = 0, [pid]
    while stack:
        one = stack.pop()
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for task in Path(f"/proc/{one}/task").iterdir():
                stack += [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total


def measure(command, env=None):
    """Runs a command: (seconds, peak bytes of the process tree, output)."""
    begin = time.monotonic()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, env={**os.environ, **(env or {})})
    peak = 0
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout))
    reader.start()
    while process.poll() is None:
        peak = max(peak, tree_rss(process.pid))
        time.sleep(0.02)
    reader.join()
    output = "".join(lines)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{output[-4000:]}")
    return time.monotonic() - begin, peak, output


def recipe(folder, ids, method="gptq: {bits: 4, group_size: 128}", extra=""):
    path = folder / "recipe.yaml"
    path.write_text(f"calibration: {{sources: [{{token_ids: {{uri: '{ids}'}}}}]}}\nsteps: [{{{method}}}]\n"
                    f"output: {{format: compressed-tensors}}\n{extra}")
    return path


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


def ours(folder, model, ids, label, workers=1, threads=2, extra="", method="gptq: {bits: 4, group_size: 128}"):
    runs = []
    for i in range(REPEAT):
        out = folder / f"{label}-{i}"
        runs.append(measure([BIN / "calipress", "run", model, out, "--recipe", recipe(folder, ids, method, extra),
                             "--workers", workers, "--threads-per-worker", threads])[:2])
    return {"seconds": round(statistics.median(run[0] for run in runs), 2),
            "peak_mb": round(max(run[1] for run in runs) / 1e6), "phases": phases(out)}


def beside(folder, peer, method):
    """The peer's script with its leading arguments beside our method."""
    model, ids = random_llama(folder)
    seconds, peak, output = measure([PEER, HERE / peer[0], *peer[1:], model, ids, folder / "peer"],
                                    env={"THREADS": "2"})
    inner = next(json.loads(line) for line in output.splitlines() if line.startswith('{"oneshot'))
    mine = ours(folder, model, ids, "ours", method=method)
    # Theirs counts oneshot and save alone; ours the whole program, from exec to exit.
    theirs = inner["oneshot"] + inner["save"]
    return {"llm-compressor": {"seconds": round(theirs, 2), "whole_process_seconds": round(seconds, 2),
                               "peak_mb": round(peak / 1e6)},
            "calipress": mine, "speedup": round(theirs / mine["seconds"], 2),
            "memory_ratio": round(mine["peak_mb"] * 1e6 / peak, 2)}


def gptq(folder):
    return beside(folder, ["llm_compressor_gptq.py"], "gptq: {bits: 4, group_size: 128}")


def wanda(folder):
    return beside(folder, ["llm_compressor_prune.py", "wanda"], "wanda: {sparsity: 0.5}")


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


def quality(folder):
    model = SHARED / "data" / "models" / "mix-llama-5.8m"
    subprocess.run([PEER, SHARED / "bench" / "make_calibration_tokens.py", model, SHARED / "data" / "text" /
                    "train_mix.jsonl.xz", folder / "ids.npy"], check=True, capture_output=True)
    texts = {name: SHARED / "data" / "text" / f"{name}.jsonl" for name in ("stories_test", "novels_test")}
    measured = {}

    def evaluate(checkpoint, label):
        for name, text in texts.items():
            command = [BIN / "calipress", "eval", checkpoint, "--text", text, "--seqlen", "256", "--json"]
            if label != "original":
                command += ["--reference", model]
            told = json.loads(measure(command)[2].strip().splitlines()[-1])["evaluations"][0]
            measured.setdefault(label, {})[name] = {k: round(told[k], 5) for k in
                                                    ("perplexity", "kl_divergence", "top1_agreement") if k in told}

    evaluate(model, "original")
    for label, method in (("calipress RTN", "rtn: {bits: 4, group_size: 128}"),
                          ("calipress GPTQ", "gptq: {bits: 4, group_size: 128}"),
                          ("calipress GPTQ, not true-sequential",
                           "gptq: {bits: 4, group_size: 128, true_sequential: false}")):
        out = folder / label.replace(" ", "-").replace(",", "")
        measure([BIN / "calipress", "run", model, out, "--recipe", recipe(folder, folder / "ids.npy", method),
                 "--threads-per-worker", "2"])
        evaluate(out, label)
    measure([PEER, HERE / "llm_compressor_gptq.py", model, folder / "ids.npy", folder / "peer"], env={"THREADS": "2"})
    evaluate(folder / "peer", "llm-compressor GPTQ")
    return measured


def main():
    for name in sys.argv[1:] or ["gptq"]:
        with tempfile.TemporaryDirectory(prefix="calipress-bench-") as folder:
            result = {"gptq": gptq, "wanda": wanda, "pipeline": pipeline, "replicas": replicas,
                      "quality": quality}[name](Path(folder))
        print(f"== {name}")
        for key, value in result.items():
            print(f"{key:>36}: {json.dumps(value)}")
        print(json.dumps({"bench": name, **result}))


if __name__ == "__main__":
    main()
