"""What the decoding path writes, against transformers' generate, on tiny random models of every family."""

import json
import subprocess

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from logits import BIN_FOLDER
from test_logits import MODELS, tokens, trained, write

PROGRAM = BIN_FOLDER / "calipress-test-generate"


def ours(folder, prompts, length, scratch, temperature=0.0, threads=1):
    np.save(scratch / "prompts.npy", np.asarray(prompts, dtype=np.int64))
    result = subprocess.run([PROGRAM, folder, scratch / "prompts.npy", scratch / "out.npy", str(length),
                             str(temperature), str(threads)], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return np.load(scratch / "out.npy"), json.loads(result.stdout)


def theirs(folder, prompts, length):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
    prompts = torch.as_tensor(np.asarray(prompts))
    with torch.no_grad():
        return model.generate(prompts, attention_mask=torch.ones_like(prompts), do_sample=False, max_length=length,
                              min_length=length, eos_token_id=None, pad_token_id=0).numpy()


@pytest.mark.parametrize("name", MODELS)
def test_greedy_tokens(name, tmp_path):
    folder = write(name, tmp_path / "model")
    for prompt in (1, 17):
        prompts = tokens(5, prompt)
        found, told = ours(folder, prompts, 40, tmp_path)
        np.testing.assert_array_equal(found, theirs(folder, prompts, 40))
        np.testing.assert_allclose(told["written"], told["scored"], rtol=1e-4)


def test_rows_and_threads_do_not_matter(tmp_path):
    folder = write("mistral-sliding", tmp_path / "model", torch.bfloat16)
    prompts = tokens(70, 3)
    # Three groups of rows: two in one step and the last alone, one of each thread, a step of all threads.
    expected, _ = ours(folder, prompts, 40, tmp_path, threads=1)
    for threads in (2, 4):
        np.testing.assert_array_equal(ours(folder, prompts, 40, tmp_path, threads=threads)[0], expected)
    few_rows, _ = ours(folder, prompts[:2], 40, tmp_path, threads=1)
    np.testing.assert_array_equal(few_rows, expected[:2])


def test_half_precision(tmp_path):
    """f16, in which jobs with outputs in the gptq and awq formats run."""
    folder = write("llama", tmp_path / "model", torch.float16)
    found, told = ours(folder, tokens(4, 2), 40, tmp_path)
    np.testing.assert_allclose(told["written"], told["scored"], rtol=2e-2)
    assert found.shape == (4, 40)


def test_trained_model_writes_likely_text(tmp_path):
    folder = trained("mix-llama-5.8m")
    _, told = ours(folder, np.ones((32, 1)), 128, tmp_path, temperature=1.0)
    assert 3 < np.exp(np.mean(np.log(told["written"]))) < 60
    np.testing.assert_allclose(told["written"], told["scored"], rtol=2e-2)
