"""The rules of the tree: who may include whom, what may link torch, how long a file may be, what names mean nothing.

Rules come from docs/architecture.md; a failure names the file, the line and the rule.
"""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = [ROOT / name for name in ("compress", "server", "worker", "client", "tests")]
SUFFIXES = {".h", ".cc", ".cu", ".cuh"}

# What each folder's files may include, beside their own folder and base.
MAY_INCLUDE = {
    "compress/base": set(),
    "compress/wire": {"proto"},
    "compress/storage": set(),
    "compress/tokenizer": set(),
    "compress/arch": set(),
    "compress/checkpoint": {"compress/storage", "compress/arch"},
    "compress/recipe": {"compress/arch", "compress/checkpoint", "compress/storage", "proto"},
    "compress/calibration": {"compress/storage", "compress/tokenizer", "compress/recipe", "compress/checkpoint",
                             "compress/arch", "proto"},
    "compress/report": {"compress/recipe", "compress/storage", "compress/study", "proto"},
    "compress/tasks": {"compress/calibration", "compress/storage", "compress/tokenizer", "compress/recipe", "proto"},
    "compress/study": {"proto"},
    "compress/tensor": set(),
    "compress/model": {"compress/arch", "compress/checkpoint", "compress/storage", "compress/tensor"},
    "compress/method": {"compress/checkpoint", "compress/recipe", "compress/tensor", "compress/storage",
                        "compress/arch", "proto"},
    "compress/collective": {"compress/tensor"},
    "compress/evaluate": {"compress/tensor"},
    "compress/engine": {"compress/storage", "compress/tokenizer", "compress/arch", "compress/checkpoint",
                        "compress/recipe", "compress/study", "compress/calibration", "compress/tasks",
                        "compress/tensor", "compress/model",
                        "compress/method", "compress/collective", "compress/evaluate", "proto"},
    "server/scheduler": {"compress/arch", "compress/recipe", "proto"},
    "server/store": {"proto", "server/scheduler"},
    "server/assembly": {"compress/storage", "compress/checkpoint", "compress/recipe", "compress/report", "compress/study",
                        "compress/arch", "proto", "server/fleet"},
    "server/fleet": {"compress/wire", "compress/storage", "compress/recipe", "compress/study", "server/scheduler",
                     "server/store", "proto"},
    "server/api": {"compress/wire", "compress/storage", "compress/checkpoint", "compress/recipe", "compress/arch",
                   "compress/tokenizer", "compress/calibration", "server/store", "server/fleet",
                   "server/scheduler", "proto"},
    "client/lib": {"proto"},
    "client/cli": {"compress/recipe", "compress/report", "compress/storage", "compress/arch", "compress/checkpoint",
                   "client/lib", "server", "proto"},
    "worker/device": {"compress/tensor", "compress/collective"},
    "worker/stage": {"compress/engine", "compress/collective", "compress/storage", "compress/tensor",
                     "compress/recipe", "worker/device", "proto"},
    "worker/session": {"proto", "compress/wire", "worker/stage", "compress/engine"},
}

# A header pattern and the only folders that may include it.
ONLY_IN = [
    (r"^grpc(pp)?/|^grpc", {"server/api", "server/fleet", "server", "worker/session", "worker", "client/lib", "client/cli"}, "gRPC"),
    (r"\.grpc\.pb\.h$", {"server/api", "server/fleet", "server", "worker/session", "worker", "client/lib"}, "gRPC"),
    (r"^(arrow|parquet)/", {"compress/storage"}, "Arrow"),
    (r"^lzma\.h$", {"compress/storage"}, "liblzma"),
    (r"^torch/csrc/distributed|^gloo/", {"compress/collective"}, "c10d"),
    (r"^sqlite3\.h$", {"server/store"}, "SQL"),
    (r"^(ATen|c10|torch)/", {"compress/tensor", "compress/model", "compress/method", "compress/collective",
                             "compress/evaluate", "compress/engine", "worker/device", "worker/stage", "worker"}, "torch"),
    (r"^spdlog/", {"compress/base"}, "spdlog"),
]

MEANINGLESS = {"util", "utils", "helper", "helpers", "common", "manager", "misc"}
MAX_LINES = 800


def files():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True,
                            check=True).stdout.split("\n")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def folder_of(path):
    parts = path.relative_to(ROOT).parts[:-1]
    return "/".join(parts[:2])


