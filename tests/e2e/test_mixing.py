"""MixCal: statistics by domain, weighed."""

import json

import numpy as np
import pytest

from checkpoint_bytes import dequantized, digest, same_bytes, tensors
from conftest import HELDOUT, MODEL, calipress

LAW, WEB = "law", "web"


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Two domains as files of ids: the same number of sequences, other tokens; and both as one."""
    folder = tmp_path_factory.mktemp("domains")
    random = np.random.default_rng(0)
    law = random.integers(3, 600, size=(6, 64), dtype=np.int64)
    web = random.integers(600, 4096, size=(6, 64), dtype=np.int64)
    for name, ids in ((LAW, law), (WEB, web), ("both", np.concatenate([law, web]))):
        np.save(folder / f"{name}.npy", ids)
    return folder


def mixed(sets, weights, step, extra="", normalize="false"):
    law, web = weights
    return f"""
calibration:
  sources:
    - {{domain: {LAW}, token_ids: {{uri: "{sets}/{LAW}.npy"}}}}
    - {{domain: {WEB}, token_ids: {{uri: "{sets}/{WEB}.npy"}}}}
  mixing: {{weights: [{{domain: {LAW}, weight: {law}}}, {{domain: {WEB}, weight: {web}}}], normalize_trace: {normalize}}}
  scored_tokens: 0
steps: [{step}]
{extra}
"""


def plain(sets, name, step, extra=""):
    return (f"calibration: {{sources: [{{token_ids: {{uri: '{sets}/{name}.npy'}}}}], scored_tokens: 0}}\n"
            f"steps: [{step}]\n{extra}\n")


def run(tmp_path, recipe_file, name, text, workers=1):
    calipress("run", MODEL, tmp_path / name, "--recipe", recipe_file(text), "--workers", workers,
              "--threads-per-worker", 1, check=0)
    return tmp_path / name


def dense(folder):
    return {name: value for name, value in tensors(folder).items() if name.endswith("_proj.weight")}


SMOOTH = "{smoothquant: {}}, {rtn: {bits: 8, activations: dynamic}}"


@pytest.mark.parametrize("propagation, step", [("original", "{wanda: {}}"), ("compressed", "{wanda: {}}"),
                                               ("original", "{spqr: {}, targets: ['re:.*(o|down)_proj']}"),
                                               ("original", SMOOTH)],
                         ids=["wanda, original", "wanda, compressed", "spqr", "smoothquant"])
def test_a_weight_of_one_is_that_domain_alone(sets, tmp_path, recipe_file, propagation, step):
    """Of stage-parallel runs to the bit; compressed hidden states of both domains pass, and only one counts."""
    extra = f"propagation: {propagation}"
    only = run(tmp_path, recipe_file, "only", plain(sets, LAW, step, extra))
    weighed = run(tmp_path, recipe_file, "weighed", mixed(sets, (1, 0), step, extra))
    # The recipes and the ids beside them differ.
    assert same_bytes(only / "model.safetensors", weighed / "model.safetensors")


def test_a_mixture_is_replayed_from_its_ids(sets, tmp_path, recipe_file):
    first = run(tmp_path, recipe_file, "first", mixed(sets, (0.3, 0.7), "{sparsegpt: {}}"))
    again = run(tmp_path, recipe_file, "again", (first / "replay.yaml").read_text())
    assert same_bytes(first / "model.safetensors", again / "model.safetensors")


def test_equal_counts_at_a_half_are_concatenation(sets, tmp_path, recipe_file):
    """The identity of methods.md 3: but for the order of sums."""
    extra = "propagation: original"
    step = "{gptq: {group_size: 64}}"
    both = dequantized(run(tmp_path, recipe_file, "both", plain(sets, "both", step, extra)))
    half = dequantized(run(tmp_path, recipe_file, "half", mixed(sets, (0.5, 0.5), step, extra)))
    differ = sum((both[name] != half[name]).sum().item() for name in both)
    count = sum(weight.numel() for weight in both.values())
    assert differ < 0.01 * count, f"{differ} of {count}"
    other = dequantized(run(tmp_path, recipe_file, "other", mixed(sets, (0.9, 0.1), step, extra)))
    assert sum((both[name] != other[name]).sum().item() for name in both) > 0.02 * count


def test_the_largest_input_is_that_of_all_domains_that_count(sets, tmp_path, recipe_file):
    """SmoothQuant's ranges must hold what occurs: weights above 0 are all the same to it, and one of 0 is not."""
    model = {weight: (run(tmp_path, recipe_file, f"w{weight}", mixed(sets, (weight, 1 - weight), SMOOTH,
                                                                      "propagation: original")) /
                      "model.safetensors").read_bytes() for weight in (0, 0.1, 0.9)}
    assert model[0.1] == model[0.9] != model[0]


