"""Loads results with transformers and compressed-tensors as a user would.

    load_checkpoint.py SOURCE CHECKPOINT[,IDS,LOGITS]...

is run once per compressed-tensors version (PYTHONPATH picks it), and prints a line for each. Tests of one version call
`check` and `load_dense` themselves, in their own process.
"""

import sys

import compressed_tensors
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, __file__.rsplit("/", 1)[0])
from checkpoint_bytes import dequantized, tensors  # noqa: E402


def load(checkpoint, dtype):
    """The model; fails on any missing, unexpected or mismatched key."""
    model, info = AutoModelForCausalLM.from_pretrained(checkpoint, output_loading_info=True, dtype=dtype)
    problems = {key: value for key, value in info.items() if value}
    assert not problems, f"keys that do not fit: {problems}"
    return model


def check(checkpoint, source, ids=None, logits=None):
    """Fails on keys that do not fit, on a dequantized weight that differs in one bit from an independent reader's, and on logits that differ from a dense twin's. A twin rounds no inputs: where `ids` and
    `logits` (files) are given, a model in fp32 with the same weights is compared with them. (Rounded inputs make much of
    bf16's own noise.)"""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokens = tokenizer("Once upon a time there was a little girl named Lily.", return_tensors="pt").input_ids
    if ids:
        tokens = torch.from_numpy(np.load(ids)).long()
    model = load(checkpoint, torch.bfloat16)
    dense = dequantized(checkpoint)
    assert dense, "nothing is quantized"
    twin = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    own = twin.state_dict()
    with torch.no_grad():
        # Norms and biases, which methods may change too.
        for name, tensor in tensors(checkpoint).items():
            if name in own:
                own[name].copy_(tensor)
        for module, weight in dense.items():
            twin.get_submodule(module).weight.copy_(weight)
        ours = model(tokens).logits.float()
        theirs = twin(tokens).logits.float()
    for module, weight in dense.items():
        loaded = model.get_submodule(module)
        assert hasattr(loaded, "weight"), f"{module} has no dense weight after a forward"
        assert torch.equal(loaded.weight, weight), f"{module}: loaded weight differs from the stored codes"
    if logits:
        exact = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        with torch.no_grad():
            exact(tokens)  # decompresses the weights
            for module, weight in dense.items():
                exact.get_submodule(module).weight.copy_(weight)
            ours, theirs = exact(tokens).logits, torch.from_numpy(np.load(logits))
    cosine = torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0).item()
    assert cosine > 0.9999, f"cosine of logits {cosine}"
    return f"OK compressed-tensors {compressed_tensors.__version__}: {len(dense)} linears equal, cosine {cosine:.7f}"


def load_dense(checkpoint):
    """A checkpoint that nothing is quantized in: as `load`, every weight bit by bit, finite logits."""
    model = load(checkpoint, "auto")
    state = model.state_dict()
    for name, tensor in tensors(checkpoint).items():
        assert torch.equal(state[name], tensor), name
    with torch.no_grad():
        assert torch.isfinite(model(torch.arange(1, 33)[None]).logits).all()
    return model


if __name__ == "__main__":
    for argument in sys.argv[2:]:
        checkpoint, *given = argument.split(",")
        print(checkpoint, flush=True)
        print(check(checkpoint, sys.argv[1], *given))
