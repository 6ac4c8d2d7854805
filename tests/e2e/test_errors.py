"""What users get for a wrong input: an exit code, a reason, and words that say what to do."""

import json
import os
import struct
import subprocess

import pytest

from conftest import BIN, CALIBRATION, MODEL, calipress, recipe


def refused(tmp_path, recipe_path, *words, model=MODEL, code=2, output=None, sets=(), env=None):
    arguments = [part for one in sets for part in ("--set", one)]
    result = calipress("run", model, output or tmp_path / "out", "--recipe", recipe_path, *arguments, env=env)
    said = result.stdout + result.stderr
    assert result.returncode == code, f"exit {result.returncode}: {said}"
    for word in words:
        assert word in said, f"{word!r} is missing in: {said}"
    assert not (tmp_path / "out" / "config.json").exists()


def rewrite_header(path, change):
    """Applies `change` to the header of a safetensors file."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size:])


def test_missing_model(tmp_path, recipe_file):
    refused(tmp_path, recipe_file(), "SOURCE_MODEL_NOT_FOUND", "config.json", model=tmp_path / "nothing")


def test_unknown_model_type(tmp_path, recipe_file, model_copy):
    config = json.loads((model_copy / "config.json").read_text())
    (model_copy / "config.json").write_text(json.dumps({**config, "model_type": "mystery"}))
    refused(tmp_path, recipe_file(), "UNSUPPORTED_MODEL", "mystery", "llama", model=model_copy)


def test_shard_named_but_absent(tmp_path, recipe_file, model_copy):
    (model_copy / "model.safetensors").rename(model_copy / "model-00001-of-00002.safetensors")
    (model_copy / "model.safetensors.index.json").write_text(json.dumps(
        {"metadata": {}, "weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}))
    refused(tmp_path, recipe_file(), "SOURCE_MODEL_CORRUPT", "model-00002-of-00002.safetensors", model=model_copy)


def test_shard_outside_the_folder(tmp_path, recipe_file, model_copy):
    (model_copy / "model.safetensors").rename(model_copy / "hidden.safetensors")
    (model_copy / "model.safetensors.index.json").write_text(json.dumps(
        {"metadata": {}, "weight_map": {"model.norm.weight": "../hidden.safetensors"}}))
    refused(tmp_path, recipe_file(), "SOURCE_MODEL_CORRUPT", "..", model=model_copy)


def test_truncated_shard(tmp_path, recipe_file, model_copy):
    path = model_copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    refused(tmp_path, recipe_file(), "SOURCE_MODEL_CORRUPT", "model.safetensors", model=model_copy)


@pytest.mark.parametrize("what", ["huge header", "overlap", "wrong size", "negative", "not UTF-8"])
def test_hostile_header(tmp_path, recipe_file, model_copy, what):
    path = model_copy / "model.safetensors"
    name = "model.norm.weight"
    if what == "huge header":
        path.write_bytes(struct.pack("<Q", 2**62) + path.read_bytes()[8:])
    elif what == "not UTF-8":
        path.write_bytes(path.read_bytes().replace(b"model.norm", b"model.n\xff\xfem", 1))
    else:
        rewrite_header(path, lambda header: header[name].update(
            {"overlap": {"data_offsets": [0, 512]}, "wrong size": {"shape": [2**40, 2**40]},
             "negative": {"shape": [-256]}}[what]))
    refused(tmp_path, recipe_file(), "SOURCE_MODEL_CORRUPT", "model.safetensors", model=model_copy)


def test_missing_tensor(tmp_path, recipe_file, model_copy):
    rewrite_header(model_copy / "model.safetensors",
                   lambda header: header.update({"other": header.pop("model.layers.3.mlp.up_proj.weight")}))
    refused(tmp_path, recipe_file(), "SOURCE_MODEL_CORRUPT", "model.layers.3.mlp.up_proj.weight", model=model_copy)


def test_vocabulary_mismatch(tmp_path, recipe_file, model_copy):
    tokenizer = json.loads((model_copy / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append({"id": 5000, "content": "<far>", "single_word": False, "lstrip": False,
                                      "rstrip": False, "normalized": False, "special": True})
    (model_copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    refused(tmp_path, recipe_file(), "tokenizer.json", "4096", model=model_copy)


def test_token_ids_outside_the_vocabulary(tmp_path, recipe_file):
    numpy = pytest.importorskip("numpy")
    numpy.save(tmp_path / "ids.npy", numpy.full((2, 64), 4096))
    text = f"calibration: {{sources: [{{token_ids: {{uri: '{tmp_path}/ids.npy'}}}}]}}\nsteps: [{{gptq: {{}}}}]\n"
    refused(tmp_path, recipe_file(text), "INVALID_CALIBRATION_DATA", "4096", code=1)


def test_group_size_that_does_not_divide(tmp_path, recipe_file):
    refused(tmp_path, recipe_file(method="gptq: {group_size: 96}"), "INVALID_RECIPE", "recipe.steps[0].gptq.group_size",
            "64")


def test_every_violation_at_once(tmp_path, recipe_file):
    refused(tmp_path, recipe_file(method="gptq: {bits: 5, damping: -1}", samples=-3), "recipe.steps[0].gptq.bits",
            "recipe.steps[0].gptq.damping", "recipe.calibration.samples")


def test_unknown_field(tmp_path, recipe_file):
    refused(tmp_path, recipe_file(method="gptq: {group_sise: 64}"), "group_sise", "group_size")


def test_preset_without_text(tmp_path):
    refused(tmp_path, "gptq-w4a16", "calibration.sources", "--set")


def test_missing_text(tmp_path, recipe_file):
    refused(tmp_path, recipe_file(recipe().replace(str(CALIBRATION), str(tmp_path / "no.jsonl"))),
            "recipe.calibration.sources[0].text.uri", "no.jsonl")


def test_empty_text(tmp_path, recipe_file):
    (tmp_path / "empty.jsonl").write_text("")
    refused(tmp_path, recipe_file(recipe().replace(str(CALIBRATION), str(tmp_path / "empty.jsonl"))), "empty.jsonl",
            "empty")


def test_too_little_text(tmp_path, recipe_file):
    (tmp_path / "little.jsonl").write_text('{"text": "Once upon a time."}\n')
    refused(tmp_path, recipe_file(recipe().replace(str(CALIBRATION), str(tmp_path / "little.jsonl"))),
            "INVALID_CALIBRATION_DATA", "2048", "little.jsonl", code=1)


def test_bad_line(tmp_path, recipe_file):
    (tmp_path / "bad.jsonl").write_text('{"text": "Once upon a time."}\n{"txt": 1}\n')
    refused(tmp_path, recipe_file(recipe().replace(str(CALIBRATION), str(tmp_path / "bad.jsonl"))),
            "INVALID_CALIBRATION_DATA", "line 2", "text", code=1)


def test_output_in_use(tmp_path, recipe_file):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "config.json").write_text("{}")
    refused(tmp_path, recipe_file(), "OUTPUT_EXISTS", "taken", output=taken)
    assert (taken / "config.json").read_text() == "{}"


def test_unreachable_store(tmp_path, recipe_file):
    env = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hush-hush",
           "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    result = calipress("run", "s3://bucket/model", tmp_path / "out", "--recipe", recipe_file(), env=env)
    said = result.stdout + result.stderr
    assert result.returncode == 2 and "STORAGE_UNAVAILABLE" in said and "s3://bucket/model" in said, said
    assert "hush-hush" not in said


def test_unreachable_server(tmp_path, recipe_file):
    result = calipress("submit", MODEL, tmp_path / "out", "--recipe", recipe_file(), "--server", "127.0.0.1:9")
    assert result.returncode == 3, result.stdout + result.stderr
    assert "127.0.0.1:9" in result.stderr


def test_not_a_number_in_the_weights(tmp_path, recipe_file, model_copy):
    path = model_copy / "model.safetensors"
    raw = bytearray(path.read_bytes())
    size = struct.unpack("<Q", raw[:8])[0]
    offset = json.loads(raw[8:8 + size])["model.layers.2.mlp.up_proj.weight"]["data_offsets"][0]
    raw[8 + size + offset:8 + size + offset + 2] = b"\xc0\x7f"
    path.write_bytes(raw)
    refused(tmp_path, recipe_file(), "NON_FINITE_WEIGHTS", "model.layers.2.mlp.up_proj", model=model_copy, code=1)


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system needs root")
def test_full_disk(tmp_path, recipe_file):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], check=True)
    try:
        refused(tmp_path, recipe_file(), "STORAGE_FULL", "space", output=small / "out", code=1)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_programs_refuse_unknown_settings(tmp_path):
    for program in ("calipress-coordinator", "calipress-worker"):
        (tmp_path / "config.yaml").write_text("log_levle: info\n")
        result = subprocess.run([str(BIN / program), "--config", str(tmp_path / "config.yaml")], capture_output=True,
                                text=True, timeout=30)
        assert result.returncode != 0 and "log_levle" in result.stderr and "log_level" in result.stderr, result.stderr
