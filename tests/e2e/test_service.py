"""The service as its users and operators see it: grpcurl, the command line, /metrics, logs."""

import json
import re
import subprocess
import urllib.request
import uuid

import numpy as np

from conftest import BIN, CALIBRATION, DEPS, MODEL, free_port, recipe, wait_for

SERVICE = "calipress.v1.CompressionService"


def grpcurl(cluster, *args, data=None):
    command = [str(DEPS / "bin" / "grpcurl"), "-plaintext"]
    if data is not None:
        command += ["-d", json.dumps(data)]
    return subprocess.run([*command, cluster.server, *args], capture_output=True, text=True, timeout=60)


def job_body(path, out):
    import yaml
    return {"model": str(MODEL), "output": str(out), "recipe": yaml.safe_load(path.read_text())}


def metrics(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        return page.read().decode()


def test_reflection_and_health(cluster):
    running = cluster()
    services = grpcurl(running, "list").stdout
    assert SERVICE in services and "grpc.health.v1.Health" in services
    health = grpcurl(running, "grpc.health.v1.Health/Check", data={"service": SERVICE})
    assert json.loads(health.stdout)["status"] == "SERVING", health.stderr
    info = json.loads(grpcurl(running, f"{SERVICE}/GetServerInfo", data={}).stdout)
    assert "gptq" in info["methods"] and "compressed-tensors" in info["formats"] and "s3" in info["storage_schemes"]


def test_violations_are_details(cluster, tmp_path, recipe_file):
    running = cluster()
    body = job_body(recipe_file(), tmp_path / "out")
    body["recipe"]["steps"][0]["gptq"] = {"bits": 5, "group_size": 100}
    answer = grpcurl(running, f"{SERVICE}/CreateCompressionJob", data={"compression_job": body})
    assert "InvalidArgument" in answer.stderr
    for word in ("google.rpc.ErrorInfo", "INVALID_RECIPE", "google.rpc.BadRequest", "recipe.steps[0].gptq.bits"):
        assert word in answer.stderr, answer.stderr


def test_validate_only_stores_nothing(cluster, tmp_path, recipe_file):
    running = cluster()
    body = job_body(recipe_file(), tmp_path / "out")
    answer = grpcurl(running, f"{SERVICE}/CreateCompressionJob", data={"compression_job": body, "validate_only": True})
    job = json.loads(answer.stdout)
    assert job["estimate"]["blocks"] == 6 and int(job["estimate"]["worker_memory_bytes"]) > 0
    # Defaults are filled in.
    assert job["recipe"]["steps"][0]["gptq"]["damping"] == 0.01
    # What loaders will not do is known before anything runs: 256 columns are too few groups of 128 for 4 devices.
    assert any("128" in warning for warning in job["estimate"]["warnings"]), job["estimate"]
    assert json.loads(grpcurl(running, f"{SERVICE}/ListCompressionJobs", data={}).stdout or "{}") == {}


def test_request_id_makes_creation_safe_to_repeat(cluster, tmp_path, recipe_file):
    running = cluster()
    request = {"compression_job": job_body(recipe_file(), tmp_path / "out"), "request_id": str(uuid.uuid4())}
    first, second = (json.loads(grpcurl(running, f"{SERVICE}/CreateCompressionJob", data=request).stdout)
                     for _ in range(2))
    assert first["name"] == second["name"]
    request["compression_job"]["output"] = str(tmp_path / "other")
    answer = grpcurl(running, f"{SERVICE}/CreateCompressionJob", data=request)
    assert "AlreadyExists" in answer.stderr and "REQUEST_ID_REUSED" in answer.stderr


def test_pages(cluster, tmp_path, recipe_file):
    running = cluster()
    path = recipe_file()
    for i in range(5):
        grpcurl(running, f"{SERVICE}/CreateCompressionJob", data={"compression_job": job_body(path, tmp_path / f"out{i}")})
    seen, token = [], ""
    for _ in range(3):
        page = json.loads(grpcurl(running, f"{SERVICE}/ListCompressionJobs", data={"page_size": 2, "page_token": token}).stdout)
        seen += [job["output"] for job in page["compression_jobs"]]
        token = page.get("next_page_token", "")
    assert token == "" and seen == [str(tmp_path / f"out{i}") for i in reversed(range(5))]
    assert "InvalidArgument" in grpcurl(running, f"{SERVICE}/ListCompressionJobs", data={"page_size": -1}).stderr


def test_watch_resumes_by_sequence(cluster, tmp_path, recipe_file):
    running = cluster()
    running.add_worker("w0")
    job = json.loads(running.cli("submit", MODEL, tmp_path / "out", "--recipe", recipe_file(samples=8), "--json", "--wait").stdout
                     .strip().splitlines()[-1])["name"]
    def events(after):
        answer = grpcurl(running, f"{SERVICE}/WatchCompressionJob", data={"name": job, "after_sequence": after}).stdout
        decoder, found, at = json.JSONDecoder(), [], 0
        while at < len(answer.rstrip()):
            message, end = decoder.raw_decode(answer[at:].lstrip())
            at += len(answer[at:]) - len(answer[at:].lstrip()) + end
            found += message.get("events", [])
        return [int(event["sequence"]) for event in found], found
    everything, history = events(0)
    assert everything == list(range(1, len(everything) + 1))
    assert history[-1]["state"] == "SUCCEEDED"
    assert events(everything[2])[0] == everything[3:]


def test_unknown_job(cluster):
    running = cluster()
    answer = grpcurl(running, f"{SERVICE}/GetCompressionJob", data={"name": "compressionJobs/nothing"})
    assert "NotFound" in answer.stderr and "JOB_NOT_FOUND" in answer.stderr


def test_delete_only_what_has_ended(cluster, tmp_path, recipe_file):
    running = cluster()
    job = json.loads(running.cli("submit", MODEL, tmp_path / "out", "--recipe", recipe_file(), "--json").stdout)["name"]
    assert "JOB_NOT_TERMINAL" in running.cli("delete", job, check=2).stderr
    running.cli("cancel", job)
    running.cli("delete", job)
    assert "JOB_NOT_FOUND" in running.cli("get", job, check=2).stderr


def test_metrics_and_logs_tell_the_story(cluster, tmp_path, recipe_file):
    running = cluster()
    port = free_port()
    running.add_worker("w0", metrics_port=port)
    running.cli("submit", MODEL, tmp_path / "out", "--recipe", recipe_file(samples=8, evaluate=True), "--wait")
    ours = wait_for(lambda: "calipress_jobs_finished_total{" in metrics(running.metrics_port) and metrics(running.metrics_port))
    wait_for(lambda: re.search(r'calipress_jobs\{state="(?i:succeeded)"\} 1', metrics(running.metrics_port)),
             seconds=10, what="calipress_jobs counts the job")
    for name in ("calipress_build_info", "calipress_grpc_requests_total", "calipress_grpc_request_duration_seconds",
                 "calipress_workers", "calipress_leases", "calipress_job_duration_seconds", "calipress_job_queue_seconds",
                 "calipress_jobstore_request_duration_seconds", "calipress_storage_requests_total"):
        assert name in ours, name
    theirs = metrics(port)
    for name in ("calipress_build_info", "calipress_stage_attempts_total", "calipress_stage_duration_seconds",
                 'calipress_layers_compressed_total{method="gptq"} 42', "calipress_storage_bytes_total",
                 "calipress_device_memory_peak_bytes",
                 # Each counted once: 8 sequences of 128 tokens, 42 linears.
                 'calipress_calibration_tokens_total{source="text"} 1024\n',
                 'calipress_layer_relative_error_count{method="gptq"} 42\n'):
        assert name in theirs, name
    assert "calipress_layer_relative_error_count " not in theirs, "the linears are counted a second time, without method"
    # No label carries a job, a path or a model.
    assert str(tmp_path) not in ours + theirs
    log = running.log("w0")
    assert "job=" in log and "attempt=1" in log and "worker=w0" in log and "stage=0" in log


def value(port, name):
    """A metric, summed over its series; nothing where there is none."""
    found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", metrics(port), re.MULTILINE)
    return sum(map(float, found)) if found else None


def test_metrics_of_what_waits_watches_and_is_lost(cluster, tmp_path, recipe_file):
    running = cluster()
    ours, theirs = running.metrics_port, free_port()
    # So few tokens and so little damping that factorizations fail at first.
    hard = recipe_file(samples=1, length=32, method="gptq: {bits: 4, group_size: 128, damping: 1.0e-9}")
    job = json.loads(running.cli("submit", MODEL, tmp_path / "hard", "--recipe", hard, "--json").stdout)["name"]
    wait_for(lambda: value(ours, "calipress_job_oldest_queued_timestamp_seconds") > 1e9, 10, "the job waits")
    assert value(ours, "calipress_watch_streams") in (None, 0)
    watch = subprocess.Popen([str(BIN / "calipress"), "watch", job, "--server", running.server],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: value(ours, "calipress_watch_streams") == 1, 10, "one client watches")
    assert value(ours, "calipress_grpc_requests_in_flight") >= 1

    running.add_worker("w0", metrics_port=theirs)
    assert watch.wait(60) == 0
    assert json.loads(running.cli("get", job, "--json").stdout)["state"] == "SUCCEEDED"
    assert value(theirs, "calipress_hessian_damping_retries_total") > 0
    assert value(ours, "calipress_scheduler_decision_seconds_count") > 3
    wait_for(lambda: value(ours, "calipress_watch_streams") == 0, 10, "nobody watches")
    wait_for(lambda: value(ours, "calipress_job_oldest_queued_timestamp_seconds") == 0, 10, "nothing waits")
    wait_for(lambda: value(ours, "calipress_sweeps_total") == 1, 10, "the job's files are swept up")
    assert not value(ours, "calipress_lease_expirations_total")

    ids = tmp_path / "ids.npy"
    np.save(ids, np.random.default_rng(0).integers(3, 4096, size=(400, 256), dtype=np.int64))
    text = recipe().replace(f'text: {{uri: "{CALIBRATION}"}}', f'token_ids: {{uri: "{ids}"}}')
    long = recipe_file(text.replace("samples: 16", "").replace("sequence_length: 128", ""))
    job = json.loads(running.cli("submit", MODEL, tmp_path / "long", "--recipe", long, "--json").stdout)["name"]
    wait_for(lambda: value(ours, "calipress_leases") == 1, 10, "the worker has its lease")
    running.workers["w0"].kill()
    wait_for(lambda: value(ours, "calipress_lease_expirations_total") == 1, 20, "the lease expires")
    running.cli("cancel", job)


def test_completion_and_help():
    from conftest import calipress
    for shell in ("bash", "zsh", "fish"):
        assert "submit" in calipress("completion", shell, check=0).stdout
    assert "calipress run" in calipress("run", "--help", check=0).stdout
    assert "gptq-w4a16" in calipress("recipes", check=0).stdout
