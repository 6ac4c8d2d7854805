"""The papers' findings on small trained models (needs ../shared): each a study, its statistics as a table.

replay-a: pruning by where calibration text comes from. replay-b: spread over draws. replay-c: weights of two domains.
replay-d: what the model writes after prefixes, and the filter. study-speed: a study beside as many separate jobs.
REPLAY_MODEL, REPLAY_DRAWS (replay-a; environment): another model, fewer draws.
"""

import csv
import os

from measuring import BIN, SHARED, measure

MODEL = os.environ.get("REPLAY_MODEL", "mix-llama-5.8m")
DRAWS = int(os.environ.get("REPLAY_DRAWS", "5"))
DOMAINS = SHARED / "data" / "text" / "domains"
NM = "pattern: '2:4'"
METHODS = {
    "gptq": "{gptq: {}}",
    "spqr": "{spqr: {}}",
    "sparsegpt-2of4": f"{{sparsegpt: {{{NM}}}}}",
    "wanda-2of4": f"{{wanda: {{{NM}}}}}",
    "wanda-60": "{wanda: {sparsity: 0.6}}",
    "sparsegpt-60": "{sparsegpt: {sparsity: 0.6}}",
}


def text(domain, more=""):
    return f"{{domain: {domain}, text: {{uri: '{DOMAINS / domain}.jsonl'}}{more}}}"


def recipe(folder, methods, sources, draws, samples=64, calibration="", study="", windows=40):
    listed = ", ".join(f"{{name: {name}, steps: [{METHODS[name]}]}}" for name in methods)
    given = ", ".join(f"{{name: {name}, sources: [{what}]}}" for name, what in sources.items())
    texts = ", ".join(f"{{name: {name}, uri: '{SHARED / 'data' / 'text' / name}_test.jsonl', sequence_length: 256, "
                      f"max_windows: {windows}}}" for name in ("stories", "novels"))
    path = folder / "study.yaml"
    path.write_text(f"""
calibration: {{samples: {samples}, sequence_length: 256, scored_tokens: 2048{calibration}}}
study:
  methods: [{listed}]
  sources: [{given}]
  draws: {draws}
  repeat: false
{study}
evaluation: {{divergence: false, perplexity: [{texts}]}}
""")
    return path


def run(folder, path, name="out"):
    seconds = measure([BIN / "calipress", "run", SHARED / "data" / "models" / MODEL, folder / name, "--recipe", path,
                       "--workers", "2", "--threads-per-worker", "1"])[0]
    rows = {"seconds": round(seconds, 1)}
    for row in csv.DictReader((folder / name / "study.csv").open()):
        if not row["metric"].startswith("perplexity"):
            continue
        cell = " ".join(part for part in (row["method"], row["source"], row["domain_weight"]) if part)
        rows.setdefault(cell, {})[row["metric"].removeprefix("perplexity ")] = (
            f"{float(row['mean']):.3f} +- {float(row['std']):.3f} [{float(row['min']):.3f}, {float(row['max']):.3f}]")
    return rows


def replay_a(folder):
    sources = {"text": f"{text('novels')}, {text('stories')}", "self": "{self_generated: {}}",
               "vocabulary": "{random_vocabulary: {}}"}
    return run(folder, recipe(folder, ("gptq", "sparsegpt-2of4", "wanda-2of4"), sources, DRAWS))


def replay_b(folder):
    sources = {name: text(name) for name in ("novels", "stories", "wikisent")}
    return run(folder, recipe(folder, ("gptq", "spqr", "sparsegpt-2of4", "wanda-2of4"), sources, 10, samples=32))


def replay_c(folder):
    weights = "mixing: {weights: [{domain: stories, weight: 1}, {domain: novels, weight: 1}]}"
    return run(folder, recipe(folder, ("sparsegpt-60",), {"both": f"{text('stories')}, {text('novels')}"}, 3,
                              calibration=f", {weights}",
                              study="  sweep: {domain: stories, weights: [0, 0.25, 0.5, 0.75, 1]}"))


def replay_d(folder):
    def prefixes(tokens, drop):
        return (f"{{prefix_generated: {{prefixes: {{uri: '{DOMAINS / 'novels'}.jsonl'}}, prefix_tokens: {tokens}, "
                f"drop_share: {drop}}}}}")

    sources = {"text": text("novels"), "prefix-2": prefixes(2, 0.2), "prefix-2-all": prefixes(2, 0.0),
               "prefix-8": prefixes(8, 0.2), "prefix-32": prefixes(32, 0.2)}
    return run(folder, recipe(folder, ("wanda-60",), sources, 3, samples=32))


def study_speed(folder):
    """30 runs (3 methods, 2 sources, 5 draws) in one job and in 30, two workers of one thread."""
    names, sources, draws = ("gptq", "sparsegpt-2of4", "wanda-2of4"), ("novels", "stories"), 5
    shape = {"samples": 32, "windows": 10}
    whole = run(folder, recipe(folder, names, {name: text(name) for name in sources}, draws, **shape))["seconds"]
    alone = 0.0
    for name in names:
        for source in sources:
            for draw in range(draws):
                one = (folder / "study.yaml")
                one.write_text(f"""
calibration:
  sources: [{text(source)}]
  samples: 32
  sequence_length: 256
  scored_tokens: 2048
  draw: {{index: {draw}, of: {draws}}}
steps: [{METHODS[name]}]
evaluation:
  divergence: false
  perplexity:
""" + "".join(f"    - {{name: {held}, uri: '{SHARED / 'data' / 'text' / held}_test.jsonl', sequence_length: 256, "
              "max_windows: 10}\n" for held in ("stories", "novels")))
                alone += measure([BIN / "calipress", "run", SHARED / "data" / "models" / MODEL,
                                  folder / f"{name}-{source}-{draw}", "--recipe", one, "--workers", "2",
                                  "--threads-per-worker", "1"])[0]
    return {"study_seconds": whole, "jobs_seconds": round(alone, 1), "ratio": round(alone / whole, 2)}


REPLAYS = {"replay-a": replay_a, "replay-b": replay_b, "replay-c": replay_c, "replay-d": replay_d,
           "study-speed": study_speed}
