"""The same job with source and output in a real S3 server: the same bytes as on disk."""

import gzip
import json
import lzma
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from checkpoint_bytes import digest
from conftest import CALIBRATION, HELDOUT, MODEL, calipress, recipe

LENGTH = 32
EVERY_KIND = f"""
calibration:
  sequence_length: {LENGTH}
  sources:
    - {{samples: 2, text: {{uri: "AT/a.txt"}}}}
    - {{samples: 2, text: {{uri: "AT/a.jsonl.gz"}}}}
    - {{samples: 2, text: {{uri: "AT/a.jsonl.zst", layout: window}}}}
    - {{samples: 2, text: {{uri: "AT/a.jsonl.xz"}}, filter: {{exact_duplicates: true, max_perplexity: 1000}}}}
    - {{samples: 2, text: {{uri: "AT/a.parquet", field: story}}}}
    - {{samples: 3, token_ids: {{uri: "AT/ids.npy"}}}}
    - {{samples: 3, token_ids: {{uri: "AT/ids.safetensors"}}}}
    - {{samples: 2, instructions: {{uri: "AT/chats.jsonl"}}}}
    - {{samples: 2, prefix_generated: {{prefixes: {{uri: "AT/a.jsonl.gz"}}, prefix_tokens: 4}}}}
steps: [{{wanda: {{}}, targets: ["re:.*q_proj"]}}]
evaluation:
  perplexity:
    - {{name: rows, uri: "AT/a.parquet", field: story, sequence_length: 64, max_windows: 4}}
    - {{name: plain, uri: "AT/a.txt", sequence_length: 64, max_windows: 4}}
  multiple_choice: [{{name: questions, uri: "AT/questions.jsonl"}}]
  last_word: [{{name: words, uri: "AT/words.jsonl"}}]
"""


def write_every_kind(folder):
    lines = HELDOUT.read_bytes().splitlines(keepends=True)[:60]
    texts = [json.loads(line)["text"] for line in lines]
    (folder / "a.txt").write_text("\n\n".join(texts))
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(b"".join(lines)))
    (folder / "a.jsonl.zst").write_bytes(pa.compress(b"".join(lines), codec="zstd", asbytes=True))
    (folder / "a.jsonl.xz").write_bytes(lzma.compress(b"".join(lines)))
    pq.write_table(pa.table({"story": texts}), folder / "a.parquet")
    ids = np.random.default_rng(0).integers(3, 4096, (3, LENGTH))
    np.save(folder / "ids.npy", ids)
    save_file({"ids": ids}, folder / "ids.safetensors")
    for name, rows in {
            "chats": [{"messages": [{"role": "user", "content": text}]} for text in texts],
            "questions": [{"context": text[:40], "choices": ["one day", "blue"], "answer": 0} for text in texts[:4]],
            "words": [{"text": text[:60].rpartition(" ")[0]} for text in texts[:4]]}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ids


def test_every_kind_of_data_comes_from_the_store(tmp_path, recipe_file, s3):
    stored = s3["folder"] / "models" / "data"
    stored.mkdir()
    ids = write_every_kind(stored)
    shutil.copytree(MODEL, s3["folder"] / "models" / "chatty")
    (s3["folder"] / "models" / "chatty" / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ bos_token + m.role + ': ' + m.content + eos_token }}{% endfor %}")
    told = {}
    for name, at in (("store", "s3://models/data"), ("disk", str(stored))):
        calipress("run", "s3://models/chatty", tmp_path / name, "--recipe", recipe_file(EVERY_KIND.replace("AT", at)),
                  "--threads-per-worker", 1, env=s3["env"], check=0)
        told[name] = json.loads((tmp_path / name / "report.json").read_text())
    parts = told["store"]["calibration"]["parts"]
    assert [part["kind"] for part in parts] == ["text"] * 5 + ["token_ids"] * 2 + ["instructions", "prefix_generated"]
    assert all(part["uri"].startswith("s3://models/data/") for part in parts)
    assert [int(part["sequences"]) for part in parts] == [2] * 5 + [3] * 2 + [2] * 2
    found = np.load(tmp_path / "store" / "calibration_ids.npy")
    np.testing.assert_array_equal(found[10:16], np.concatenate([ids, ids]))
    assert told["store"]["calibration"]["fingerprint"] == told["disk"]["calibration"]["fingerprint"]
    for figures in ("evaluations", "tasks"):
        assert len(told["store"][figures]) == 2 and told["store"][figures] == told["disk"][figures]


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
