"""Processes that are really killed: the job goes on, and its result has the same bytes."""

import json
import signal
import time

import numpy as np
import pytest

from checkpoint_bytes import digest
from conftest import MODEL, wait_for


def blocks_done(cluster, job):
    return int(json.loads(cluster.cli("get", job, "--json").stdout)["progress"].get("blocks_done", 0))


def state(cluster, job):
    return json.loads(cluster.cli("get", job, "--json").stdout)["state"]


def submit(cluster, out, path, *options):
    answer = cluster.cli("submit", MODEL, out, "--recipe", path, "--json", *options)
    return json.loads(answer.stdout)["name"]


@pytest.fixture
def long_recipe(recipe_file, tmp_path):
    """Takes seconds on any machine, so that there is a middle to kill in: more tokens than the carried text has."""
    ids = tmp_path / "ids.npy"
    np.save(ids, np.random.default_rng(0).integers(3, 4096, size=(400, 256), dtype=np.int64))
    return recipe_file(f"""
calibration: {{sources: [{{token_ids: {{uri: "{ids}"}}}}]}}
steps: [{{gptq: {{bits: 4, group_size: 128}}}}]
output: {{format: compressed-tensors}}
""")


@pytest.fixture
def undisturbed(cluster, tmp_path, long_recipe):
    quiet = cluster()
    quiet.add_worker("w0")
    quiet.cli("submit", MODEL, tmp_path / "undisturbed", "--recipe", long_recipe, "--wait")
    quiet.stop()
    return digest(tmp_path / "undisturbed")


@pytest.mark.parametrize("victim", ["w0", "w1"])
def test_killed_worker(cluster, tmp_path, long_recipe, undisturbed, victim):
    running = cluster()
    running.add_worker("w0")
    running.add_worker("w1")
    job = submit(running, tmp_path / "out", long_recipe)
    wait_for(lambda: blocks_done(running, job) >= (1 if victim == "w0" else 4), what="some blocks are done")
    running.workers[victim].kill()
    wait_for(lambda: state(running, job) in ("SUCCEEDED", "FAILED"), 120, "the job ends")
    told = json.loads(running.cli("get", job, "--json").stdout)
    assert told["state"] == "SUCCEEDED", told
    assert told["attempts_lost"] == 1 and told["attempt"] == 2
    assert digest(tmp_path / "out") == undisturbed
    assert not (tmp_path / "out" / "_calipress").exists()


def test_only_worker_killed_then_replaced(cluster, tmp_path, long_recipe, undisturbed):
    running = cluster()
    running.add_worker("w0")
    job = submit(running, tmp_path / "out", long_recipe)
    wait_for(lambda: blocks_done(running, job) >= 2, what="some blocks are done")
    running.workers["w0"].kill()
    time.sleep(5)
    assert state(running, job) not in ("SUCCEEDED", "FAILED")
    assert not (tmp_path / "out" / "config.json").exists(), "a reader saw half a checkpoint"
    running.add_worker("w1")
    wait_for(lambda: state(running, job) in ("SUCCEEDED", "FAILED"), 120, "the job ends")
    told = json.loads(running.cli("get", job, "--json").stdout)
    assert told["state"] == "SUCCEEDED", told
    assert "going on from block" in running.cli("watch", job).stdout
    assert digest(tmp_path / "out") == undisturbed


def test_killed_coordinator(cluster, tmp_path, long_recipe, undisturbed):
    running = cluster(lease_seconds=10)
    running.add_worker("w0")
    running.add_worker("w1")
    job = submit(running, tmp_path / "out", long_recipe)
    wait_for(lambda: blocks_done(running, job) >= 1, what="a block is done")
    running.coordinator.send_signal(signal.SIGKILL)
    running.coordinator.wait()
    time.sleep(1)
    running.start_coordinator()
    wait_for(lambda: state(running, job) in ("SUCCEEDED", "FAILED"), 120, "the job ends")
    told = json.loads(running.cli("get", job, "--json").stdout)
    assert told["state"] == "SUCCEEDED", told
    # The workers kept their leases: nothing was started again.
    assert told["attempt"] == 1
    assert digest(tmp_path / "out") == undisturbed


def test_cancel_stops_the_workers(cluster, tmp_path, long_recipe):
    running = cluster()
    running.add_worker("w0")
    job = submit(running, tmp_path / "out", long_recipe)
    wait_for(lambda: blocks_done(running, job) >= 1, what="a block is done")
    running.cli("cancel", job)
    wait_for(lambda: state(running, job) == "CANCELLED", 30, "the job is cancelled")
    wait_for(lambda: "IDLE" in running.cli("workers").stdout, 30, "the worker is idle again")
    wait_for(lambda: not (tmp_path / "out").exists(), 30, "nothing is left")


def test_drained_worker_hands_its_job_on(cluster, tmp_path, long_recipe):
    running = cluster()
    running.add_worker("w0")
    job = submit(running, tmp_path / "out", long_recipe)
    wait_for(lambda: blocks_done(running, job) >= 1, what="a block is done")
    running.workers["w0"].send_signal(signal.SIGTERM)
    running.add_worker("w1")
    assert running.workers["w0"].wait(timeout=90) == 0
    wait_for(lambda: state(running, job) in ("SUCCEEDED", "FAILED"), 120, "the job ends")
    assert state(running, job) == "SUCCEEDED"
