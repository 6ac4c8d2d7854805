"""Calibration sets of several sources and kinds of files, their report, and what is refused."""

import gzip
import json
import lzma
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from checkpoint_bytes import same_bytes
from conftest import CALIBRATION, HELDOUT, MODEL, calipress

TEMPLATE = "{% for m in messages %}{{ bos_token + m.role + ': ' + m.content + eos_token }}{% endfor %}"
STEPS = "steps: [{gptq: {bits: 4, group_size: 128}}]\noutput: {format: compressed-tensors}\n"
LENGTH = 64


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A model with a chat template, and the demo's text in every kind of file."""
    folder = tmp_path_factory.mktemp("calibration")
    shutil.copytree(MODEL, folder / "model")
    (folder / "model" / "chat_template.jinja").write_text(TEMPLATE)
    lines = CALIBRATION.read_bytes().splitlines(keepends=True)[:200]
    texts = [json.loads(line)["text"] for line in lines]
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(b"".join(lines)))
    (folder / "a.jsonl.xz").write_bytes(lzma.compress(b"".join(lines)))
    (folder / "a.jsonl.zst").write_bytes(pa.compress(b"".join(lines), codec="zstd", asbytes=True))
    (folder / "a.jsonl").write_bytes(b"".join(lines))
    pq.write_table(pa.table({"text": texts}), folder / "a.parquet")
    with open(folder / "chats.jsonl", "w") as file:
        for text in texts:
            half = len(text) // 2
            messages = [{"role": "user", "content": text[:half]}, {"role": "assistant", "content": text[half:]}]
            file.write(json.dumps({"messages": messages}) + "\n")
    ids = np.random.default_rng(0).integers(3, 4096, (5, LENGTH))
    save_file({"ids": ids}, folder / "ids.safetensors")
    return folder


def run(data, out, calibration, check=0, workers=1):
    recipe = out.with_suffix(".yaml")
    recipe.write_text(f"calibration: {calibration}\n{STEPS}")
    return calipress("run", data / "model", out, "--recipe", recipe, "--workers", workers, "--threads-per-worker", 1,
                     check=check)


