"""`calipress run` with spqr: both formats hold the same weights, by readers that know nothing of calipress."""

import json

import numpy as np
import pytest

import spqr_unpack
from checkpoint_bytes import digest
from conftest import HELDOUT, MODEL, calipress, recipe
from load_checkpoint import load, load_dense

OPTIONS = {"default": "spqr: {}", "3 bits, plain order": "spqr: {bits: 3, act_order: false, outlier_threshold: 0.1}"}


def run(folder, name, method, *args, samples=16, evaluate=False, output="", extra=""):
    path = folder / f"{name}.yaml"
    text = recipe(samples=samples, method=method, evaluate=evaluate, extra=extra)
    path.write_text(text.replace("output: {format: compressed-tensors}", output))
    calipress("run", MODEL, folder / name, "--recipe", path, "--threads-per-worker", 1, *args, check=0)
    return folder / name


@pytest.fixture(scope="module", params=OPTIONS, ids=lambda name: name.split()[0])
def results(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spqr")
    method = OPTIONS[request.param]
    return (run(folder, "packed", method, evaluate=True),
            run(folder, "dense", method, evaluate=True, output="output: {format: dense}"))


def test_both_formats_hold_the_same_bits(results):
    packed, dense = results
    unpacked, plain = spqr_unpack.unpack_checkpoint(packed), spqr_unpack.read_tensors(dense)
    assert len(unpacked) == 6 * 7
    for name, (dtype, bits) in unpacked.items():
        assert plain[name][0] == dtype
        assert np.array_equal(bits, plain[name][1].view(bits.dtype)), name
    # All else is as it is, and nothing is left over.
    stored = spqr_unpack.read_tensors(packed)
    for name, (dtype, array) in plain.items():
        if name not in unpacked:
            assert stored[name][0] == dtype and np.array_equal(stored[name][1], array), name


def test_converting_to_dense_dequantizes_as_documented(results, tmp_path):
    packed, dense = results
    calipress("convert", packed, tmp_path / "dense", "--format", "dense", check=0)
    converted, unpacked = spqr_unpack.read_tensors(tmp_path / "dense"), spqr_unpack.unpack_checkpoint(packed)
    for name, (dtype, bits) in unpacked.items():
        assert converted[name][0] == dtype
        assert np.array_equal(bits, converted[name][1].view(bits.dtype)), name
    for name, (dtype, array) in spqr_unpack.read_tensors(dense).items():
        assert converted[name][0] == dtype and np.array_equal(converted[name][1], array), name
    load_dense(tmp_path / "dense")


def test_bits_per_weight_are_the_formulas(results):
    packed, dense = results
    config = json.loads((packed / "config.json").read_text())["quantization_config"]
    outliers = weights = 0
    tensors = spqr_unpack.read_tensors(packed)
    for module in spqr_unpack.modules(tensors):
        outliers += tensors[f"{module}.outlier_values"][1].size
        weights += int(np.prod(tensors[f"{module}.weight_shape"][1]))
    assert 0 < outliers < 0.1 * weights
    formula = config["bits"] + 6 / 16 + 64 / 256 + 32 * outliers / weights
    # Offsets and orders weigh more in a model as small as this.
    assert formula < spqr_unpack.bits_per_weight(packed) < formula + 0.5
    report = json.loads((packed / "report.json").read_text())
    reported = {linear["name"]: linear["bitsPerWeight"] if "bitsPerWeight" in linear else linear["bits_per_weight"]
                for linear in report["linears"]}
    assert all(config["bits"] < bits < 16 for bits in reported.values())
    assert "quantization_config" not in json.loads((dense / "config.json").read_text())


def test_dense_loads_in_transformers(results):
    import torch
    model = load(results[1], "auto")
    for name, (dtype, bits) in spqr_unpack.unpack_checkpoint(results[0]).items():
        loaded = model.get_parameter(name).data
        assert np.array_equal(loaded.view(torch.int16 if dtype != "F32" else torch.int32).numpy().view(bits.dtype), bits)


def test_every_number_lies_on_a_multiple_of_its_size(results):
    for folder in results:
        for path in folder.glob("*.safetensors"):
            data = path.read_bytes()
            size = int.from_bytes(data[:8], "little")
            for name, entry in json.loads(data[8:8 + size]).items():
                if name != "__metadata__":
                    width = np.dtype(spqr_unpack.DTYPES[entry["dtype"]]).itemsize
                    assert entry["data_offsets"][0] % width == 0, name


def test_eval_of_either_agrees_with_the_report(results):
    figures = []
    for folder in results:
        report = json.loads((folder / "report.json").read_text())["evaluations"][0]
        done = calipress("eval", folder, "--text", HELDOUT, "--reference", MODEL, "--seqlen", 128, "--json", check=0)
        measured = json.loads(done.stdout)["evaluations"][0]
        for key in ("perplexity", "kl_divergence"):
            assert measured[key] == pytest.approx(report[key], rel=1e-6), key
        assert 1.0 < report["perplexity"] / report["perplexity_original"] < 1.1
        figures.append(measured["perplexity"])
    assert figures[0] == figures[1]


def test_same_bytes_for_any_number_of_workers(tmp_path):
    digests = {workers: digest(run(tmp_path, f"out{workers}", "spqr: {}", "--workers", workers,
                                   "--set", "output.max_shard_bytes=1500000", samples=8)) for workers in (1, 2)}
    assert len(set(digests.values())) == 1, digests


def test_refuses_what_the_layout_cannot_hold(tmp_path):
    mixed = recipe(method="rtn: {bits: 4}\n  - spqr: {}\n    targets: ['re:.*mlp']")
    for number, text in enumerate([recipe(method="spqr: {}"), mixed.replace("compressed-tensors", "spqr"),
                                   recipe(method="rtn: {}").replace("compressed-tensors", "spqr")]):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        done = calipress("run", MODEL, tmp_path / f"out{number}", "--recipe", path)
        assert done.returncode != 0 and "output.format" in done.stderr + done.stdout, done.stdout + done.stderr
