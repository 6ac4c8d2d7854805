"""`calipress run` with DSnoT: masks by an independent transcription, exact sparsity, the same bytes from two workers."""

import json

import numpy as np
import pytest

from checkpoint_bytes import digest
from conftest import HELDOUT, MODEL, calipress

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
SHARE = 0.6


@pytest.fixture(scope="module")
def ids(tmp_path_factory):
    """16 sequences of 128 ids, written as the file that jobs read."""
    from transformers import AutoTokenizer
    text = "\n".join(json.loads(line)["text"] for line in HELDOUT.read_text().splitlines()[:400])
    tokens = AutoTokenizer.from_pretrained(MODEL)(text)["input_ids"]
    array = np.array(tokens[:16 * 128], dtype=np.int32).reshape(16, 128)
    path = tmp_path_factory.mktemp("ids") / "ids.npy"
    np.save(path, array)
    return path


def run(folder, ids, name, *args, options=()):
    sets = [item for option in options for item in ("--set", f"steps[0].dsnot.{option}")]
    calipress("run", MODEL, folder / name, "--recipe", "dsnot-60", "--set", "calibration.samples=16",
              "--set", f"calibration.sources[0].token_ids.uri={ids}", *sets, "--threads-per-worker", 1, *args, check=0)
    return folder / name


@pytest.fixture(scope="module")
def results(ids, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dsnot")
    return {"dsnot": run(folder, ids, "dsnot"),
            "wanda": run(folder, ids, "wanda", options=["max_cycles=0"]),
            "all": run(folder, ids, "all", options=["layers=all"])}


def weights(folder):
    import torch
    from safetensors import safe_open
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors.update({name: file.get_tensor(name).to(torch.float32) for name in file.keys()})
    return tensors


def is_linear(name):
    return name.endswith("_proj.weight")


def test_sparsity_is_exact_in_every_row_and_other_weights_stay(results):
    original = weights(MODEL)
    report = json.loads((results["dsnot"] / "report.json").read_text())
    shares = {linear["name"]: linear["sparsity"] for linear in report["linears"]}
    for result in results.values():
        tensors = weights(result)
        assert tensors.keys() >= {name for name in original if is_linear(name)}
        for name, tensor in tensors.items():
            zeros = int(tensor.shape[-1] * SHARE)
            if not is_linear(name):
                assert tensor.equal(original[name]), name
                continue
            # The model's own zeros are pruned first.
            assert (tensor == 0).sum(1).eq(zeros).all(), name
            assert tensor[tensor != 0].equal(original[name][tensor != 0]), name
            assert abs(shares[name.removesuffix(".weight")] - zeros / tensor.shape[1]) < 1e-6
        assert "quantization_config" not in json.loads((result / "config.json").read_text())


def statistics(ids):
    """Per linear of block 0, from an fp32 copy by transformers: s, var and the square sums of its input."""
    import torch
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    inputs = {}
    for name, module in model.model.layers[0].named_modules():
        if name.endswith("_proj"):
            # A hook's answer would take the place of the output.
            module.register_forward_hook(lambda _, args, __, name=name: inputs.update({name: args[0].double()}))
    with torch.no_grad():
        model(torch.from_numpy(np.load(ids)).long())
    return {name: ((x.sum(1).mean(0)).numpy(), x.var(1, unbiased=False).mean(0).numpy(), (x * x).sum((0, 1)).numpy())
            for name, x in inputs.items()}


def transcribed(weight, mean_sum, variance, square_sum, swaps):
    """The mask of one row, from the description of the method (methods.md 7.5) and nothing else."""
    contribution, metric = weight * mean_sum, np.abs(weight) * np.sqrt(square_sum)
    pruned = np.zeros(len(weight), dtype=bool)
    pruned[np.argsort(metric, kind="stable")[:int(len(weight) * SHARE)]] = True
    if not swaps:
        return pruned
    error = contribution[pruned].sum()
    score = contribution / variance
    grow = {1: [j for j in np.argsort(-score) if pruned[j] and contribution[j] > 0],
            -1: [j for j in np.argsort(score) if pruned[j] and contribution[j] < 0]}
    prune = {sign: [j for j in np.argsort(metric) if not pruned[j] and contribution[j] * sign < 0] for sign in (1, -1)}
    for _ in range(50):
        sign = 1 if error > 0 else -1
        if abs(error) <= 0.1 or not grow[sign] or not prune[sign]:
            break
        back, gone = grow[sign].pop(0), prune[sign].pop(0)
        pruned[back], pruned[gone] = False, True
        error += contribution[gone] - contribution[back]
    return pruned


def test_masks_are_those_of_a_transcription(results, ids):
    original, result, wanda = weights(MODEL), weights(results["dsnot"]), weights(results["wanda"])
    for role, (mean_sum, variance, square_sum) in statistics(ids).items():
        name = f"model.layers.0.{role}.weight"
        refined = role.split(".")[-1] in ATTENTION
        rows = original[name].double().numpy()
        masks = np.stack([transcribed(row, mean_sum, variance, square_sum, refined) for row in rows])
        found = (result[name] == 0).numpy()
        agreement = (masks == found).mean()
        # Activations in bf16 against fp32: near-ties fall to either side.
        assert agreement > 0.985, f"{name}: {agreement}"
        moved = ((wanda[name] == 0).numpy() != found).mean()
        assert moved == 0 if not refined else 1 - agreement < moved / 4, f"{name}: {agreement}, {moved}"


def test_mlp_linears_alone_differ_with_layers_all(results):
    refined, everything = weights(results["dsnot"]), weights(results["all"])
    names = [name for name in refined if is_linear(name) and name.startswith("model.layers.0.")]
    differ = {name.split(".")[-2] for name in names if not refined[name].equal(everything[name])}
    # Later blocks see the outputs of other mlps.
    assert differ == {"gate_proj", "up_proj", "down_proj"}


def test_two_workers_write_the_same_bytes(results, ids, tmp_path):
    two = run(tmp_path, ids, "two", "--workers", 2)
    assert digest(two) == digest(results["dsnot"])
    # What concerns the job is said once, not by each worker.
    warnings = json.loads((two / "report.json").read_text())["warnings"]
    assert sum("zeros of dense tensors" in warning for warning in warnings) == 1


def test_swaps_lessen_what_pruning_costs_in_expectation(results, ids):
    original, result, wanda = weights(MODEL), weights(results["dsnot"]), weights(results["wanda"])
    for role, (mean_sum, _, _) in statistics(ids).items():
        if role.split(".")[-1] not in ATTENTION:
            continue
        name = f"model.layers.0.{role}.weight"
        before, after = (np.abs((original[name] - pruned[name]).double().numpy() @ mean_sum)
                         for pruned in (wanda, result))
        # Rows below the threshold are done from the start.
        rows = before > 0.11
        assert rows.any() and after[rows].mean() < 0.7 * before[rows].mean(), name


def test_a_pattern_leaves_exact_runs(ids, tmp_path):
    path = tmp_path / "pattern.yaml"
    path.write_text("calibration: {samples: 16}\nsteps:\n  - dsnot: {pattern: '2:4'}\n")
    calipress("run", MODEL, tmp_path / "out", "--recipe", path, "--set",
              f"calibration.sources[0].token_ids.uri={ids}", "--threads-per-worker", 1, check=0)
    for name, tensor in weights(tmp_path / "out").items():
        if is_linear(name):
            assert (tensor.view(tensor.shape[0], -1, 4) == 0).sum(2).eq(2).all(), name
