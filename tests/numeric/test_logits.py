"""Every family's forward against transformers, on tiny random models written to disk and on two trained ones."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

from logits import PROGRAM, ROOT, ours, perplexity, theirs

SHARED = Path(os.environ.get("CALIPRESS_SHARED", ROOT / ".." / "shared"))

BASE = dict(vocab_size=199, hidden_size=64, intermediate_size=152, num_hidden_layers=3, num_attention_heads=8,
            num_key_value_heads=4, max_position_embeddings=64, initializer_range=0.15, rms_norm_eps=1e-5,
            attention_dropout=0.0)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)


def llama(**options):
    return LlamaForCausalLM, LlamaConfig(**{**BASE, **options})


def rope(**parameters):
    return dict(rope_parameters={"rope_theta": 10000.0, **parameters})


MODELS = {
    "llama": lambda: llama(),
    "llama-mha": lambda: llama(num_key_value_heads=8),
    "llama-one-kv-head": lambda: llama(num_key_value_heads=1),
    "llama-biases": lambda: llama(attention_bias=True, mlp_bias=True),
    "llama-tied": lambda: llama(tie_word_embeddings=True),
    "llama-head-dim": lambda: llama(head_dim=24),
    "llama-gelu": lambda: llama(hidden_act="gelu"),
    "llama-gelu-tanh": lambda: llama(hidden_act="gelu_pytorch_tanh"),
    "llama-theta": lambda: llama(**rope(rope_type="default", rope_theta=500000.0)),
    "llama-llama3": lambda: llama(**rope(**LLAMA3)),
    "llama-linear": lambda: llama(**rope(rope_type="linear", factor=2.5)),
    "llama-dynamic": lambda: llama(**rope(rope_type="dynamic", factor=2.0)),
    "llama-yarn": lambda: llama(**rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=32)),
    "llama-yarn-options": lambda: llama(**rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=32,
                                               beta_fast=16.0, beta_slow=2.0, mscale=1.5, mscale_all_dim=0.7,
                                               truncate=False)),
    "llama-yarn-attention-factor": lambda: llama(**rope(rope_type="yarn", factor=4.0, attention_factor=1.3,
                                                        original_max_position_embeddings=32)),
    "mistral": lambda: (MistralForCausalLM, MistralConfig(**BASE, sliding_window=None)),
    "mistral-sliding": lambda: (MistralForCausalLM, MistralConfig(**BASE, sliding_window=13)),
    "qwen2": lambda: (Qwen2ForCausalLM, Qwen2Config(**BASE)),
    "qwen2-sliding": lambda: (Qwen2ForCausalLM, Qwen2Config(**BASE, use_sliding_window=True, sliding_window=13,
                                                            max_window_layers=1)),
    "qwen3": lambda: (Qwen3ForCausalLM, Qwen3Config(**BASE, head_dim=16)),
    "qwen3-biases-sliding": lambda: (Qwen3ForCausalLM, Qwen3Config(**BASE, head_dim=8, attention_bias=True,
                                                                   use_sliding_window=True, sliding_window=9,
                                                                   max_window_layers=2)),
}


def write(name, folder, dtype=torch.float32):
    torch.manual_seed(sum(map(ord, name)))
    model_class, config = MODELS[name]()
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            # Norms of one and biases of zero would hide that they are left out.
            if parameter_name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5)
            elif parameter_name.endswith("bias"):
                parameter.normal_(0.0, 0.3)
    model.to(dtype).save_pretrained(folder)
    return folder


def tokens(rows, length, vocabulary=199):
    return np.random.default_rng(5).integers(0, vocabulary, (rows, length))


@pytest.mark.parametrize("length", [1, 40, 100])  # 100: beyond the models' positions, where dynamic rope begins
@pytest.mark.parametrize("name", MODELS)
def test_random_model(name, length, tmp_path):
    folder = write(name, tmp_path / "model")
    ids = tokens(3, length)
    expected = theirs(folder, ids)
    assert expected.std() > 0.5, "logits too small to compare"
    np.testing.assert_allclose(ours(folder, ids, tmp_path), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["llama", "llama-llama3", "mistral-sliding", "qwen2", "qwen3"])
def test_random_model_in_bf16(name, tmp_path):
    """Two bf16 forwards differ by their roundings, which depend on the processor: ours is as near to fp32 as theirs."""
    folder = write(name, tmp_path / "model", torch.bfloat16)
    ids = tokens(3, 50)
    exact = theirs(folder, ids)
    expected = theirs(folder, ids, torch.bfloat16)
    found = ours(folder, ids, tmp_path, "bf16")
    assert cosine(found, expected) > 0.9997
    assert np.sqrt(np.mean((found - exact) ** 2)) < 1.2 * np.sqrt(np.mean((expected - exact) ** 2))


def cosine(a, b):
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def trained(name):
    carried = ROOT / "tests" / "data" / name
    folder = carried if carried.exists() else SHARED / "data" / "models" / name
    if not folder.exists():
        pytest.skip(f"no {name} in tests/data or CALIPRESS_SHARED")
    return folder


@pytest.mark.parametrize("name", ["stories260k", "mix-llama-5.8m"])
def test_trained_model(name, tmp_path):
    folder = trained(name)
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    ids = tokens(4, 200, vocabulary)
    expected = theirs(folder, ids)
    np.testing.assert_allclose(ours(folder, ids, tmp_path), expected, atol=1e-4, rtol=0)
    assert cosine(ours(folder, ids, tmp_path, "bf16"), theirs(folder, ids, torch.bfloat16)) > 0.9999


def story_windows(folder):
    """As in the data's README: no <s> in the text, windows of 255 with <s> before each."""
    path = SHARED / "data" / "text" / "stories_test.jsonl"
    if not path.exists():
        pytest.skip(f"no {path.name}: set CALIPRESS_SHARED to the folder that holds data/text")
    text = "\n\n".join(json.loads(line)["text"] for line in path.read_text().splitlines())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    count = len(ids) // 255
    windows = np.asarray(ids[:count * 255]).reshape(count, 255)
    return np.concatenate([np.full((count, 1), 1), windows], axis=1)


@pytest.mark.parametrize("dtype, tolerance", [("f32", 1e-3), ("bf16", 2e-2)])
def test_perplexity_of_stories(dtype, tolerance, tmp_path):
    """The figure that an independent forward in numpy gave."""
    folder = trained("mix-llama-5.8m")
    ids = story_windows(folder)
    losses = []
    for part in np.array_split(ids, 3):  # the logits of all windows would take close to a gigabyte
        losses += [np.log(perplexity(ours(folder, part, tmp_path, dtype), part))] * len(part)
    assert np.exp(np.mean(losses)) == pytest.approx(13.1657, abs=tolerance)


def test_missing_tensor_is_named(tmp_path):
    folder = write("llama", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    np.save(tmp_path / "ids.npy", tokens(1, 4))
    result = subprocess.run([PROGRAM, folder, tmp_path / "ids.npy", tmp_path / "out.npy"], capture_output=True,
                            text=True, timeout=60)
    assert result.returncode == 1
    assert "SOURCE_MODEL_CORRUPT" in result.stderr
    assert "model.layers.1.mlp.up_proj.weight" in result.stderr
