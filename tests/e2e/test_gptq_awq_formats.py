"""The gptq and awq outputs, `inspect` and `convert`, by readers that know nothing of calipress."""

import importlib.util
import json

import numpy as np
import pytest

import gptq_awq_unpack
from checkpoint_bytes import dequantized, digest
from conftest import HELDOUT, MODEL, calipress, recipe
from spqr_unpack import read_tensors, to_float

WINDOWS = 24  # of 128 tokens, to measure on
# output.format: options of the step that quantizes.
CASES = {"gptq-4": ("gptq", "gptq: {bits: 4, group_size: 64}"),
         "gptq-8": ("gptq", "rtn: {bits: 8, group_size: -1}"),
         "awq-symmetric": ("awq", "gptq: {bits: 4, group_size: 64}"),
         "awq-asymmetric": ("awq", "gptq: {bits: 4, group_size: 32, symmetric: false}")}


def run(folder, name, output_format, method, *args, evaluate=False, model=MODEL, check=0):
    path = folder / f"{name}.yaml"
    text = recipe(samples=8, method=method, evaluate=evaluate).replace("compressed-tensors", output_format)
    path.write_text(text.replace(f'uri: "{HELDOUT}"', f'uri: "{HELDOUT}", max_windows: {WINDOWS}'))
    done = calipress("run", model, folder / name, "--recipe", path, "--threads-per-worker", 1, *args, check=check)
    return folder / name if check == 0 else done


def convert(source, output, output_format):
    calipress("convert", source, output, "--format", output_format, check=0)
    return output


def inspect(folder, *args):
    return json.loads(calipress("inspect", folder, "--json", *args, check=0).stdout)


def perplexity(folder):
    done = calipress("eval", folder, "--text", HELDOUT, "--seqlen", 128, "--max-windows", WINDOWS, "--json", check=0)
    return json.loads(done.stdout)["evaluations"][0]["perplexity"]


