"""Writes golden_ids.json, beside this file, with the Python package tokenizers 0.23.3.

usage: golden_ids.py FOLDER    (FOLDER holds mix-llama-5.8m and stories260k)
"""
import json
import pathlib
import sys

from tokenizers import Tokenizer

TEXTS = [
    "", " ", "\n", "Hello, world!", "  two  spaces\tand\ttabs\n\n\nlines ", "It's they'll WE'VE I'm 'tis",
    "naïve café — “quotes” … ½ €", "日本語のテキスト、中文、한국어", "👩‍👩‍👧‍👦 🏳️‍🌈 emoji", "e\u0301 vs é",
    "\u200b\ufeffzero width", "<s> and </s> <unk> inside", "<s>", "a</s>b", "12345 67,890.12 3e-5",
    "x = {'a': [1, 2]}  # code\n\tdef f(): return", "a\u0000b\u0001c", "ААБВ العربية עברית", "a" * 38,
    "supercalifragilisticexpialidocious", "\r\n\r\n windows", "\U0010ffff\ud7ff",
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park.",
]


def cases(tokenizer):
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=True).ids
        yield {
            "text": text,
            "with": ids,
            "without": tokenizer.encode(text, add_special_tokens=False).ids,
            "decoded": tokenizer.decode(ids, skip_special_tokens=True),
            "decoded_all": tokenizer.decode(ids, skip_special_tokens=False),
        }


models = []
for model in ["mix-llama-5.8m", "stories260k"]:
    tokenizer = Tokenizer.from_file(f"{sys.argv[1]}/{model}/tokenizer.json")
    size = max(tokenizer.get_vocab(True).values()) + 1
    rows = ",\n  ".join(json.dumps(case, separators=(",", ":")) for case in cases(tokenizer))
    models.append(f' {{"model": "{model}", "vocabulary_size": {size}, "cases": [\n  {rows}\n ]}}')
pathlib.Path(__file__).with_suffix(".json").write_text("[\n" + ",\n".join(models) + "\n]\n")
