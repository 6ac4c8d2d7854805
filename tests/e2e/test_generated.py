"""Jobs whose calibration text the model writes itself, over real processes."""

import json

import numpy as np
import pytest

from checkpoint_bytes import digest
from conftest import CALIBRATION, HELDOUT, MODEL, calipress, wait_for


def generated(source, samples=8, length=64, extra=""):
    return f"""
calibration: {{sources: [{{{source}}}], samples: {samples}, sequence_length: {length}, seed: 3}}
steps: [{{gptq: {{bits: 4, group_size: 128}}}}]
evaluation: {{perplexity: [{{name: heldout, uri: "{HELDOUT}", sequence_length: 128, max_windows: 20}}]}}
{extra}
"""


def run(out, path, workers=1, check=0):
    result = calipress("run", MODEL, out, "--recipe", path, "--workers", workers, "--threads-per-worker", 1,
                       check=check)
    return json.loads((out / "report.json").read_text()) if check == 0 else result.stderr + result.stdout


SELF = "self_generated: {first_tokens: stop_words}"
PREFIX = f"prefix_generated: {{prefixes: {{uri: '{CALIBRATION}'}}, prefix_tokens: 4, max_new_tokens: 40}}"


@pytest.mark.parametrize("source", [SELF, PREFIX], ids=["self", "prefix"])
def test_same_bytes_for_any_number_of_workers(tmp_path, recipe_file, source):
    path = recipe_file(generated(source))
    reports = {workers: run(tmp_path / f"w{workers}", path, workers) for workers in (1, 3)}
    ids = np.load(tmp_path / "w1" / "calibration_ids.npy")
    assert ids.shape == (8, 64)
    for workers, report in reports.items():
        calibration = report["calibration"]
        assert int(calibration["generated_tokens"]) > 0
        assert calibration["generation_seconds"] > 0
        assert calibration["fingerprint"] == reports[1]["calibration"]["fingerprint"]
        before, after = (report["evaluations"][0][key] for key in ("perplexity_original", "perplexity"))
        assert after < 1.3 * before, "calibrated on text that is none of the model's"
    assert digest(tmp_path / "w3") == digest(tmp_path / "w1")
    if source == SELF:
        assert (ids[:, 0] == 1).all()
        assert int(reports[1]["calibration"]["generated_tokens"]) >= 8 * 63 - (ids[:, 1:] == 1).sum()


def test_replicas_write_the_same_text(tmp_path, recipe_file):
    fingerprints = set()
    for workers in (1, 2):
        path = recipe_file(generated(SELF, samples=40, length=32, extra="sharding: samples"))
        fingerprints.add(run(tmp_path / f"w{workers}", path, workers)["calibration"]["fingerprint"])
    assert len(fingerprints) == 1


def test_few_sequences_are_the_first_of_many(tmp_path, recipe_file):
    ids = {}
    for samples in (8, 64):
        run(tmp_path / f"s{samples}", recipe_file(generated(SELF, samples=samples, length=32)))
        ids[samples] = np.load(tmp_path / f"s{samples}" / "calibration_ids.npy")
    np.testing.assert_array_equal(ids[8], ids[64][:8])


def state(cluster, job):
    return json.loads(cluster.cli("get", job, "--json").stdout)


def submit(cluster, out, path):
    return json.loads(cluster.cli("submit", MODEL, out, "--recipe", path, "--json").stdout)["name"]


def writing(cluster, job):
    return "writing calibration text" in json.dumps(state(cluster, job).get("progress", {}))


def test_worker_killed_while_it_writes(cluster, tmp_path, recipe_file):
    path = recipe_file(generated("self_generated: {}", samples=128, length=96))
    run(tmp_path / "quiet", path)
    running = cluster()
    running.add_worker("w0")
    running.add_worker("w1")
    job = submit(running, tmp_path / "out", path)
    wait_for(lambda: writing(running, job), what="the model writes")
    running.workers["w1"].kill()
    wait_for(lambda: state(running, job)["state"] in ("SUCCEEDED", "FAILED"), 120, "the job ends")
    told = state(running, job)
    assert told["state"] == "SUCCEEDED", told
    assert told["attempts_lost"] == 1
    assert digest(tmp_path / "out") == digest(tmp_path / "quiet")


def test_cancelled_while_it_writes(cluster, tmp_path, recipe_file):
    running = cluster()
    running.add_worker("w0")
    running.add_worker("w1")
    job = submit(running, tmp_path / "out", recipe_file(generated("self_generated: {}", samples=2000, length=256)))
    wait_for(lambda: writing(running, job), what="the model writes")
    running.cli("cancel", job)
    wait_for(lambda: state(running, job)["state"] == "CANCELLED", 30, "the job is cancelled")
    wait_for(lambda: running.cli("workers").stdout.count("IDLE") == 2, 30, "the workers are idle again")


def test_errors_name_the_source(tmp_path, recipe_file, model_copy):
    assert "recipe.calibration.sources[0].self_generated.top_p" in run(
        tmp_path / "out", recipe_file(generated("self_generated: {top_p: 2}")), check=2)
    for name in ("config.json", "generation_config.json"):
        config = json.loads((model_copy / name).read_text())
        config.pop("bos_token_id")
        (model_copy / name).write_text(json.dumps(config))
    result = calipress("run", model_copy, tmp_path / "out", "--recipe", recipe_file(generated("self_generated: {}")),
                       "--workers", 2, "--threads-per-worker", 1)
    assert result.returncode == 2
    assert "recipe.calibration.sources[0].self_generated" in result.stdout + result.stderr
    assert "bos_token_id" in result.stdout + result.stderr
