"""A study: many runs as one job, their tables, and the one that is kept."""

import csv
import json
import shutil
import statistics

import pytest
from safetensors.torch import load_file, save_file

from checkpoint_bytes import digest, same_bytes
from conftest import CALIBRATION, HELDOUT, MODEL, calipress, wait_for
from load_checkpoint import check


def study(methods, draws=2, extra="", more=""):
    return f"""
calibration: {{samples: 4, sequence_length: 64, scored_tokens: 128{extra}}}
study:
  methods: {methods}
  sources:
    - {{name: sampled, sources: [{{text: {{uri: "{CALIBRATION}"}}}}]}}
  draws: {draws}
{more}
evaluation: {{perplexity: [{{name: heldout, uri: "{HELDOUT}", sequence_length: 64, max_windows: 8}}]}}
"""


TWO = "[{name: rtn, steps: [{rtn: {group_size: 64}}]}, {name: gptq, steps: [{gptq: {group_size: 64}}]}]"


def report(out):
    return json.loads((out / "report.json").read_text())["study"]


def perplexity(run):
    return run["evaluations"][0]["perplexity"]


@pytest.fixture(scope="module")
def best(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    path = folder / "study.yaml"
    path.write_text(study(TWO, more="  keep: best\n"))
    calipress("run", MODEL, folder / "out", "--recipe", path, "--workers", 2, "--threads-per-worker", 1, check=0)
    return folder / "out"


def test_runs_and_statistics(best):
    told = report(best)
    assert [run["name"] for run in told["runs"]] == [
        "rtn/sampled/0", "gptq/sampled/0", "rtn/sampled/1", "gptq/sampled/1", "gptq/sampled/0/repeat"]
    by_name = {run["name"]: run for run in told["runs"]}
    # Rounding sees no text: no spread at all. GPTQ does: draws differ.
    assert perplexity(by_name["rtn/sampled/0"]) == perplexity(by_name["rtn/sampled/1"])
    assert by_name["rtn/sampled/0"]["fingerprint"] == by_name["rtn/sampled/1"]["fingerprint"]
    assert by_name["gptq/sampled/0"]["fingerprint"] != by_name["gptq/sampled/1"]["fingerprint"]
    assert told["repeat_equal"] is True and told["uncalibrated_equal"] is True
    sets = [by_name[f"gptq/sampled/{draw}"]["calibration"]["fingerprint"] for draw in (0, 1)]
    assert sets[0] != sets[1]
    values = [perplexity(by_name[f"gptq/sampled/{draw}"]) for draw in (0, 1)]
    row = next(one for one in told["statistics"] if one["method"] == "gptq" and one["metric"] == "perplexity heldout")
    assert row["mean"] == pytest.approx(statistics.mean(values))
    assert row["standard_deviation"] == pytest.approx(statistics.stdev(values))
    assert (row["min"], row["max"]) == (min(values), max(values))


def test_tables_are_files(best):
    rows = list(csv.DictReader((best / "study.csv").open()))
    assert {row["method"] for row in rows} == {"rtn", "gptq"}
    runs = list(csv.DictReader((best / "study_runs.csv").open()))
    told = {run["name"]: run for run in report(best)["runs"]}
    for row in runs:
        if row["metric"] == "perplexity heldout":
            assert float(row["value"]) == perplexity(told[row["run"]])
    written = json.loads((best / "study.json").read_text())
    assert written["runs"][1]["evaluations"] == report(best)["runs"][1]["evaluations"]
    spread = {(one["method"], one["metric"]): one for one in written["statistics"]}
    assert spread["rtn", "perplexity heldout"]["standard_deviation"] == 0, "zeros are written too"
    gptq = spread["gptq", "perplexity heldout"]
    assert gptq["range"] == gptq["max"] - gptq["min"] > 0
    compared = list(csv.DictReader((best / "study_comparisons.csv").open()))
    assert {"rtn", "gptq"} == {compared[0]["method"], compared[0]["other"]}
    assert not [row for row in compared if row["metric"] == "relative error"]
    assert "| gptq | sampled |" in (best / "study.md").read_text()
    assert "study:" in (best / "study.yaml").read_text()


def test_the_best_is_kept_as_an_ordinary_job_makes_it(best, tmp_path):
    told = report(best)
    ended = [run for run in told["runs"] if not run["name"].endswith("/repeat")]
    kept = min(ended, key=perplexity)
    assert told["kept"] == [kept["name"]] and kept["checkpoint"] == "."
    # recipe.yaml is that run's: it makes the same checkpoint by itself, on one worker.
    calipress("run", MODEL, tmp_path / "alone", "--recipe", best / "recipe.yaml", "--threads-per-worker", 1, check=0)
    assert digest(tmp_path / "alone") == digest(best)
    evaluated = json.loads((tmp_path / "alone" / "report.json").read_text())["evaluations"][0]["perplexity"]
    assert evaluated == perplexity(kept)


@pytest.fixture(scope="module")
def winners(tmp_path_factory):
    """The best run of each method, on a text that the model writes itself."""
    folder = tmp_path_factory.mktemp("winners")
    path = folder / "study.yaml"
    text = study(TWO, draws=2, more="  keep: best-of-each-method\n  repeat: false\n")
    path.write_text(text.replace(f'text: {{uri: "{CALIBRATION}"}}', "self_generated: {}"))
    done = calipress("run", MODEL, folder / "out", "--recipe", path, "--workers", 2, "--threads-per-worker", 1, check=0)
    return folder / "out", done.stdout


def test_the_best_of_each_method_are_checkpoints(winners, tmp_path):
    out, _ = winners
    told = report(out)
    by_name = {run["name"]: run for run in told["runs"]}
    assert [name.split("/")[0] for name in sorted(told["kept"])] == ["gptq", "rtn"]
    assert sorted(entry.name for entry in out.iterdir()) == [
        "calibration", "report.html", "report.json", "runs", "study.csv", "study.json", "study.md", "study.yaml",
        "study_comparisons.csv", "study_runs.csv"]
    assert {f"runs/{entry.name}" for entry in (out / "runs").iterdir()} == {
        by_name[name]["checkpoint"] for name in told["kept"]}
    for name in told["kept"]:
        method = name.split("/")[0]
        ended = [run for run in told["runs"] if run["method"] == method]
        assert name == min(ended, key=perplexity)["name"]
        folder = out / by_name[name]["checkpoint"]
        check(folder, MODEL)
        # recipe.yaml is that run's: it makes the same checkpoint by itself, on one worker.
        calipress("run", MODEL, tmp_path / method, "--recipe", folder / "recipe.yaml", "--threads-per-worker", 1, check=0)
        assert digest(tmp_path / method) == digest(folder)
        own = json.loads((folder / "report.json").read_text())
        assert own["evaluations"][0]["perplexity"] == perplexity(by_name[name])
        assert len(own["linears"]) == 6 * 7 and int(own["output_bytes"]) < int(own["source_bytes"])


def test_everybody_is_told_where_checkpoints_lie(winners):
    out, _ = winners
    told = report(out)
    page, tables = (out / "report.html").read_text(), (out / "study.md").read_text()
    for run in told["runs"]:
        assert (run["name"] in told["kept"]) == ("checkpoint" in run)
        if "checkpoint" in run:
            assert run["checkpoint"] == "runs/" + run["name"].replace("/", "-")
            assert f">{run['checkpoint']}<" in page and f"| {run['name']} | {run['checkpoint']} |" in tables


def test_the_ids_of_a_draw_replay_its_runs(winners, tmp_path, recipe_file):
    out, _ = winners
    told = report(out)
    assert sorted(file.name for file in (out / "calibration").iterdir()) == ["sampled-0.npy", "sampled-1.npy"]
    name = next(name for name in told["kept"] if name.startswith("gptq"))
    run = next(run for run in told["runs"] if run["name"] == name)
    assert run["calibration"]["ids_file"] == f"calibration/sampled-{run.get('draw', 0)}.npy"
    ids = out / run["calibration"]["ids_file"]
    assert same_bytes(ids, out / run["checkpoint"] / "calibration_ids.npy")
    calipress("run", MODEL, tmp_path / "replayed", "--recipe", out / run["checkpoint"] / "replay.yaml",
              "--threads-per-worker", 1, check=0)
    assert same_bytes(tmp_path / "replayed" / "model.safetensors", out / run["checkpoint"] / "model.safetensors")
    # An ordinary job takes the rows as they are.
    path = recipe_file(f"calibration: {{sources: [{{token_ids: {{uri: '{ids}'}}}}], scored_tokens: 0}}\n"
                       "steps: [{gptq: {group_size: 64}}]\n")
    calipress("run", MODEL, tmp_path / "again", "--recipe", path, "--threads-per-worker", 1, check=0)
    again = json.loads((tmp_path / "again" / "report.json").read_text())["calibration"]
    assert again["fingerprint"] == run["calibration"]["fingerprint"]
    assert same_bytes(tmp_path / "again" / "model.safetensors", out / run["checkpoint"] / "model.safetensors")


def test_keeping_none_leaves_tables_and_ids(tmp_path, recipe_file):
    path = recipe_file(study("[{name: wanda, steps: [{wanda: {}}]}]", draws=1))
    calipress("run", MODEL, tmp_path / "out", "--recipe", path, "--threads-per-worker", 1, check=0)
    assert sorted(file.name for file in tmp_path.joinpath("out").iterdir() if not file.name.startswith("report")) == [
        "calibration", "study.csv", "study.json", "study.md", "study.yaml", "study_comparisons.csv",
        "study_runs.csv"]
    assert [file.name for file in tmp_path.joinpath("out", "calibration").iterdir()] == ["sampled-0.npy"]


def test_the_original_is_measured_once_where_nothing_compares_token_by_token(best, tmp_path, recipe_file):
    path = recipe_file(study("[{name: gptq, steps: [{gptq: {group_size: 64}}]}]").replace(
        "evaluation: {", "evaluation: {divergence: false, "))
    calipress("run", MODEL, tmp_path / "out", "--recipe", path, "--workers", 2, "--threads-per-worker", 1, check=0)
    beside = {run["name"]: run["evaluations"][0] for run in report(best)["runs"]}
    for run in report(tmp_path / "out")["runs"]:
        text = run["evaluations"][0]
        name = run["name"].removesuffix("/repeat")
        assert text["perplexity_original"] == beside[name]["perplexity_original"]
        assert text["perplexity"] == beside[name]["perplexity"]
        assert "kl_divergence" not in text and "kl_divergence" in beside[name]


@pytest.mark.parametrize("kept", ["awq", "wanda"])
def test_the_original_activations_serve_all_runs(tmp_path, recipe_file, kept):
    """Runs that are solved for from one pass give what each gives alone."""
    methods = ("[{name: gptq, steps: [{gptq: {group_size: 64}}]}, {name: wanda, steps: [{wanda: {}}]}, "
               "{name: awq, steps: [{awq: {group_size: 64}}]}]")
    path = recipe_file(study(methods, draws=1, more=f"  keep: {kept}/sampled/0\npropagation: original\n"))
    calipress("run", MODEL, tmp_path / "out", "--recipe", path, "--workers", 2, "--threads-per-worker", 1, check=0)
    told = {run["name"]: run for run in report(tmp_path / "out")["runs"]}
    assert report(tmp_path / "out")["repeat_equal"] is True
    calipress("run", MODEL, tmp_path / "alone", "--recipe", tmp_path / "out" / "recipe.yaml", "--threads-per-worker", 1,
              check=0)
    assert digest(tmp_path / "alone") == digest(tmp_path / "out")
    alone = json.loads((tmp_path / "alone" / "report.json").read_text())["evaluations"][0]["perplexity"]
    assert alone == perplexity(told[f"{kept}/sampled/0"])


def test_a_stage_that_fails_ends_the_run_alone(cluster, tmp_path, recipe_file):
    """Activations that overflow: the stage in the middle finds it when it solves, or the last one in the logits. The
    others do not know, and all come to the next run."""
    broken = tmp_path / "broken"
    shutil.copytree(MODEL, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.2.self_attn.v_proj.weight"][0] = 3e38
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    methods = ("[{name: gptq, steps: [{gptq: {group_size: 64}}]}, "
               "{name: rtn, steps: [{rtn: {group_size: 64}, ignore: ['re:.*layers[.]2[.].*']}]}, "
               "{name: again, steps: [{gptq: {group_size: 64}}]}]")
    path = recipe_file(study(methods, draws=1, more="  keep: best\n").replace("scored_tokens: 128",
                                                                              "scored_tokens: 0"))
    running = cluster()
    for name in ("w0", "w1", "w2"):
        running.add_worker(name)
    job = json.loads(running.cli("submit", broken, tmp_path / "out", "--recipe", path, "--json").stdout)["name"]

    def told():
        return json.loads(running.cli("get", job, "--json").stdout)

    wait_for(lambda: told()["state"] in ("SUCCEEDED", "FAILED"), 120, "the job ends")
    assert told()["error"]["message"].startswith("none of the study's 4 runs ended well; gptq/sampled/0: ")
    # What it measured is told all the same.
    runs = {run["name"]: run for run in json.loads(running.cli("report", job, "--json").stdout)["study"]["runs"]}
    for name in ("gptq/sampled/0", "again/sampled/0", "gptq/sampled/0/repeat"):
        assert "NaN" in runs[name]["error"] and "layers.2" in runs[name]["error"], runs[name]
        assert not runs[name]["evaluations"]
    assert "NaN" in runs["rtn/sampled/0"]["error"]


def test_numbers_that_break_while_the_model_writes_end_the_job(tmp_path, recipe_file):
    """Only the last stage sees the logits: the others wait for what it writes, and must not wait for ever."""
    broken = tmp_path / "broken"
    shutil.copytree(MODEL, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.2.self_attn.v_proj.weight"][0] = 3e38
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    text = study("[{name: wanda, steps: [{wanda: {}}]}]", draws=1)
    path = recipe_file(text.replace(f'text: {{uri: "{CALIBRATION}"}}', "self_generated: {}"))
    ended = calipress("run", broken, tmp_path / "out", "--recipe", path, "--workers", 2, "--threads-per-worker", 1, check=1,
                      timeout=120)
    assert "NaN" in ended.stderr, ended.stderr


def test_the_best_is_one_that_ended_well(tmp_path, recipe_file):
    """Inputs whose squares overflow: GPTQ fails in the middle stage, and what the last one measures meanwhile, with
    that stage's blocks as they were, would be the best figure of all."""
    scaled = tmp_path / "scaled"
    shutil.copytree(MODEL, scaled)
    weights = load_file(scaled / "model.safetensors")
    weights["model.layers.2.mlp.up_proj.weight"][0] *= 1e20
    weights["model.layers.2.mlp.down_proj.weight"][:, 0] *= 1e-20
    save_file(weights, scaled / "model.safetensors", metadata={"format": "pt"})
    methods = ("[{name: gptq, steps: [{gptq: {bits: 8, group_size: 64}}]}, "
               "{name: owl, steps: [{wanda: {sparsity: 0.5, owl: {}}}]}, "
               "{name: rtn, steps: [{rtn: {bits: 4, group_size: 64}}]}]")
    for keep, kept in (("best", "rtn/sampled/0"), ("gptq/sampled/0", None)):
        out = tmp_path / keep.replace("/", "-")
        path = recipe_file(study(methods, draws=1, more=f"  keep: {keep}\n").replace("scored_tokens: 128",
                                                                                    "scored_tokens: 0"))
        calipress("run", scaled, out, "--recipe", path, "--workers", 3, "--threads-per-worker", 1, check=0, timeout=120)
        told = report(out)
        assert "layers.2" in next(run for run in told["runs"] if run["name"] == "gptq/sampled/0")["error"]
        # Ratios are of all blocks: every stage hears that one has none.
        assert "outliers" in next(run for run in told["runs"] if run["name"] == "owl/sampled/0")["error"]
        assert told.get("kept", []) == [kept] * (kept is not None)
        assert (out / "config.json").exists() == (kept is not None)
        assert ("failed; it is not kept" in (out / "report.json").read_text()) == (kept is None)


def test_too_few_documents_for_a_draw(tmp_path, recipe_file):
    text = tmp_path / "short.jsonl"
    text.write_text("".join(json.dumps({"text": "a few words of text " * 20}) + "\n" for _ in range(3)))
    path = recipe_file(study("[{name: wanda, steps: [{wanda: {}}]}, {name: rtn, steps: [{rtn: {group_size: 64}}]}]",
                             draws=4).replace(str(CALIBRATION), str(text)))
    calipress("run", MODEL, tmp_path / "out", "--recipe", path, "--workers", 2, "--threads-per-worker", 1, check=0)
    told = {run["name"]: run for run in report(tmp_path / "out")["runs"]}
    assert "4 disjoint draws cannot share" in told["wanda/sampled/3"]["error"], told["wanda/sampled/3"]
    assert perplexity(told["rtn/sampled/3"]) > 1
    assert told["wanda/sampled/3"]["error_reason"] == "INVALID_CALIBRATION_DATA"


def test_a_study_of_nothing_but_failures_fails(tmp_path, recipe_file):
    text = tmp_path / "short.jsonl"
    text.write_text(json.dumps({"text": "a few words of text " * 20}) + "\n")
    path = recipe_file(study("[{name: wanda, steps: [{wanda: {}}]}]", draws=2).replace(str(CALIBRATION), str(text)))
    failed = calipress("run", MODEL, tmp_path / "out", "--recipe", path, "--threads-per-worker", 1)
    assert failed.returncode not in (0, 2), failed
    assert "none of the study's 3 runs ended well; wanda/sampled/0" in failed.stderr, failed.stderr
    assert "short.jsonl has 1 documents, which 2 disjoint draws cannot share" in failed.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["_calipress"]  # jobs.db alone: no table, no model


def test_finished_runs_survive_a_killed_worker(cluster, tmp_path, recipe_file):
    running = cluster()
    for name in ("w0", "w1"):
        running.add_worker(name)
    path = recipe_file(study(TWO, draws=5))
    job = json.loads(running.cli("submit", MODEL, tmp_path / "out", "--recipe", path, "--json").stdout)["name"]

    def told():
        return json.loads(running.cli("get", job, "--json").stdout)

    wait_for(lambda: told()["progress"].get("fraction", 0) > 0.4, 120, "some runs are done")
    running.workers["w1"].kill()
    running.add_worker("w2")
    wait_for(lambda: told()["state"] in ("SUCCEEDED", "FAILED"), 120, "the job ends")
    assert told()["state"] == "SUCCEEDED" and told()["attempts_lost"] == 1
    study_report = report(tmp_path / "out")
    assert len(study_report["runs"]) == 11 and study_report["repeat_equal"] is True
    begun = running.log("w0").count("run finished")
    assert 11 <= begun < 16, f"w0 did {begun} runs for 11: finished ones were done again"


def test_kept_runs_and_ids_survive_a_killed_worker(cluster, tmp_path, recipe_file):
    """Killed while the second of the kept runs is made: the first one is not made again, and the ids of the draws are
    not generated again."""
    running = cluster()
    for name in ("w0", "w1"):
        running.add_worker(name)
    methods = "[" + ", ".join(f"{{name: m{i}, steps: [{{gptq: {{group_size: 64}}}}]}}" for i in range(4)) + "]"
    path = recipe_file(study(methods, draws=1, more="  keep: best-of-each-method\n  repeat: false\n"))
    job = json.loads(running.cli("submit", MODEL, tmp_path / "out", "--recipe", path, "--json").stdout)["name"]

    def told():
        return json.loads(running.cli("get", job, "--json").stdout)

    wait_for(lambda: "run kept" in running.log("w1"), 120, "a run is kept")
    running.workers["w1"].kill()
    running.add_worker("w2")
    wait_for(lambda: told()["state"] in ("SUCCEEDED", "FAILED"), 120, "the job ends")
    assert told()["state"] == "SUCCEEDED" and told()["attempts_lost"] == 1
    assert sorted(entry.name for entry in (tmp_path / "out" / "runs").iterdir()) == [f"m{i}-sampled-0" for i in range(4)]
    assert len({digest(folder) for folder in (tmp_path / "out" / "runs").iterdir()}) == 1
    assert not (tmp_path / "out" / "_calipress").exists()


@pytest.mark.parametrize("wrong, field", [
    ("steps: [{rtn: {}}]", "recipe.steps"),
    ("sharding: samples", "recipe.sharding"),
])
def test_what_a_study_has_not(tmp_path, recipe_file, wrong, field):
    refused = calipress("run", MODEL, tmp_path / "out", "--recipe", recipe_file(study(TWO) + wrong + "\n"), check=2)
    assert field in refused.stderr


def test_violations_are_found_in_every_method_and_source(tmp_path, recipe_file):
    text = study("[{name: a, steps: [{gptq: {bits: 5}}]}, {name: a, steps: [{gptq: {group_size: 7}}]}]").replace(
        str(CALIBRATION), str(tmp_path / "absent.pdf"))
    refused = calipress("run", MODEL, tmp_path / "out", "--recipe", recipe_file(text), check=2)
    for field in ("study.methods[0].steps[0].gptq.bits", "study.methods[1].name",
                  "study.sources[0].sources[0].text.uri"):
        assert field in refused.stderr, refused.stderr
