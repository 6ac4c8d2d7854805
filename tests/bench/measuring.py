"""What the benchmarks share: where things are, and how a run is measured."""

import json
import os
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("CALIPRESS_BIN", ROOT / "build" / "release" / "bin"))
DEPS = Path(os.environ.get("CALIPRESS_DEPS", Path.home() / ".cache" / "calipress"))
SHARED = Path(os.environ.get("CALIPRESS_SHARED", ROOT.parent / "shared"))
PEER = str(DEPS / "bench-venv" / "bin" / "python")
HERE = Path(__file__).parent


def tree_rss(pid):
    """Resident bytes of a process and all below it."""
    total, stack = 0, [pid]
    while stack:
        one = stack.pop()
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for task in Path(f"/proc/{one}/task").iterdir():
                stack += [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total


class CommandFailed(Exception):
    pass


def measure(command, env=None):
    """Runs a command: (seconds, peak bytes of the process tree, output)."""
    begin = time.monotonic()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, env={**os.environ, **(env or {})})
    peak = 0
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout))
    reader.start()
    while process.poll() is None:
        peak = max(peak, tree_rss(process.pid))
        time.sleep(0.02)
    reader.join()
    output = "".join(lines)
    if process.returncode != 0:
        raise CommandFailed(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{output[-4000:]}")
    return time.monotonic() - begin, peak, output


def recipe(folder, ids, steps, extra=""):
    """A recipe file over token ids; `steps` is what stands between the brackets of YAML's `steps`."""
    path = folder / "recipe.yaml"
    path.write_text(f"calibration: {{sources: [{{token_ids: {{uri: '{ids}'}}}}]}}\nsteps: [{steps}]\n{extra}")
    return path


def peer(method, model, ids, out):
    """llm-compressor's run: (seconds of oneshot and save, seconds of the process, peak bytes)."""
    seconds, peak, output = measure([PEER, HERE / "llm_compressor_peer.py", method, model, ids, out],
                                    env={"THREADS": "2"})
    told = next(json.loads(line) for line in output.splitlines() if line.startswith('{"oneshot'))
    return told["oneshot"] + told["save"], seconds, peak

