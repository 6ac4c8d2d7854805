"""The same job with source and output in a real S3 server: the same bytes as on disk."""

import shutil

from checkpoint_bytes import digest
from conftest import CALIBRATION, MODEL, calipress, recipe


def test_same_bytes_as_on_disk(tmp_path, recipe_file, s3):
    shutil.copytree(MODEL, s3["folder"] / "models" / "mix")
    shutil.copy(CALIBRATION, s3["folder"] / "models" / "calibration.jsonl")
    # The recipe is part of the checkpoint, so both runs use the text in the store.
    path = recipe_file(recipe(samples=16).replace(str(CALIBRATION), "s3://models/calibration.jsonl"))
    calipress("run", MODEL, tmp_path / "disk", "--recipe", path, "--workers", 2, "--threads-per-worker", 1, env=s3["env"],
              check=0)
    calipress("run", "s3://models/mix", "s3://results/one", "--recipe", path, "--workers", 2, "--threads-per-worker", 1,
              env=s3["env"], check=0)
    stored = s3["folder"] / "results" / "one"
    assert digest(stored) == digest(tmp_path / "disk")
    assert not (stored / "_calipress").exists()


def test_output_in_use(recipe_file, s3):
    taken = s3["folder"] / "results" / "taken"
    taken.mkdir()
    (taken / "config.json").write_text("{}")
    result = calipress("run", MODEL, "s3://results/taken", "--recipe", recipe_file(samples=8), env=s3["env"])
    assert result.returncode == 2 and "OUTPUT_EXISTS" in result.stdout + result.stderr


def test_missing_bucket(recipe_file, s3):
    result = calipress("run", "s3://nowhere/model", "s3://results/two", "--recipe", recipe_file(samples=8), env=s3["env"])
    assert result.returncode == 2
    assert "s3://nowhere/model" in result.stdout + result.stderr
    assert "testsecret" not in result.stdout + result.stderr
