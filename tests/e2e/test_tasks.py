"""Multiple choice and last words: against transformers, over workers, and what is wrong with a row."""

import gzip
import json
import math
import os
from pathlib import Path

import pytest
import torch
from conftest import HELDOUT, MODEL, ROOT, calipress, recipe
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

SHARED = Path(os.environ.get("CALIPRESS_SHARED", ROOT / ".." / "shared")) / "data"

QUESTIONS = [
    ("Once upon a time there was a little girl named Lily. She loved to", ["play outside.", "compile kernels."]),
    ("The dog ran after the ball. The dog was", ["happy", "tokenized", "the of"]),
    ("Question: Tom has 3 apples and buys 2 more. How many does he have?\nAnswer:", ["5", "7", "2", "10"]),
    ("def add(a, b):\n    return a", ["+ b", "- b", "and"]),
    ("Tim and Sue went to the park. They saw a big  ", ["tree", "contract"]),
    ("", ["The end.", "Zebra, zebra"]),
    ("It was raining, so Mum said: \u201cTake your", ["umbrella\u201d", "d\u00e9j\u00e0 vu", "coat"]),
    ("word " * 400 + "and then the", ["end", "beginning of another story"]),
]
TEXTS = ["Once upon a time there was a little girl named Lily.", "She loved to play with her toys and her mommy.",
         "The sun was shining and the sky was very blue", "They went to the park and played with the ball",
         "Mum said it was time to go to bed and Lily went to sleep", "   He ran away\n very   fast  ",
         "He was so happy that he jumped up and down"]