def sources(*tops):
    return [path for path in files() if path.suffix in SUFFIXES and path.relative_to(ROOT).parts[0] in tops]


def includes(path):
    for number, line in enumerate(path.read_text().split("\n"), 1):
        match = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1)


def test_folders_include_only_what_they_may():
    wrong = []
    for path in sources("compress", "server", "worker", "client"):
        here = folder_of(path)
        allowed = MAY_INCLUDE.get(here)
        if allowed is None:  # a program's own files (server/main.cc) wire everything
            continue
        for number, name in includes(path):
            if name.startswith("calipress/"):
                target = "proto"
            elif name.split("/")[0] in ("compress", "server", "worker", "client"):
                parts = name.split("/")
                target = "/".join(parts[:2]) if len(parts) > 2 else parts[0]
            else:
                continue
            if target not in allowed | {here, "compress/base"}:
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {here} must not include {target}")
    assert not wrong, "\n".join(wrong)


def test_no_cycles_between_folders():
    def visit(folder, path):
        assert folder not in path, " -> ".join(path + [folder])
        for target in MAY_INCLUDE.get(folder, ()):
            if target in MAY_INCLUDE:
                visit(target, path + [folder])

    # Publisher's interface is fleet's, its implementation assembly's: an arrow, not a cycle.
    for folder in MAY_INCLUDE:
        visit(folder, [])


@pytest.mark.parametrize("pattern,allowed,what", ONLY_IN, ids=[rule[2] + "-" + str(i) for i, rule in enumerate(ONLY_IN)])
def test_headers_stay_where_they_belong(pattern, allowed, what):
    wrong = []
    for path in sources("compress", "server", "worker", "client"):
        here = folder_of(path) if len(path.relative_to(ROOT).parts) > 2 else path.relative_to(ROOT).parts[0]
        for number, name in includes(path):
            if re.search(pattern, name) and here not in allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {what} header {name} outside {sorted(allowed)}")
    assert not wrong, "\n".join(wrong)


def test_files_are_short():
    long = [f"{path.relative_to(ROOT)}: {len(path.read_text().splitlines())} lines"
            for path in files() if path.suffix in SUFFIXES | {".py", ".rs", ".proto", ".sh"}
            and len(path.read_text().splitlines()) > MAX_LINES]
    assert not long, "cut these by job:\n" + "\n".join(long)


def test_names_say_something():
    bad = [str(path.relative_to(ROOT)) for path in files()
           if MEANINGLESS & set(re.split(r"[_./-]", str(path.relative_to(ROOT)).lower()))]
    assert not bad, "\n".join(bad)


def test_every_folder_has_a_readme():
    missing = [folder for folder in MAY_INCLUDE if not (ROOT / folder / "README.md").exists()]
    assert not missing, "\n".join(missing)


def test_coordinator_and_client_do_not_link_torch():
    build = ROOT / "build" / "release" / "bin"
    for program in ("calipress", "calipress-coordinator"):
        binary = build / program
        assert binary.exists(), f"{binary} is not built: ./dev build"
        linked = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=True).stdout
        assert "libtorch" not in linked and "libc10" not in linked, f"{program} links torch:\n{linked}"


def test_no_machine_in_the_tree():
    """No absolute path of a machine, no host of a registry."""
    pattern = re.compile(r"/root/|/home/[a-z]|/work/|pypi\.org|crates\.io|proxy\.golang|registry\.npmjs|debian\.org")
    wrong = []
    for path in files():
        if path == Path(__file__) or path.suffix in {".safetensors", ".lock"} or "tokenizer" in path.name and path.suffix == ".json":
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.split("\n"), 1):
            if pattern.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not wrong, "\n".join(wrong)


def test_operations_tell_of_every_metric():
    """A metric that nobody is told of is not watched; one that is gone must not be looked for."""
    declared = set()
    for path in sources("compress", "server", "worker", "client"):
        declared |= set(re.findall(r'Family\(\s*"(calipress_[a-z_]+)"', path.read_text()))
    told = set(re.findall(r"calipress_[a-z_]+", (ROOT / "docs" / "operations.md").read_text()))
    assert declared == told, f"not in docs/operations.md: {sorted(declared - told)}; gone: {sorted(told - declared)}"
