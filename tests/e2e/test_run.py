"""`calipress run`: the main job in one command, its result, and what reads it."""

import json
import re
import shutil
import subprocess
from xml.etree import ElementTree

import pytest

from checkpoint_bytes import dequantized, digest, same_bytes, tensors
from conftest import BIN, CALIBRATION, HELDOUT, MODEL, ROOT, calipress, recipe
from load_checkpoint import check
from loading import VERSIONS, check_under

# Of packed linears, beside the main one.
SCHEMES = {
    "asymmetric": "gptq: {bits: 4, group_size: 64, symmetric: false}",
    "8-bits": "gptq: {bits: 8, group_size: -1}",
    "rtn": "rtn: {bits: 4, group_size: 128}",
    "2-bits": "rtn: {bits: 2, group_size: 32, symmetric: false}",
    "joint": "sparsegpt: {pattern: '2:4', quantize: {bits: 4, group_size: 64}}",
    "awq": "awq: {bits: 4, group_size: 128, search: activations}",
    "ignored": 'gptq: {bits: 4, group_size: 128}\n    ignore: ["lm_head", "re:.*layers\\\\.0\\\\."]',
    "sharded": "gptq: {bits: 4, group_size: 128}",
}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    path = folder / "recipe.yaml"
    path.write_text(recipe(samples=32, length=256, evaluate=True))
    done = calipress("run", MODEL, folder / "out", "--recipe", path, "--workers", 2, "--threads-per-worker", 1, check=0)
    return folder / "out", done


def test_writes_a_whole_checkpoint(result):
    out, _ = result
    names = {path.name for path in out.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
            "recipe.yaml", "replay.yaml", "report.json", "report.html", "calibration_ids.npy"} <= names
    assert "_calipress" not in names, "staging files were left behind"


def test_report_tells_what_happened(result):
    out, done = result
    report = json.loads((out / "report.json").read_text())
    assert int(report["output_bytes"]) < int(report["source_bytes"])
    (text,) = report["evaluations"]
    # GPTQ at 4 bits costs something, and not much.
    assert 1.0 < text["perplexity"] / text["perplexity_original"] < 1.1
    assert 0 < text["kl_divergence"] < 0.2
    assert 0 < text["js_divergence"] < text["kl_divergence"]
    assert 0.7 < text["top1_agreement"] <= 1
    assert len(report["linears"]) == 6 * 7
    assert all(0 < linear["relative_error"] < 0.2 for linear in report["linears"])
    assert {phase["name"] for phase in report["phases"]} >= {"calibration-tokens", "compress", "evaluate", "assemble"}
    assert all(int(phase["peak_memory_bytes"]) > 0 for phase in report["phases"])
    assert report["calibration"]["tokens"] in ("8192", 8192)
    # Two workers, told once; 256 inputs make 4 parts of 64.
    (warning,) = [warning for warning in report["warnings"] if "tensor parallelism" in warning]
    assert warning.startswith("group size 128 does not fit tensor parallelism over 4, 8 devices")
    for word in ("perplexity", "heldout", "compress", "tensor parallelism"):
        assert word in done.stdout


def test_the_report_page_needs_nothing_but_itself(result):
    out, done = result
    page = (out / "report.html").read_text()
    assert str(out / "report.html") in done.stdout
    root = ElementTree.fromstring(page)  # HTML that is XML too: no parser reads it in its own way
    tags = [element.tag.rsplit("}", 1)[-1] for element in root.iter()]
    assert not {"script", "link", "img", "iframe", "a"} & set(tags)
    assert not [name for element in root.iter() for name in element.attrib if name in ("src", "href") or name[:2] == "on"]
    assert tags.count("svg") == 7, "a panel for each kind of linear"
    assert tags.count("circle") == 6 * 7
    text = " ".join(root.itertext())
    report = json.loads((out / "report.json").read_text())
    for word in ("mix-llama-5.8m", "heldout", f"{report['evaluations'][0]['perplexity']:.4f}", "tensor parallelism",
                 report["calibration"]["fingerprint"], "group_size: 128"):
        assert word in text, word


@pytest.fixture(scope="module")
def schemes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schemes")
    for name, method in SCHEMES.items():
        path = folder / f"{name}.yaml"
        path.write_text(recipe(samples=8, method=method))
        shards = ["--workers", 2, "--set", "output.max_shard_bytes=1500000"] if name == "sharded" else []
        calipress("run", MODEL, folder / name, "--recipe", path, "--threads-per-worker", 1, *shards, check=0)
    return {name: folder / name for name in SCHEMES}


@pytest.mark.parametrize("version", VERSIONS)
def test_transformers_loads_every_scheme(result, schemes, version):
    check_under(version, result[0], *schemes.values())


