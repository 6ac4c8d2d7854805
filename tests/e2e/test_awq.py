"""AWQ and SmoothQuant: what is folded into norms and neighbours is written with the codes, and loads as it is."""

import json

import pytest

from checkpoint_bytes import dequantized, digest, tensors
from conftest import MODEL, calipress, recipe
from load_checkpoint import check, load

AWQ = "awq: {bits: 4, group_size: 128}"
RTN = "rtn: {bits: 4, group_size: 128, symmetric: false}"


def run(folder, name, method, *args, **options):
    path = folder / f"{name}.yaml"
    path.write_text(recipe(samples=32, length=128, method=method, **options))
    calipress("run", MODEL, folder / name, "--recipe", path, "--threads-per-worker", 1, *args, check=0)
    return folder / name


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("awq")
    return {"awq": run(folder, "awq", AWQ, evaluate=True), "rtn": run(folder, "rtn", RTN, evaluate=True)}


def report(folder):
    return json.loads((folder / "report.json").read_text())


def logits(folder):
    import torch
    with torch.no_grad():
        return load(folder, torch.float32)(torch.arange(1, 129)[None]).logits


def test_perplexity_is_not_worse_than_round_to_nearest(results):
    awq, rtn = ({key: report(results[name])["evaluations"][0][key] for key in ("perplexity", "perplexity_original")}
                for name in ("awq", "rtn"))
    assert awq["perplexity_original"] == rtn["perplexity_original"]
    assert awq["perplexity"] <= rtn["perplexity"]
    assert report(results["awq"])["evaluations"][0]["kl_divergence"] < \
        report(results["rtn"])["evaluations"][0]["kl_divergence"]


def test_report_names_the_method_and_its_errors(results):
    linears = report(results["awq"])["linears"]
    assert len(linears) == 6 * 7
    assert {linear["method"] for linear in linears} == {"awq"}
    assert all(0 < linear["relative_error"] < 0.1 for linear in linears)


def test_norms_take_the_scales_that_the_weights_are_multiplied_with(results):
    import torch
    original, stored, dense = tensors(MODEL), tensors(results["awq"]), dequantized(results["awq"])
    folded = 0
    for block in range(6):
        for norm, linears in (("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
                              ("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj"))):
            name = f"model.layers.{block}.{norm}.weight"
            before, after = original[name].float(), stored[name].float()
            folded += not torch.equal(before, after)
            for linear in linears:
                module = f"model.layers.{block}.{linear}"
                weight = original[module + ".weight"].float()
                change = dense[module].float() * (after / before) - weight
                if linear == "mlp.up_proj":  # its rows take down_proj's scales
                    change = change[(change.norm(dim=1) < 0.3 * weight.norm(dim=1))]
                    assert len(change) > 0
                assert change.norm() < 0.2 * weight.norm(), module
    assert folded > 6
    # Grouped queries: no row of v_proj belongs to one channel of o_proj.
    assert json.loads((MODEL / "config.json").read_text())["num_key_value_heads"] == 4


def test_transformers_loads_it(results):
    check(results["awq"], MODEL)


def test_same_bytes_for_one_and_two_workers(results, tmp_path):
    assert digest(run(tmp_path, "two", AWQ, "--workers", 2, evaluate=True)) == digest(results["awq"])
    original = [run(tmp_path, str(workers), AWQ, "--workers", workers, extra="propagation: original")
                for workers in (1, 2)]
    assert digest(original[0]) == digest(original[1]) != digest(results["awq"])
    check(original[0], MODEL)


def test_smoothing_alone_computes_the_same(tmp_path):
    import torch
    out = run(tmp_path, "smooth", "smoothquant: {alpha: 0.5}")
    original, stored = tensors(MODEL), tensors(out)
    assert stored.keys() >= original.keys()
    changed = {name for name in original if not torch.equal(original[name], stored[name])}
    assert {name.split(".")[-2] for name in changed} == {"input_layernorm", "post_attention_layernorm", "q_proj", "k_proj",
                                                         "v_proj", "gate_proj", "up_proj"}
    assert "quantization_config" not in json.loads((out / "config.json").read_text())
    ours, theirs = logits(out), logits(MODEL)
    # Folded weights are rounded to bf16 again.
    assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_a_quantizer_follows_smoothquant(tmp_path):
    steps = "smoothquant: {alpha: 0.5}\n  - gptq: {bits: 8, group_size: -1}"
    digests = [digest(run(tmp_path, str(workers), steps, "--workers", workers, evaluate=True)) for workers in (1, 2)]
    assert digests[0] == digests[1]
    (text,) = report(tmp_path / "1")["evaluations"]
    assert 0.995 < text["perplexity"] / text["perplexity_original"] < 1.005
    assert {linear["method"] for linear in report(tmp_path / "1")["linears"]} == {"gptq"}
    check(tmp_path / "1", MODEL)


def test_pruned_weights_stay_zero(tmp_path):
    out = run(tmp_path, "pruned", "wanda: {pattern: \"2:4\"}\n  - " + AWQ)
    for weight in dequantized(out).values():
        assert ((weight.reshape(weight.shape[0], -1, 4) == 0).sum(-1) >= 2).all()


def test_an_order_within_blocks_is_refused_with_its_path(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe(method="smoothquant:\n  - gptq: {true_sequential: true}"))
    done = calipress("run", MODEL, tmp_path / "out", "--recipe", path)
    assert done.returncode != 0
    assert "steps[1].gptq.true_sequential" in done.stdout + done.stderr