@pytest.fixture(scope="module")
def exact_model(tmp_path_factory):
    """The carried model in fp32: sums of log probabilities then agree to many digits."""
    folder = tmp_path_factory.mktemp("exact")
    for path in MODEL.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    for key in ("dtype", "torch_dtype"):
        if key in config:
            config[key] = "float32"
    (folder / "config.json").write_text(json.dumps(config))
    weights = {name: tensor.float().contiguous() for name, tensor in load_file(MODEL / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


class Peer:
    """lm-eval's way, one sequence at a time: whole and context tokenized, the rest scored."""

    def __init__(self, folder, dtype):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        self.positions = self.model.config.max_position_embeddings

    def score(self, context, continuation):
        stripped = context.rstrip()
        continuation = context[len(stripped):] + continuation
        before = self.tokenizer(stripped).input_ids
        whole = self.tokenizer(stripped + continuation).input_ids
        asked = whole[len(before):]
        seen = whole[-(self.positions + 1):][:-1]
        with torch.no_grad():
            logits = self.model(torch.tensor([seen])).logits[0, -len(asked):].float()
        target = torch.tensor(asked)
        return (logits.log_softmax(1).gather(1, target[:, None]).sum().item(),
                bool((logits.argmax(1) == target).all()))

    def choices(self, context, choices):
        """The first choice with the largest log probability, and the largest per byte."""
        scores = [self.score(context, " " + choice)[0] for choice in choices]
        per_byte = [score / len(choice.encode()) for score, choice in zip(scores, choices)]
        return scores.index(max(scores)), per_byte.index(max(per_byte))

    def last_word(self, text):
        text = text.rstrip()
        word = text.split()[-1]
        return self.score(text[:-len(word)], word)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def questions(path, answers):
    return write(path, [{"context": context, "choices": choices, "answer": answer}
                        for (context, choices), answer in zip(QUESTIONS, answers)])


def evaluate(model, *args):
    done = calipress("eval", model, *args, "--json", check=0)
    return json.loads(done.stdout)["tasks"]


def test_every_choice_is_the_one_of_transformers(tmp_path, exact_model):
    """With the peer's choice as the answer of every row, an accuracy of 1 says that all rows agree."""
    peer = Peer(exact_model, torch.float32)
    picks = [peer.choices(*question) for question in QUESTIONS]
    by_sum = questions(tmp_path / "by_sum.jsonl", [pick[0] for pick in picks])
    by_byte = questions(tmp_path / "by_byte.jsonl", [pick[1] for pick in picks])
    assert len({pick[0] for pick in picks}) > 1 and any(a != b for a, b in picks), "the rows tell nothing apart"
    tasks = evaluate(exact_model, "--multiple-choice", by_sum, "--multiple-choice", by_byte)
    assert [task["name"] for task in tasks] == ["by_sum", "by_byte"]
    assert tasks[0]["accuracy"] == 1 and tasks[1]["accuracy_normalized"] == 1
    same = sum(a == b for a, b in picks) / len(picks)
    assert tasks[0]["accuracy_normalized"] == same and tasks[1]["accuracy"] == same
    assert int(tasks[0]["examples"]) == len(QUESTIONS)


def test_last_words_are_those_of_transformers(tmp_path, exact_model):
    peer = Peer(exact_model, torch.float32)
    scores = [peer.last_word(text) for text in TEXTS]
    path = tmp_path / "words.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps({"body": text}) + "\n" for text in TEXTS).encode()))
    (task,) = evaluate(exact_model, "--last-word", path, "--field", "body")
    assert task["accuracy"] == sum(greedy for _, greedy in scores) / len(scores)
    assert 0 < task["accuracy"] < 1, "the rows tell nothing apart"
    assert task["perplexity"] == pytest.approx(math.exp(-sum(score for score, _ in scores) / len(scores)), rel=1e-4)


@pytest.mark.parametrize("sharding", ["layers", "samples"])
def test_any_number_of_workers_and_a_compressed_model_beside(tmp_path, recipe_file, sharding):
    asked = questions(tmp_path / "questions.jsonl", [0] * len(QUESTIONS))
    words = write(tmp_path / "words.jsonl", [{"text": text} for text in TEXTS])
    path = recipe_file(recipe(samples=8, method="rtn: {bits: 3, group_size: 64}", extra=f"""
sharding: {sharding}
evaluation:
  perplexity: [{{name: heldout, uri: "{HELDOUT}", sequence_length: 128, max_windows: 8, domain: prose}}]
  multiple_choice: [{{name: questions, uri: "{asked}", domain: reasoning}}]
  last_word: [{{name: words, uri: "{words}", domain: prose}}]
"""))
    found = {}
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        done = calipress("run", MODEL, out, "--recipe", path, "--workers", workers, "--threads-per-worker", 1, check=0)
        found[workers] = json.loads((out / "report.json").read_text())["tasks"]
        for word in ("questions", "words", "reasoning", "prose"):
            assert word in done.stdout
        told = json.loads((out / "report.json").read_text())
        # Round to nearest reads no text: that is said, and its errors are those of the weights.
        assert any("calibration data was not read" in warning and "calibration.jsonl" in warning
                   for warning in told["warnings"])
        assert all(0.001 < linear["relative_error"] < 0.2 for linear in told["linears"])
    assert found[1] == found[2]
    tasks = {task["name"]: task for task in found[1]}
    assert tasks["words"]["domain"] == "prose" and tasks["questions"]["kind"] == "multiple_choice"
    # What stands as the original's is what the original has alone.
    alone = {task["name"]: task for task in evaluate(MODEL, "--multiple-choice", asked, "--last-word", words)}
    assert tasks["questions"].get("accuracy_original", 0) == alone["questions"]["accuracy"]
    assert tasks["questions"].get("accuracy_normalized_original", 0) == alone["questions"]["accuracy_normalized"]
    assert tasks["words"].get("accuracy_original", 0) == alone["words"]["accuracy"]
    assert tasks["words"]["perplexity_original"] == pytest.approx(alone["words"]["perplexity"], rel=1e-6)
    assert tasks["words"]["perplexity"] != tasks["words"]["perplexity_original"]
    # And the compressed model's is what its checkpoint has, beside a reference.
    later = {task["name"]: task for task in evaluate(tmp_path / "out1", "--multiple-choice", asked, "--last-word", words,
                                                    "--reference", MODEL)}
    assert later["words"]["perplexity"] == pytest.approx(tasks["words"]["perplexity"], rel=1e-6)
    assert later["words"]["perplexity_original"] == pytest.approx(alone["words"]["perplexity"], rel=1e-6)
    assert later["questions"]["accuracy"] == tasks["questions"].get("accuracy", 0)


def test_bad_rows_name_file_and_line(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"context": "a", "choices": ["b", "c"], "answer": 0}\n{"context": "a", "choices": ["b"], "answer": 0}\n')
    refused = calipress("eval", MODEL, "--multiple-choice", path)
    assert refused.returncode != 0
    assert "bad.jsonl" in refused.stderr and "line 2" in refused.stderr and "two or more" in refused.stderr
    refused = calipress("eval", MODEL, "--multiple-choice", path, "--choice-fields", "query,choices,gold")
    assert "line 1" in refused.stderr and "no field 'query'" in refused.stderr
    words = write(tmp_path / "words.jsonl", [{"text": "two words"}, {"text": "one"}])
    refused = calipress("eval", MODEL, "--last-word", words)
    assert "words.jsonl" in refused.stderr and "line 2" in refused.stderr and "one word" in refused.stderr


def test_refusals_name_the_field(tmp_path):
    words = write(tmp_path / "words.jsonl", [{"text": "two words"}])
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe(samples=8, extra=f"""
evaluation:
  perplexity: [{{name: a, uri: "{HELDOUT}"}}]
  multiple_choice: [{{name: a, uri: "{tmp_path}/none.jsonl", max_examples: -1}}]
  last_word: [{{name: w, uri: "{words}"}}]
"""))
    refused = calipress("run", MODEL, tmp_path / "out", "--recipe", path, check=2)
    assert "evaluation.multiple_choice[0].name" in refused.stderr
    assert "evaluation.multiple_choice[0].max_examples" in refused.stderr


def real(*path):
    path = SHARED.joinpath("text", *path)
    if not path.exists():
        pytest.skip(f"{path} is not here: set CALIPRESS_SHARED to the shared data")
    return path, [json.loads(line) for line in path.read_text().splitlines()]


def test_partial_scoring_of_winogrande(exact_model):
    """Two contexts and one text after each (methods.md 8.2), on the file itself."""
    path, rows = real("mc", "winogrande.jsonl")
    peer, right = Peer(exact_model, torch.float32), 0
    for row in rows[:40]:
        first, second = (peer.score(context, " " + row["continuation"])[0] for context in row["contexts"])
        right += (second > first) == row["gold"]
    (task,) = evaluate(exact_model, "--multiple-choice", path, "--choice-fields", "contexts,continuation,gold",
                       "--max-examples", 40)
    assert task["accuracy"] == right / 40 and int(task["examples"]) == 40
    # All are of one length.
    assert task["accuracy_normalized"] == task["accuracy"]


def test_last_words_of_lambada(exact_model):
    """As the file has them: context and continuation."""
    path, rows = real("lambada_openai.jsonl")
    peer = Peer(exact_model, torch.float32)
    scores = [peer.score(row["context"], " " + row["continuation"]) for row in rows[:40]]
    (task,) = evaluate(exact_model, "--last-word", path, "--max-examples", 40)
    assert task.get("accuracy", 0) == sum(greedy for _, greedy in scores) / 40
    assert task["perplexity"] == pytest.approx(math.exp(-sum(score for score, _ in scores) / 40), rel=1e-4)


def test_known_figures(exact_model):
    """Of another program (README.md of the shared data), which cuts contexts to 216 tokens and choices to 39 and
    tokenizes choices alone: nothing of which changes a row of copa."""
    path = SHARED / "text" / "mc" / "copa.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not here: set CALIPRESS_SHARED to the shared data")
    (task,) = evaluate(exact_model, "--multiple-choice", path, "--choice-fields", "query,choices,gold")
    assert int(task["examples"]) == 100
    assert task["accuracy"] == 0.62 and task["accuracy_normalized"] == 0.56