@pytest.fixture(scope="module")
def mixed(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("mixed") / "out"
    done = run(data, out, f"""{{samples: 10, sequence_length: {LENGTH}, seed: 3, draw: {{index: 1, of: 2}}, sources: [
  {{text: {{uri: "{data}/a.parquet"}}, weight: 3,
    filter: {{exact_duplicates: true, near_duplicates: 0.9, min_tokens: 20}}}},
  {{text: {{uri: "{data}/a.jsonl.zst", layout: window}}, domain: stories,
    filter: {{min_perplexity: 2, max_perplexity: 40}}}},
  {{instructions: {{uri: "{data}/chats.jsonl"}}, samples: 4, seed: 11}},
  {{random_vocabulary: {{}}}},
  {{token_ids: {{uri: "{data}/ids.safetensors"}}, samples: 2, domain: given}}]}}""", workers=2)
    return out, done


def test_every_source_gives_its_share(mixed):
    out, done = mixed
    report = json.loads((out / "report.json").read_text())["calibration"]
    parts = report["parts"]
    assert [part["kind"] for part in parts] == ["text", "text", "instructions", "random_vocabulary", "token_ids"]
    assert [int(part["sequences"]) for part in parts] == [6, 2, 4, 2, 2]
    assert [part["domain"] for part in parts] == ["general", "stories", "general", "general", "given"]
    assert [int(part.get("seed", 0)) for part in parts] == [3, 4, 11, 6, 7]
    assert int(report["sequences"]) == 16
    # The model, asked: stories above the bound were left out, and all of the set was scored.
    assert int(parts[1]["documents"]) - int(parts[1].get("filtered", 0)) >= 2
    assert int(report["scored_tokens"]) == 16 * LENGTH
    assert report["perplexity"] > 10  # random ids are in it
    assert report["ids_file"] == "calibration_ids.npy"
    assert "text 6, text 2, instructions 4, random_vocabulary 2, token_ids 2" in done.stdout
    assert "ids in calibration_ids.npy" in done.stdout


def test_the_reports_numbers_are_those_of_the_ids(mixed):
    out, _ = mixed
    report = json.loads((out / "report.json").read_text())["calibration"]
    ids = np.load(out / "calibration_ids.npy")
    assert ids.shape == (16, LENGTH)
    _, first = np.unique(ids + 10_000 * np.arange(16)[:, None], return_index=True)
    assert report["repetition"] == pytest.approx(1 - len(first) / ids.size)
    counts = np.sort(np.unique(ids, return_counts=True)[1])[::-1]
    assert report["vocabulary_coverage"] == pytest.approx(len(counts) / 4096)
    slope = np.polyfit(np.log(np.arange(1, len(counts) + 1)), np.log(counts), 1)[0]
    assert report["zipf_exponent"] == pytest.approx(-slope)
    shares = []
    for n in range(1, 5):
        grams = np.lib.stride_tricks.sliding_window_view(ids, n, axis=1).reshape(-1, n)
        shares.append(len(np.unique(grams, axis=0)) / len(grams))
    assert report["ngram_diversity"] == pytest.approx(np.mean(shares))
    # Random ids are random, and none of them is special.
    assert ids[12:14].min() > 2


def test_the_ids_make_the_same_checkpoint_again(data, mixed, tmp_path):
    out, _ = mixed
    run(data, tmp_path / "out", f'{{sources: [{{token_ids: {{uri: "{out}/calibration_ids.npy"}}}}]}}')
    for name in ("model.safetensors", "calibration_ids.npy"):
        assert same_bytes(tmp_path / "out" / name, out / name)


def test_the_replay_makes_the_same_checkpoint_again(data, mixed, tmp_path):
    out, _ = mixed
    given = json.loads((out / "report.json").read_text())["calibration"]["parts"]
    calipress("run", data / "model", tmp_path / "out", "--recipe", out / "replay.yaml", "--threads-per-worker", 1, check=0)
    for name in ("model.safetensors", "calibration_ids.npy"):
        assert same_bytes(tmp_path / "out" / name, out / name)
    parts = json.loads((tmp_path / "out" / "report.json").read_text())["calibration"]["parts"]
    assert [(part["kind"], part["sequences"], part["domain"]) for part in parts] == [
        ("token_ids", part["sequences"], part["domain"]) for part in given]


def test_packings_are_the_same_text(data, tmp_path):
    ids = set()
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.xz", "a.parquet"):
        out = tmp_path / name
        calipress("run", MODEL, out, "--recipe", "wanda-50", "--calibration", data / name, "--set",
                  "calibration.samples=4", "--set", f"calibration.sequence_length={LENGTH}", check=0)
        ids.add((out / "calibration_ids.npy").read_bytes())
    assert len(ids) == 1


def test_a_packed_text_is_evaluated(data, tmp_path):
    lines = b"".join(HELDOUT.read_bytes().splitlines(keepends=True)[:8])
    (tmp_path / "h.jsonl").write_bytes(lines)
    (tmp_path / "h.jsonl.xz").write_bytes(lzma.compress(lines))
    measured = [json.loads(calipress("eval", MODEL, "--text", tmp_path / name, "--seqlen", 64, "--json", check=0).stdout)
                ["evaluations"][0]["perplexity"] for name in ("h.jsonl", "h.jsonl.xz")]
    assert measured[0] == measured[1]


@pytest.mark.parametrize("calibration,says", [
    ('{sources: [{text: {uri: "DATA/a.jsonl"}, weight: 0}]}', "weights that sum to 0"),
    ('{sources: [{text: {uri: "DATA/a.jsonl"}, samples: 0}]}', "sources[0].samples: must be at least 1"),
    ('{sources: [{text: {uri: "DATA/a.jsonl"}, filter: {near_duplicates: 1.5}}]}', "sources[0].filter.near_duplicates"),
    ('{sources: [{text: {uri: "DATA/a.jsonl"}, filter: {min_tokens: 9, max_tokens: 8}}]}', "above max_tokens 8"),
], ids=["weights", "samples", "share", "bounds"])
def test_wrong_recipes_are_refused_at_once(data, tmp_path, calibration, says):
    done = run(data, tmp_path / "out", calibration.replace("DATA", str(data)), check=2)
    assert says in done.stderr


def test_a_model_without_a_template_is_refused(data, tmp_path):
    (tmp_path / "r.yaml").write_text(
        f'calibration: {{sources: [{{instructions: {{uri: "{data}/chats.jsonl"}}}}]}}\n{STEPS}')
    done = calipress("run", MODEL, tmp_path / "out", "--recipe", tmp_path / "r.yaml", check=2)
    assert "recipe.calibration.sources[0].instructions" in done.stderr
    assert "has no chat template" in done.stderr


@pytest.mark.parametrize("source,says", [
    ("{text: {uri: 'DATA/a.jsonl'}, filter: {min_tokens: 100000}}", "54 with fewer than 100000 tokens"),
    ("{text: {uri: 'DATA/short.jsonl'}}", "which 3 disjoint draws cannot share"),
    ("{instructions: {uri: 'DATA/lacks.jsonl'}}", "line 2: messages[0].role is missing"),
], ids=["filter", "draw", "role"])
def test_data_that_do_not_do_are_told(data, tmp_path, source, says):
    (data / "short.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    (data / "lacks.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}]}\n'
                                      '{"messages": [{"content": "b"}]}\n')
    done = run(data, tmp_path / "out", f"{{samples: 2, sequence_length: 16, draw: {{index: 0, of: 3}}, sources: "
               f"[{source.replace('DATA', str(data))}]}}", check=1)
    assert says in done.stderr