def test_spqr_of_a_mixture_is_neither_domain(sets, tmp_path, recipe_file):
    step = "{spqr: {bits: 2}, targets: ['re:.*o_proj']}"
    models = [(run(tmp_path, recipe_file, f"w{weight}", mixed(sets, (weight, 1 - weight), step, "propagation: original")) /
               "model.safetensors").read_bytes() for weight in (0, 0.5, 1)]
    assert len(set(models)) == 3


def test_the_imatrix_is_weighed(sets, tmp_path, recipe_file):
    """Mean squares by the weights, whatever the token counts are."""
    from gguf import GGUFReader

    def means(text, name):
        tensors = {tensor.name: np.array(tensor.data, dtype=np.float64) for tensor in
                   GGUFReader(run(tmp_path, recipe_file, name, text) / "imatrix.gguf").tensors}
        return {name: tensors[name].ravel() / tensors[name.replace("in_sum2", "counts")].ravel() for name in tensors
                if name.endswith("in_sum2")}

    step, extra = "{rtn: {}, targets: ['re:.*down_proj']}", "output: {imatrix: true}\npropagation: original"
    law, web = (means(plain(sets, name, step, extra), name) for name in (LAW, WEB))
    both = means(mixed(sets, (0.3, 0.7), step, extra), "mixed")
    assert len(both) == 42
    for name, found in both.items():
        np.testing.assert_allclose(found, 0.3 * law[name] + 0.7 * web[name], rtol=2e-3, err_msg=name)


@pytest.mark.parametrize("step", ["{wanda: {}}", "{sparsegpt: {}}", "{awq: {group_size: 64}}",
                                  "{wanda: {sparsity: 0.6, owl: {}}}", "{dsnot: {sparsity: 0.6}}"])
def test_workers_and_replicas(sets, tmp_path, recipe_file, step):
    text = mixed(sets, (0.3, 0.7), step, normalize="true")
    one = run(tmp_path, recipe_file, "one", text)
    assert digest(one) == digest(run(tmp_path, recipe_file, "two", text, workers=2))
    if "awq" in step:
        return
    shared = dense(run(tmp_path, recipe_file, "shared", text + "sharding: samples\n", workers=2))
    alone = dense(one)
    differ = sum(((alone[name] == 0) != (shared[name] == 0)).sum().item() for name in alone)
    assert differ < 0.02 * sum(weight.numel() for weight in alone.values())


def test_a_sweep_is_a_study(sets, tmp_path, recipe_file):
    text = f"""
calibration:
  mixing: {{weights: [{{domain: {LAW}, weight: 1}}, {{domain: {WEB}, weight: 1}}]}}
  scored_tokens: 0
study:
  methods: [{{name: wanda, steps: [{{wanda: {{}}}}]}}]
  sources:
    - name: both
      sources:
        - {{domain: {LAW}, token_ids: {{uri: "{sets}/{LAW}.npy"}}}}
        - {{domain: {WEB}, token_ids: {{uri: "{sets}/{WEB}.npy"}}}}
  draws: 1
  sweep: {{domain: {LAW}, weights: [0, 0.3, 1]}}
  keep: wanda/both/0/0.3
propagation: original
evaluation: {{perplexity: [{{name: heldout, uri: "{HELDOUT}", sequence_length: 64, max_windows: 4}}]}}
"""
    out = run(tmp_path, recipe_file, "out", text, workers=2)
    told = json.loads((out / "report.json").read_text())
    runs = {one["name"]: one for one in told["study"]["runs"]}
    assert set(runs) == {"wanda/both/0/0", "wanda/both/0/0.3", "wanda/both/0/1", "wanda/both/0/0/repeat"}
    assert len({one["fingerprint"] for one in runs.values()}) == 3
    assert [one["domain_weight"] for one in told["study"]["statistics"] if one["metric"] == "perplexity heldout"] == [
        0, 0.3, 1]
    # One pass of the model for the three weights, another for the repeated run.
    compressed = next(phase for phase in told["phases"] if phase["name"] == "study: compress")
    assert compressed["activities"]["forward"] > 0
    # Draws of token ids shuffle the rows: the order of a file is that of the one draw.
    alone = run(tmp_path, recipe_file, "alone", (out / "recipe.yaml").read_text())
    assert digest(alone) == digest(out)


@pytest.mark.parametrize("weights, field", [
    ("[{domain: law, weight: 1}]", "calibration.mixing.weights: has none for the domain 'web'"),
    ("[{domain: law, weight: 1}, {domain: wbe, weight: 1}]", "mixing.weights[1].domain"),
    ("[{domain: law, weight: 0}, {domain: web, weight: 0}]", "sum to 0"),
    ("[{domain: law, weight: -1}, {domain: web, weight: 1}]", "mixing.weights[0].weight"),
])
def test_refused(sets, tmp_path, recipe_file, weights, field):
    text = mixed(sets, (1, 1), "{wanda: {}}")
    begin, end = text.index("weights: [") + len("weights: "), text.index("], normalize_trace") + 1
    refused = calipress("run", MODEL, tmp_path / "out", "--recipe", recipe_file(text[:begin] + weights + text[end:]),
                        check=2)
    assert field in refused.stderr, refused.stderr
