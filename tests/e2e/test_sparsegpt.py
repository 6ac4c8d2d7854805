"""SparseGPT, alone and quantizing in the same sweep: sparsities, perplexity beside Wanda's, and what reads the result."""

import json

import pytest

from checkpoint_bytes import dequantized, digest, tensors
from conftest import CALIBRATION, HELDOUT, MODEL, calipress
from load_checkpoint import check, load_dense

SETS = ["calibration.samples=32", "calibration.sequence_length=128", "evaluation.perplexity[0].name=heldout",
        f"evaluation.perplexity[0].uri={HELDOUT}", "evaluation.perplexity[0].sequence_length=128",
        "evaluation.perplexity[0].max_windows=40"]
JOINT = "steps: [{sparsegpt: {pattern: '2:4', quantize: {bits: 4, group_size: 64}}}]\n"


def run(out, recipe, *args, sets=()):
    options = [item for one in [*SETS, *sets] for item in ("--set", one)]
    calipress("run", MODEL, out, "--recipe", recipe, "--calibration", CALIBRATION, *options, "--threads-per-worker", 1,
              *args, check=0)
    return out


def joint_recipe(folder):
    path = folder / "joint.yaml"
    path.write_text(JOINT)
    return path


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sparsegpt")
    named = {name: run(folder / name, name) for name in ("sparsegpt-50", "sparsegpt-2of4", "wanda-50", "wanda-2of4")}
    return {**named, "joint": run(folder / "joint", joint_recipe(folder))}


def report(folder):
    return json.loads((folder / "report.json").read_text())


def linears(folder):
    return {name: tensor for name, tensor in tensors(folder).items() if name.endswith("_proj.weight")}


def perplexity(folder):
    measured = report(folder)["evaluations"][0]
    return measured["perplexity"], measured["perplexity_original"]


def test_every_panel_has_the_sparsity(results):
    pruned = linears(results["sparsegpt-50"])
    assert pruned
    for name, weight in pruned.items():
        for panel in weight.split(128, dim=1):
            assert (panel == 0).sum() >= panel.numel() // 2, name
        # The model has few zeros of its own, and dead columns.
        assert (weight == 0).float().mean() < 0.51, name
    assert [linear["sparsity"] for linear in report(results["sparsegpt-50"])["linears"]] == pytest.approx(
        [0.5] * len(pruned), abs=1e-4)


def test_every_run_has_its_zeros(results):
    for weight in [*linears(results["sparsegpt-2of4"]).values(), *dequantized(results["joint"]).values()]:
        assert ((weight.reshape(weight.shape[0], -1, 4) == 0).sum(-1) >= 2).all()


def test_what_is_kept_has_changed(results):
    original = linears(MODEL)
    for name, weight in linears(results["sparsegpt-50"]).items():
        kept = weight != 0
        assert (weight[kept] != original[name][kept]).float().mean() > 0.2, name


def test_perplexity_is_below_wandas(results):
    for preset in ("50", "2of4"):
        sparsegpt, dense = perplexity(results[f"sparsegpt-{preset}"])
        wanda, _ = perplexity(results[f"wanda-{preset}"])
        assert dense < sparsegpt < wanda, preset


def test_joint_result_is_quantized_and_loads(results):
    told = report(results["joint"])
    assert {linear["method"] for linear in told["linears"]} == {"sparsegpt"}
    assert {linear["sparsity"] for linear in told["linears"]} == {0.5}
    assert perplexity(results["joint"])[0] < 1.5 * perplexity(results["sparsegpt-2of4"])[0]
    check(results["joint"], MODEL)


def test_transformers_loads_the_dense_result(results):
    load_dense(results["sparsegpt-50"])


def test_eval_tells_what_the_job_told(results):
    done = calipress("eval", results["sparsegpt-50"], "--text", HELDOUT, "--seqlen", 128, "--max-windows", 40, "--json",
                     check=0)
    told = json.loads(done.stdout.strip().splitlines()[-1])["evaluations"][0]
    assert told["perplexity"] == pytest.approx(perplexity(results["sparsegpt-50"])[0], rel=1e-3)


@pytest.mark.parametrize("name", ["sparsegpt-50", "sparsegpt-2of4", "joint"])
def test_two_workers_write_the_same_bytes(results, tmp_path, name):
    recipe = joint_recipe(tmp_path) if name == "joint" else name
    assert digest(run(tmp_path / "two", recipe, "--workers", 2)) == digest(results[name])


def test_whole_blocks_at_once_are_another_result(results, tmp_path):
    at_once = run(tmp_path / "out", "sparsegpt-50", sets=["steps[0].sparsegpt.true_sequential=false"])
    before, after = linears(results["sparsegpt-50"]), linears(at_once)
    differ = {name.split(".")[-2] for name in before if name.startswith("model.layers.0.")
              and not before[name].equal(after[name])}
    # {q, k, v} come first in either order.
    assert differ and not differ & {"q_proj", "k_proj", "v_proj"}
    assert perplexity(at_once)[0] == pytest.approx(perplexity(results["sparsegpt-50"])[0], rel=0.1)


def test_a_quantizing_step_on_a_joint_sweep_is_refused_with_its_path(tmp_path):
    path = tmp_path / "both.yaml"
    path.write_text("steps: [{sparsegpt: {quantize: {group_size: 64}}}, {gptq: {group_size: 64}}]\n")
    done = calipress("run", MODEL, tmp_path / "out", "--recipe", path, "--calibration", CALIBRATION)
    assert done.returncode != 0
    assert "steps[0].sparsegpt.quantize" in done.stdout + done.stderr
