"""Writes the files of packed/, beside this file, for packed_documents_test.cc: one text in every packing.

Run with the environment of the tests: python packed_files.py
"""

import gzip
import lzma
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

TEXTS = ["One day a fox came.", "", "It was red, and so on. \u00e4\u20ac", "The end."]
LINES = "".join('{"text": "%s"}\n' % text for text in TEXTS).encode()

folder = Path(__file__).with_name("packed")
folder.mkdir(exist_ok=True)


def write(name, data):
    (folder / name).write_bytes(data)


# Two members, as `cat a.gz b.gz` makes.
half = LINES.index(b"\n") + 1
write("rows.jsonl.gz", gzip.compress(LINES[:half], mtime=0) + gzip.compress(LINES[half:], mtime=0))
write("rows.jsonl.zst", pa.compress(LINES, codec="zstd", asbytes=True))
write("rows.jsonl.xz", lzma.compress(LINES[:half]) + lzma.compress(LINES[half:]))
table = pa.table({"id": [1, 2, 3, 4, 5], "text": TEXTS + [None]})
pq.write_table(table, folder / "rows.parquet", compression="zstd", row_group_size=2)
coded = pa.table({"text": pa.array(TEXTS + [None]).dictionary_encode(), "tags": [["a"]] * 5})
pq.write_table(coded, folder / "coded.parquet", compression="snappy")
pq.write_table(pa.table({"text": pa.array([b"ok", b"\xff"], pa.binary())}), folder / "damaged_text.parquet")
# 65 MiB of one letter: more than is kept in memory, and than a line may have.
write("bomb.jsonl.xz", lzma.compress(b"a" * (65 << 20)))
