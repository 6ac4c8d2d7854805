"""Samples text from a model by itself: the calibration and held-out text of the demo and the tests.

Nothing is downloaded and no text of anybody else is carried. Documents are plain ancestral samples (Williams et al.,
NAACL 2025: the model's own text calibrates it about as well as its training text), at a temperature a little below one,
from the beginning-of-sequence token to the end-of-sequence token or to the model's context.

    python tests/data/sample_text.py MODEL [--out FOLDER]

writes FOLDER/calibration.jsonl and FOLDER/heldout.jsonl, one {"text": ...} a row. The same model, torch version and
seeds give the same rows on the same kind of processor.
"""

import argparse
import json
import pathlib

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEMPERATURE = 0.9
CONTEXT = 256
BATCH = 32
# name: (documents asked for, seed)
FILES = {"calibration": (160, 1), "heldout": (60, 2)}


def sample(model, tokenizer, documents: int, seed: int) -> list[str]:
    """`documents` texts, less those that came out empty. Batches are sampled in one fixed order from one generator."""
    torch.manual_seed(seed)
    texts = []
    for start in range(0, documents, BATCH):
        rows = min(BATCH, documents - start)
        begin = torch.full((rows, 1), tokenizer.bos_token_id)
        ids = model.generate(
            begin,
            attention_mask=torch.ones_like(begin),
            do_sample=True,
            temperature=TEMPERATURE,
            top_k=0,  # 0 and 1.0: the whole distribution
            top_p=1.0,
            max_length=CONTEXT,
            pad_token_id=tokenizer.eos_token_id,
        )
        for row in ids.tolist():
            text = tokenizer.decode(row, skip_special_tokens=True).strip()
            # A document that ends in the middle of a character has U+FFFD there.
            text = text.rstrip("\N{REPLACEMENT CHARACTER}")
            if text:
                texts.append(text)
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help="a Hugging Face model folder")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    arguments = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    for name, (documents, seed) in FILES.items():
        texts = sample(model, tokenizer, documents, seed)
        path = arguments.out / f"{name}.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for text in texts:
                file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        print(f"{path}: {len(texts)} documents")


if __name__ == "__main__":
    main()
