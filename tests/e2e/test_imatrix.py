"""imatrix.gguf beside a checkpoint, read by llama.cpp's own gguf package, against transformers' activations."""

import json

import numpy as np
import pytest

from checkpoint_bytes import digest, tensors
from conftest import HELDOUT, MODEL, calipress

NAMES = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate",
         "up_proj": "ffn_up", "down_proj": "ffn_down"}


@pytest.fixture(scope="module")
def ids(tmp_path_factory):
    """8 sequences of 96 ids, written as the file that jobs read."""
    from transformers import AutoTokenizer
    text = "\n".join(json.loads(line)["text"] for line in HELDOUT.read_text().splitlines()[:200])
    tokens = AutoTokenizer.from_pretrained(MODEL)(text)["input_ids"]
    path = tmp_path_factory.mktemp("ids") / "ids.npy"
    np.save(path, np.array(tokens[:8 * 96], dtype=np.int32).reshape(8, 96))
    return path


def run(folder, ids, step, *args, check=0):
    recipe = folder.parent / f"{folder.name}.yaml"
    recipe.write_text(f"""
calibration: {{sources: [{{token_ids: {{uri: "{ids}"}}}}]}}
steps: [{step}]
output: {{imatrix: true}}
""")
    return calipress("run", MODEL, folder, "--recipe", recipe, "--threads-per-worker", 1, *args, check=check)


def read(path):
    from gguf import GGUFReader
    reader = GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    return fields, {tensor.name: np.array(tensor.data) for tensor in reader.tensors}


@pytest.fixture(scope="module")
def square_sums(ids):
    """Of each linear, in llama.cpp's names, the sums of squares of its inputs in the original model."""
    import torch
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype="auto").eval()
    sums = {}
    for index, block in enumerate(model.model.layers):
        for name, module in block.named_modules():
            role = name.split(".")[-1]
            if role in NAMES:
                module.register_forward_hook(lambda _, args, __, key=f"blk.{index}.{NAMES[role]}.weight": sums.update(
                    {key: args[0].double().square().sum((0, 1)).numpy()}))
    with torch.no_grad():
        model(torch.from_numpy(np.load(ids)).long())
    return sums


def test_sums_are_those_of_the_original_model(tmp_path, ids, square_sums):
    run(tmp_path / "out", ids, "{gptq: {group_size: 128}}", "--set", "propagation=original")
    fields, found = read(tmp_path / "out" / "imatrix.gguf")
    assert fields["general.type"] == "imatrix"
    assert fields["imatrix.datasets"] == [str(ids)]
    assert (fields["imatrix.chunk_count"], fields["imatrix.chunk_size"]) == (8, 96)
    assert found.keys() == {f"{name}.{kind}" for name in square_sums for kind in ("in_sum2", "counts")}
    for name, sums in square_sums.items():
        assert found[f"{name}.counts"].ravel().tolist() == [8 * 96]
        # The first input is to fp32 the same; behind it bf16 roundings fall to either side.
        first = name.startswith("blk.0.attn_") and not name.startswith("blk.0.attn_output")
        ours = found[f"{name}.in_sum2"].ravel()
        np.testing.assert_allclose(ours, sums, rtol=1e-4 if first else 0.1, err_msg=name)
        assert np.median(np.abs(ours / sums - 1)) < 5e-3, name


@pytest.mark.parametrize("step", ["{gptq: {group_size: 128}}", "{rtn: {}, targets: ['re:.*down_proj']}"],
                         ids=["gptq", "rtn of some"])
def test_every_linear_has_its_sums_for_any_number_of_workers(tmp_path, ids, square_sums, step):
    for workers in (1, 3):
        run(tmp_path / str(workers), ids, step, "--workers", workers)
    assert digest(tmp_path / "1") == digest(tmp_path / "3")
    _, found = read(tmp_path / "1" / "imatrix.gguf")
    assert found.keys() == {f"{name}.{kind}" for name in square_sums for kind in ("in_sum2", "counts")}
    # The first block's first input is the original model's, whatever is compressed after it.
    first = "blk.0.attn_q.weight"
    np.testing.assert_allclose(found[first + ".in_sum2"].ravel(), square_sums[first], rtol=1e-3)
    # Nothing of it is in the checkpoint.
    assert not any("in_sum2" in name for name in tensors(tmp_path / "1"))


def test_without_text_it_is_refused(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("steps: [{rtn: {}}]\noutput: {imatrix: true}\n")
    done = calipress("run", MODEL, tmp_path / "out", "--recipe", recipe)
    assert done.returncode != 0 and "output.imatrix" in done.stdout + done.stderr
