"""Formats beyond pack-quantized: integers and E4M3 by channel, tensor and block, with and without rounded activations."""

import json
import shutil

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from checkpoint_bytes import dequantized, digest, tensors
from conftest import HELDOUT, MODEL, calipress, recipe
from load_checkpoint import check
from loading import VERSIONS, check_under, own_logits

# name -> method, format.
CASES = {
    "int8-channel-dynamic": ("rtn: {bits: 8, activations: dynamic}", "int-quantized"),
    "int8-tensor-static": ("gptq: {bits: 8, strategy: tensor, activations: static}", "int-quantized"),
    "int8-asymmetric": ("rtn: {bits: 8, symmetric: false, activations: dynamic}", "int-quantized"),
    "int4-dynamic": ("gptq: {bits: 4, group_size: 64, activations: dynamic, observer: mse}", "int-quantized"),
    "fp8-dynamic": ("rtn: {type: float, activations: dynamic}", "float-quantized"),
    "fp8-tensor-static": ("gptq: {type: float, strategy: tensor, activations: static}", "float-quantized"),
    "fp8-block": ("gptq: {type: float, strategy: block, activations: dynamic}", "float-quantized"),
    "fp8-weights": ("rtn: {type: float, observer: mse}", "naive-quantized"),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Runs a case once, in one worker, with an evaluation; by name."""
    folder = tmp_path_factory.mktemp("grids")
    done = {}

    def run(name):
        if name not in done:
            path = folder / f"{name}.yaml"
            path.write_text(recipe(samples=16, evaluate=True, method=CASES[name][0]))
            calipress("run", MODEL, folder / name, "--recipe", path, "--threads-per-worker", 1, check=0)
            done[name] = folder / name
        return done[name]

    return run


@pytest.mark.parametrize("version", VERSIONS)
def test_transformers_loads_them_and_computes_the_same(results, tmp_path, version):
    check_under(version, *[(results(name), *own_logits(results(name), tmp_path)) for name in CASES])


@pytest.mark.parametrize("name", CASES)
def test_format_dtypes_and_report(results, name):
    out = results(name)
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    assert config["format"] == CASES[name][1] == config["config_groups"]["group_0"]["format"]
    stored = tensors(out)
    floats = "fp8" in name
    for module in dequantized(out):
        assert stored[module + ".weight"].dtype == (torch.float8_e4m3fn if floats else torch.int8)
        assert stored[module + ".weight_scale"].dtype == torch.bfloat16
        assert (module + ".weight_zero_point" in stored) == ("asymmetric" in name)
        assert (module + ".input_scale" in stored) == ("static" in name)
    report = json.loads((out / "report.json").read_text())
    (text,) = report["evaluations"]
    print(name, text["perplexity_original"], text["perplexity"], text["kl_divergence"])
    # Measured: 21.84 before; int8 by channel 21.87, by tensor with static inputs 22.27, 4 bits 22.38.
    limit = 1.1 if "int4" in name else 1.04 if "static" in name else 1.02
    assert text["perplexity"] / text["perplexity_original"] < limit
    assert 0 < text["kl_divergence"] < 0.2


@pytest.mark.parametrize("name", ["int8-channel-dynamic", "fp8-tensor-static"])
def test_eval_rounds_inputs_as_the_job_did(results, name):
    out = results(name)
    report = json.loads((out / "report.json").read_text())["evaluations"][0]
    done = calipress("eval", out, "--text", HELDOUT, "--reference", MODEL, "--seqlen", 128, "--json", check=0)
    measured = json.loads(done.stdout)["evaluations"][0]
    for key in ("perplexity", "perplexity_original", "kl_divergence"):
        assert measured[key] == pytest.approx(report[key], rel=1e-6), key


@pytest.mark.parametrize("name", ["int8-channel-dynamic", "fp8-dynamic"])
def test_rounded_inputs_cost_something(results, tmp_path, recipe_file, name):
    """The same weights without rounded inputs evaluate otherwise."""
    method = CASES[name][0].replace(", activations: dynamic", ", strategy: channel")
    calipress("run", MODEL, tmp_path / "out", "--recipe", recipe_file(evaluate=True, method=method),
              "--threads-per-worker", 1, check=0)
    weights, with_inputs = dequantized(tmp_path / "out"), dequantized(results(name))
    assert all(torch.equal(weights[module], with_inputs[module]) for module in with_inputs)
    kl = [json.loads((folder / "report.json").read_text())["evaluations"][0]["kl_divergence"]
          for folder in (tmp_path / "out", results(name))]
    assert kl[0] < kl[1]


def test_fused_linears_share_an_input_scale(results):
    stored = tensors(results("int8-tensor-static"))
    for fused in (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), ("mlp.gate_proj", "mlp.up_proj")):
        for block in range(6):
            scales = {stored[f"model.layers.{block}.{module}.input_scale"].item() for module in fused}
            assert len(scales) == 1 and scales.pop() > 0


@pytest.mark.parametrize("name", ["int8-tensor-static", "fp8-block", "int4-dynamic"])
def test_same_bytes_for_one_and_two_workers(tmp_path, recipe_file, name):
    path = recipe_file(samples=8, method=CASES[name][0])
    digests = set()
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        calipress("run", MODEL, out, "--recipe", path, "--workers", workers, "--threads-per-worker", 1, check=0)
        digests.add(digest(out))
    assert len(digests) == 1


def test_dense_output_holds_the_same_weights(results, tmp_path, recipe_file):
    text = recipe(samples=16, method=CASES["fp8-block"][0]).replace("compressed-tensors", "dense")
    calipress("run", MODEL, tmp_path / "out", "--recipe", recipe_file(text), "--threads-per-worker", 1, check=0)
    dense = tensors(tmp_path / "out")
    for module, weight in dequantized(results("fp8-block")).items():
        assert torch.equal(dense[module + ".weight"], weight)
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())
    warnings = json.loads((tmp_path / "out" / "report.json").read_text())["warnings"]
    assert any("activations are quantized neither" in warning for warning in warnings)


def test_mixed_formats_load(tmp_path, recipe_file):
    text = recipe(samples=8).replace("- gptq: {bits: 4, group_size: 128}",
                                     '- gptq: {bits: 4, group_size: 128}\n    targets: ["re:.*self_attn"]\n'
                                     '  - rtn: {type: float, activations: dynamic}\n    targets: ["re:.*mlp"]')
    calipress("run", MODEL, tmp_path / "out", "--recipe", recipe_file(text), check=0)
    config = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert config["format"] == "mixed-precision" and len(config["config_groups"]) == 2
    check(tmp_path / "out", MODEL, *own_logits(tmp_path / "out", tmp_path))


def test_blocks_may_end_within_a_linear(tmp_path, recipe_file):
    """192 outputs of k and v are a block and a half; compressed-tensors reads them from 0.19 on, and the report says so."""
    config = LlamaConfig(vocab_size=4096, hidden_size=256, intermediate_size=384, num_hidden_layers=2, head_dim=48,
                         num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=256,
                         tie_word_embeddings=True, initializer_range=0.2, bos_token_id=1, eos_token_id=2)
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MODEL / name, tmp_path / "model" / name)
    path = recipe_file(samples=8, method=CASES["fp8-block"][0])
    calipress("run", tmp_path / "model", tmp_path / "out", "--recipe", path, "--threads-per-worker", 1, check=0)
    assert tensors(tmp_path / "out")["model.layers.0.self_attn.k_proj.weight_scale"].shape == (2, 2)
    check(tmp_path / "out", tmp_path / "model", *own_logits(tmp_path / "out", tmp_path))
    calipress("convert", tmp_path / "out", tmp_path / "dense", "--format", "dense", check=0)
    dense = tensors(tmp_path / "dense")
    for module, weight in dequantized(tmp_path / "out").items():
        assert torch.equal(dense[module + ".weight"], weight), module
    warnings = json.loads((tmp_path / "out" / "report.json").read_text())["warnings"]
    for says in ("0.18.0 and earlier", "vLLM refuses blocks of 128 x 128 that cut the 192 outputs"):
        assert any(says in warning for warning in warnings), warnings


@pytest.mark.parametrize("method, field", [
    ("rtn: {type: float, bits: 4}", "steps[0].rtn.bits"),
    ("rtn: {bits: 8, activations: static}", "calibration.sources"),
    ("rtn: {strategy: block}", "steps[0].rtn.strategy"),
])
def test_refusals_name_their_field(tmp_path, recipe_file, method, field):
    done = calipress("run", MODEL, tmp_path / "out", "--recipe", recipe_file(f"steps: [{{{method}}}]\n"))
    assert done.returncode != 0 and field in done.stdout + done.stderr