@pytest.fixture(scope="module", params=CASES)
def result(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return run(folder, "out", *CASES[request.param], evaluate=True), CASES[request.param][0]


def test_layout_and_labels(result):
    folder, output_format = result
    config = json.loads((folder / "config.json").read_text())
    entry = config["quantization_config"]
    assert config.get("dtype", config.get("torch_dtype")) == "float16"
    assert entry["quant_method"] == output_format
    tensors = read_tensors(folder)
    # Nothing but F16 and packed words; the parts of every linear, and no dense copy.
    assert {dtype for dtype, _ in tensors.values()} == {"F16", "I32"}
    modules = [name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")]
    assert len(modules) == 6 * 7
    for module in modules:
        parts = {name.rsplit(".", 1)[1] for name in tensors if name.startswith(module + ".")}
        assert parts == {"qweight", "qzeros", "scales"} | ({"g_idx"} if output_format == "gptq" else set())
    zeros = {int(word) for module in modules for word in tensors[f"{module}.qzeros"][1].flatten()}
    if output_format == "gptq":
        assert entry["checkpoint_format"] == "gptq" and entry["sym"] is True and entry["desc_act"] is False
        assert zeros == {0x77777777 if entry["bits"] == 4 else 0x7F7F7F7F}
        assert json.loads((folder / "quantize_config.json").read_text()) == entry
    else:
        assert entry["version"] == "gemm" and entry["zero_point"] is True
        assert entry["modules_to_not_convert"] == ["lm_head"]


def test_independent_reader_gets_the_weights(result, tmp_path):
    folder, _ = result
    unpacked = gptq_awq_unpack.unpack_checkpoint(folder)
    dense = read_tensors(convert(folder, tmp_path / "dense", "dense"))
    assert len(unpacked) == 6 * 7
    original = read_tensors(MODEL)
    for name, bits in unpacked.items():
        assert dense[name][0] == "F16"
        assert np.array_equal(dense[name][1].view(np.uint16), bits), name
        # They are near what they were made of.
        wanted = to_float(*original[name])
        error = np.linalg.norm(bits.view(np.float16).astype(np.float32) - wanted) / np.linalg.norm(wanted)
        assert error < 0.4, (name, error)
    # What is no codes is the source's, rounded to F16.
    for name, (dtype, array) in dense.items():
        if name not in unpacked:
            assert np.array_equal(array.view(np.float16), to_float(*original[name]).astype(np.float16)), name


def test_same_codes_elsewhere_measure_the_same(result, tmp_path):
    folder, output_format = result
    report = json.loads((folder / "report.json").read_text())["evaluations"][0]
    measured = perplexity(folder)
    assert measured == pytest.approx(report["perplexity"], rel=1e-6)
    assert 0.995 < report["perplexity"] / report["perplexity_original"] < 1.1
    other = convert(folder, tmp_path / "ct", "compressed-tensors")
    assert perplexity(other) == measured
    # An independent reader of that one gets the same weights, too.
    unpacked = gptq_awq_unpack.unpack_checkpoint(folder)
    for module, weight in dequantized(other).items():
        assert np.array_equal(weight.numpy().view(np.uint16), unpacked[f"{module}.weight"]), module
    assert digest(convert(other, tmp_path / "back", output_format)) == weights_digest(folder, tmp_path)


def weights_digest(folder, tmp_path):
    """Of what a conversion writes: all but the recipe and the calibration tokens."""
    besides = ("recipe.yaml", "replay.yaml", "report.json", "report.html", "calibration_ids.npy")
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        if path.is_file() and path.name not in besides:
            (copy / path.name).write_bytes(path.read_bytes())
    return digest(copy)


def test_inspect_tells_what_it_is(result):
    folder, output_format = result
    found = inspect(folder)
    assert found["format"] == output_format and found["dtype"] == "F16" and found["blocks"] == 6
    assert len(found["linears"]) == 6 * 7
    entry = gptq_awq_unpack.config_of(folder)
    tensors = read_tensors(folder)
    for linear in found["linears"]:
        stored = sum(array.nbytes for name, (_, array) in tensors.items()
                     if name.startswith(linear["name"] + ".") and not name.endswith(".bias"))
        assert linear["bytes"] == stored
        assert linear["bits_per_weight"] == pytest.approx(8 * stored / (linear["out"] * linear["in"]))
        assert linear["scheme"].startswith(f"int{entry['bits']} ")
    unpacked = gptq_awq_unpack.unpack_checkpoint(folder)
    for linear in found["linears"]:
        zeros = ((unpacked[linear["name"] + ".weight"] & 0x7FFF) == 0).mean()
        assert linear["zeros"] == pytest.approx(zeros), linear["name"]
    assert "zeros" not in inspect(folder, "--headers")
    table = calipress("inspect", folder, check=0).stdout
    assert "model.layers.5.mlp.down_proj" in table and f"format  {output_format}" in table


def test_same_bytes_for_any_number_of_workers(tmp_path):
    digests = {workers: digest(run(tmp_path, f"out{workers}", *CASES["gptq-4"], "--workers", workers,
                                   "--set", "output.max_shard_bytes=1500000")) for workers in (1, 2)}
    assert len(set(digests.values())) == 1, digests


def test_inspect_of_other_checkpoints(tmp_path):
    source = inspect(MODEL)
    assert source["format"] == "dense" and all(linear["scheme"] == "BF16" for linear in source["linears"])
    assert source["bits_per_weight"] == 16
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe(method="magnitude: {pattern: '2:4'}"))
    calipress("run", MODEL, tmp_path / "pruned", "--recipe", path, check=0)
    pruned = inspect(tmp_path / "pruned")
    assert all(linear["pattern"] == "2:4" for linear in pruned["linears"]) and 0.5 <= pruned["zeros"] < 0.51
    packed = inspect(run(tmp_path, "packed", "compressed-tensors", "rtn: {bits: 3, group_size: 64, symmetric: false}"))
    assert packed["format"] == "compressed-tensors" and packed["linears"][0]["scheme"] == "int3 g64 asymmetric"
    spqr = inspect(run(tmp_path, "spqr", "spqr", "spqr: {}"))
    assert spqr["format"] == "spqr" and 4 < spqr["bits_per_weight"] < 16


def test_bf16_codes_become_gptq_and_dense_loads_in_transformers(tmp_path):
    """From a checkpoint whose scales are bf16: the same numbers in F16, and the same weights but for their rounding."""
    import torch
    from transformers import AutoModelForCausalLM
    packed = run(tmp_path, "packed", "compressed-tensors", "rtn: {bits: 4, group_size: 64}")
    gptq = convert(packed, tmp_path / "gptq", "gptq")
    assert perplexity(gptq) == pytest.approx(perplexity(packed), rel=0.01)
    weights = gptq_awq_unpack.unpack_checkpoint(gptq)
    for module, weight in dequantized(packed).items():
        ours = torch.from_numpy(weights[f"{module}.weight"].view(np.float16).astype(np.float32)).bfloat16()
        assert torch.equal(ours, weight), module
    dense = convert(packed, tmp_path / "dense", "dense")
    model, info = AutoModelForCausalLM.from_pretrained(dense, dtype="auto", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    for module, weight in dequantized(packed).items():
        assert torch.equal(model.get_submodule(module).weight, weight), module


@pytest.mark.parametrize("output_format,library", [("gptq", "optimum"), ("awq", "gptqmodel")])
def test_loads_in_transformers(output_format, library, tmp_path):
    if importlib.util.find_spec(library) is None or importlib.util.find_spec("gptqmodel") is None:
        pytest.skip(f"transformers reads {output_format} with optimum and gptqmodel, which are not installed here")
    from transformers import AutoModelForCausalLM
    folder = run(tmp_path, "out", output_format, "gptq: {bits: 4, group_size: 64}")
    _, info = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]


@pytest.mark.parametrize("output_format,method,field", [
    ("gptq", "rtn: {symmetric: false}", "steps[0].rtn.symmetric"),
    ("gptq", "gptq: {bits: 3}", "steps[0].gptq.bits"),
    ("gptq", "spqr: {}", "output.format"),
    ("gptq", "magnitude: {}", "output.format"),
    ("gptq", "rtn: {}\n    ignore: ['re:.*layers.0.mlp.down', lm_head]", "recipe.steps"),
    ("awq", "rtn: {group_size: -1}", "steps[0].rtn.group_size"),
    ("awq", "rtn: {bits: 8}", "steps[0].rtn.bits"),
])
def test_refuses_what_the_format_cannot_hold(output_format, method, field, tmp_path):
    done = run(tmp_path, "out", output_format, method, check=2)
    assert field in done.stderr, done.stderr
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_refused_conversions_leave_nothing(tmp_path):
    packed = run(tmp_path, "packed", "compressed-tensors", "rtn: {bits: 4, group_size: 64, symmetric: false}")
    done = calipress("convert", packed, tmp_path / "gptq", "--format", "gptq", check=2)
    assert "symmetric" in done.stderr
    done = calipress("convert", MODEL, tmp_path / "gptq", "--format", "gptq", check=2)
    assert "no codes" in done.stderr
    assert not (tmp_path / "gptq").exists() or not any((tmp_path / "gptq").iterdir())
    done = calipress("convert", packed, packed, "--format", "awq", check=2)
    assert "config.json is there already" in done.stderr


@pytest.mark.parametrize("tensor", ["model.embed_tokens.weight", "model.layers.3.mlp.up_proj.weight"])
def test_values_beyond_f16_are_named(tensor, model_copy, tmp_path):
    path = model_copy / "model.safetensors"
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[:8], "little")
    begin = 8 + size + json.loads(data[8:8 + size])[tensor]["data_offsets"][0]
    data[begin:begin + 2] = (0x4780).to_bytes(2, "little")  # bf16 65536
    path.write_bytes(data)
    done = run(tmp_path, "out", "gptq", "rtn: {bits: 4, group_size: 64}", model=model_copy, check=1)
    assert tensor in done.stderr and "F16" in done.stderr, done.stderr
    run(tmp_path, "ct", "compressed-tensors", "rtn: {bits: 4, group_size: 64}", model=model_copy)
