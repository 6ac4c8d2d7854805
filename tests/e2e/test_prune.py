"""Magnitude and Wanda, alone and under GPTQ: exact sparsities in what is written, and what reads it."""

import json

import pytest

from checkpoint_bytes import dequantized, digest, tensors
from conftest import CALIBRATION, MODEL, calipress, recipe
from load_checkpoint import check, load_dense

PRESETS = ["wanda-50", "wanda-2of4", "sparse24-w4a16"]


def run(out, *args, check=0):
    return calipress("run", MODEL, out, *args, "--threads-per-worker", 1, check=check)


def run_preset(out, preset, *args):
    return run(out, "--recipe", preset, "--calibration", CALIBRATION, "--set", "calibration.samples=16", "--set",
               "calibration.sequence_length=128", *args)


def dense_linears(folder):
    return {name.removesuffix(".weight"): tensor for name, tensor in tensors(folder).items()
            if name.endswith("_proj.weight")}


def sparsities(folder):
    return [linear["sparsity"] for linear in json.loads((folder / "report.json").read_text())["linears"]]


def assert_runs(weight, zeros, of):
    assert ((weight.reshape(weight.shape[0], -1, of) == 0).sum(-1) >= zeros).all()


def test_wanda_halves_every_row(tmp_path):
    run_preset(tmp_path / "out", "wanda-50")
    original, pruned = dense_linears(MODEL), dense_linears(tmp_path / "out")
    assert pruned.keys() == original.keys() and pruned
    for module, weight in pruned.items():
        zeros = weight == 0
        assert (zeros.sum(1) == weight.shape[1] // 2).all(), module
        assert (weight[~zeros] == original[module][~zeros]).all(), module
    assert sparsities(tmp_path / "out") == pytest.approx([0.5] * len(pruned))
    load_dense(tmp_path / "out")


def test_wanda_has_two_of_four(tmp_path):
    run_preset(tmp_path / "out", "wanda-2of4")
    for weight in dense_linears(tmp_path / "out").values():
        assert_runs(weight, 2, 4)
    assert set(sparsities(tmp_path / "out")) == {0.5}
    load_dense(tmp_path / "out")


def test_magnitude_needs_no_text(tmp_path, recipe_file):
    run(tmp_path / "out", "--recipe", recipe_file("steps: [{magnitude: {sparsity: 0.25}}]\n"))
    for weight in dense_linears(tmp_path / "out").values():
        assert (weight == 0).sum() == weight.numel() // 4


def test_zeros_stay_under_gptq(tmp_path):
    run_preset(tmp_path / "out", "sparse24-w4a16")
    weights = dequantized(tmp_path / "out")
    assert weights
    for weight in weights.values():
        assert_runs(weight, 2, 4)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {linear["method"] for linear in report["linears"]} == {"wanda + gptq"}
    assert set(sparsities(tmp_path / "out")) == {0.5}
    check(tmp_path / "out", MODEL)


@pytest.mark.parametrize("preset", PRESETS)
def test_same_bytes_for_one_and_two_workers(tmp_path, preset):
    digests = set()
    for workers in (1, 2):
        run_preset(tmp_path / str(workers), preset, "--workers", workers)
        digests.add(digest(tmp_path / str(workers)))
    assert len(digests) == 1


def test_patterns_that_do_not_fit_are_refused_with_their_path(tmp_path, recipe_file):
    done = run(tmp_path / "out", "--recipe", recipe_file(samples=4, method='wanda: {pattern: "3:7"}'), check=None)
    assert done.returncode != 0
    assert "steps[0].wanda.pattern" in done.stdout + done.stderr