def test_three_bits_round_trip(tmp_path, recipe_file):
    """compressed-tensors reads the dense 3-bit layout from 0.18 on."""
    calipress("run", MODEL, tmp_path / "out", "--recipe",
              recipe_file(samples=8, method="gptq: {bits: 3, group_size: 128}"), check=0)
    check(tmp_path / "out", MODEL)


@pytest.mark.parametrize("status", ["frozen", "initialized", None])
def test_a_broken_status_does_not_load(result, tmp_path, status):
    """What tests load with notices that codes are not taken for codes."""
    shutil.copytree(result[0], tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["quantization_config"].pop("quantization_status") == "compressed"
    if status:
        config["quantization_config"]["quantization_status"] = status
    (tmp_path / "out" / "config.json").write_text(json.dumps(config))
    with pytest.raises(AssertionError, match="keys that do not fit"):
        check(tmp_path / "out", MODEL)


def test_ignored_linears_stay_dense(schemes):
    assert not any(".layers.0." in module for module in dequantized(schemes["ignored"]))
    assert "model.layers.0.mlp.up_proj.weight" in tensors(schemes["ignored"])


def test_small_shards_get_an_index(schemes):
    index = json.loads((schemes["sharded"] / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in tensors(schemes["sharded"]).values())


@pytest.mark.parametrize("propagation", ["compressed", "original"])
def test_same_bytes_for_any_number_of_workers(tmp_path, recipe_file, propagation):
    path = recipe_file(samples=16, extra=f"propagation: {propagation}")
    digests = {}
    for workers in (1, 2, 3):
        out = tmp_path / f"out{workers}"
        calipress("run", MODEL, out, "--recipe", path, "--workers", workers, "--threads-per-worker", 1, check=0)
        digests[workers] = digest(out)
    assert len(set(digests.values())) == 1, digests


def test_propagation_is_not_ignored(tmp_path, recipe_file):
    digests = set()
    for propagation in ("compressed", "original"):
        out = tmp_path / propagation
        calipress("run", MODEL, out, "--recipe", recipe_file(samples=8, extra=f"propagation: {propagation}"), check=0)
        digests.add(json.dumps({k: v.sum().item() for k, v in dequantized(out).items()}))
    assert len(digests) == 2


def test_token_ids_replay_the_same_job(tmp_path, recipe_file, result):
    """The ids that a job leaves behind make the same checkpoint again."""
    out, _ = result
    text = f"""
calibration:
  sources: [{{token_ids: {{uri: "{out}/calibration_ids.npy"}}}}]
steps: [{{gptq: {{bits: 4, group_size: 128}}}}]
output: {{format: compressed-tensors}}
"""
    calipress("run", MODEL, tmp_path / "out", "--recipe", recipe_file(text), "--threads-per-worker", 1, check=0)
    assert same_bytes(tmp_path / "out" / "model.safetensors", out / "model.safetensors")


def test_eval_agrees_with_the_report(result):
    out, _ = result
    report = json.loads((out / "report.json").read_text())["evaluations"][0]
    done = calipress("eval", out, "--text", HELDOUT, "--reference", MODEL, "--seqlen", 128, "--json", check=0)
    measured = json.loads(done.stdout)["evaluations"][0]
    for key in ("perplexity", "perplexity_original", "kl_divergence", "js_divergence", "top1_agreement"):
        assert measured[key] == pytest.approx(report[key], rel=1e-6), key


def test_written_recipe_runs_again(tmp_path, result):
    out, _ = result
    calipress("run", MODEL, tmp_path / "again", "--recipe", out / "recipe.yaml", "--threads-per-worker", 1, check=0)
    assert same_bytes(tmp_path / "again" / "model.safetensors", out / "model.safetensors")


def test_preset_with_a_set(tmp_path):
    calipress("run", MODEL, tmp_path / "out", "--recipe", "gptq-w4a16", "--set",
              f"calibration.sources[0].text.uri={CALIBRATION}", "--set", "calibration.samples=8", "--set",
              "calibration.sequence_length=128", check=0)
    assert (tmp_path / "out" / "config.json").exists()


def test_the_demo_runs(tmp_path):
    """As `./dev demo` does, in the repository's folder."""
    line = re.search(r'run (tests/data/\S+) "\$out" --recipe (\S+) \\\n\s+(--workers 2 --threads-per-worker 1)',
                     (ROOT / "dev").read_text())
    model, path, options = line.groups()
    done = subprocess.run([str(BIN / "calipress"), "run", model, str(tmp_path / "out"), "--recipe", path, *options.split()],
                          cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (text,) = json.loads((tmp_path / "out" / "report.json").read_text())["evaluations"]
    assert 1.0 < text["perplexity"] / text["perplexity_original"] < 1.1
    assert "heldout" in done.stdout and (tmp_path / "out" / "report.html").exists()
