"""Fixtures for tests over real processes: the built programs, a cluster on loopback, a real S3 server."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("CALIPRESS_BIN", ROOT / "build" / "release" / "bin"))
DEPS = Path(os.environ.get("CALIPRESS_DEPS", Path.home() / ".cache" / "calipress"))
MODEL = ROOT / "tests" / "data" / "mix-llama-5.8m"
CALIBRATION = ROOT / "tests" / "data" / "calibration.jsonl"
HELDOUT = ROOT / "tests" / "data" / "heldout.jsonl"


def recipe(samples=16, length=128, evaluate=False, extra="", method="gptq: {bits: 4, group_size: 128}"):
    text = f"""
calibration:
  sources:
    - text: {{uri: "{CALIBRATION}"}}
  samples: {samples}
  sequence_length: {length}
steps:
  - {method}
output: {{format: compressed-tensors}}
{extra}
"""
    if evaluate:
        text += f"""
evaluation:
  perplexity:
    - {{name: heldout, uri: "{HELDOUT}", sequence_length: 128}}
"""
    return text


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(condition, seconds=60, what="condition"):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s")


def listens(port):
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def calipress(*args, check=None, env=None, timeout=300):
    """Runs the command line program; `check` is the exit code it must end with."""
    result = subprocess.run([str(BIN / "calipress"), *map(str, args)], capture_output=True, text=True, timeout=timeout,
                            env={**os.environ, **(env or {})})
    if check is not None:
        assert result.returncode == check, f"exit {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result


class Cluster:
    """A coordinator and workers as processes of their own."""

    def __init__(self, folder, env=None, **options):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.env = {**os.environ, **(env or {})}
        self.port = free_port()
        self.metrics_port = free_port()
        self.options = {"lease_seconds": 3, "recovery_grace_seconds": 1, **options}
        self.coordinator = None
        self.workers = {}
        self.start_coordinator()

    @property
    def server(self):
        return f"127.0.0.1:{self.port}"

    def _start(self, program, name, config):
        path = self.folder / f"{name}.yaml"
        path.write_text(config)
        log = open(self.folder / f"{name}.log", "a")
        return subprocess.Popen([str(BIN / program), "--config", str(path)], stdout=log, stderr=log, env=self.env)

    def start_coordinator(self):
        options = "".join(f"{key}: {value}\n" for key, value in self.options.items())
        self.coordinator = self._start("calipress-coordinator", "coordinator",
                                       f"listen: {self.server}\ndatabase: {self.folder}/jobs.db\n"
                                       f"metrics_address: 127.0.0.1:{self.metrics_port}\n{options}")
        wait_for(lambda: listens(self.port) or self.coordinator.poll() is not None, what="coordinator listens")
        assert self.coordinator.poll() is None, self.log("coordinator")

    def add_worker(self, name, threads=1, metrics_port=None):
        metrics = f"metrics_address: 127.0.0.1:{metrics_port}\n" if metrics_port else ""
        self.workers[name] = self._start("calipress-worker", name,
                                         f"coordinator: {self.server}\nid: {name}\ndevice: cpu\nthreads: {threads}\n"
                                         f"host: 127.0.0.1\n{metrics}")
        wait_for(lambda: name in self.cli("workers").stdout, what=f"worker {name} registers")

    def cli(self, verb, *args, check=0):
        return calipress(verb, *args, "--server", self.server, check=check, env=self.env)

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def stop(self):
        for process in [*self.workers.values(), self.coordinator]:
            if process and process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def cluster(tmp_path):
    running = []

    def make(**options):
        running.append(Cluster(tmp_path / f"cluster{len(running)}", **options))
        return running[-1]

    yield make
    for one in running:
        one.stop()


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """A real S3 server (versitygw over a folder): its environment and the folder behind the bucket."""
    program = DEPS / "bin" / "versitygw"
    assert program.exists(), f"{program} is missing: ./dev setup"
    folder = tmp_path_factory.mktemp("s3")
    (folder / "data" / "models").mkdir(parents=True)
    (folder / "data" / "results").mkdir()
    port = free_port()
    log = open(folder / "log", "w")
    process = subprocess.Popen([str(program), "--access", "testkey", "--secret", "testsecret", "--port",
                                f"127.0.0.1:{port}", "posix", str(folder / "data")], stdout=log, stderr=log)
    wait_for(lambda: listens(port), what="S3 server listens")
    yield {"env": {"AWS_ACCESS_KEY_ID": "testkey", "AWS_SECRET_ACCESS_KEY": "testsecret", "AWS_REGION": "us-east-1",
                   "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_EC2_METADATA_DISABLED": "true"},
           "folder": folder / "data"}
    process.kill()
    process.wait()


@pytest.fixture
def recipe_file(tmp_path):
    def write(text=None, **options):
        path = tmp_path / f"recipe{len(list(tmp_path.glob('recipe*')))}.yaml"
        path.write_text(text if text is not None else recipe(**options))
        return path

    return write


@pytest.fixture
def model_copy(tmp_path):
    """A copy of the carried model that a test may damage."""
    copy = tmp_path / "model"
    shutil.copytree(MODEL, copy)
    return copy
