"""The CUDA module: compiled by the pinned nvcc wheels, loaded by a real worker. Machines without a GPU can do both."""

import os
import shutil
import subprocess

from conftest import BIN, DEPS, ROOT


def build_module():
    subprocess.run([ROOT / "dev", "build", "calipress_cuda"], check=True, capture_output=True, text=True,
                   env=os.environ | {"PRESET": "cuda", "CALIPRESS_DEPS": str(DEPS)})
    return ROOT / "build" / "cuda" / "lib" / "libcalipress_cuda.so"


def undefined_project_symbols(library):
    listed = subprocess.run(["nm", "-D", "--undefined-only", library], check=True, capture_output=True, text=True)
    return {line.split()[-1] for line in listed.stdout.splitlines() if "9calipress" in line}


def test_module_resolves_against_the_worker(tmp_path):
    module = build_module()
    exported = subprocess.run(["nm", "-D", "--defined-only", BIN / "calipress-worker"], check=True, capture_output=True,
                              text=True).stdout
    wanted = undefined_project_symbols(module)
    assert wanted, "the module takes nothing from the program; has the linking changed?"
    assert not [symbol for symbol in wanted if symbol not in exported]
    assert "calipress_cuda_module_start" in subprocess.run(["nm", "-D", "--defined-only", module], check=True,
                                                           capture_output=True, text=True).stdout


def test_worker_loads_it_and_says_that_there_is_no_gpu(tmp_path):
    module = build_module()
    (tmp_path / "bin").mkdir()
    worker = tmp_path / "bin" / "calipress-worker"
    shutil.copy(BIN / "calipress-worker", worker)
    shutil.copy(module, tmp_path / "bin" / module.name)
    config = tmp_path / "worker.yaml"
    config.write_text("device: cuda\ncoordinator: 127.0.0.1:1\n")
    ran = subprocess.run([worker, "--config", config], capture_output=True, text=True, timeout=120,
                         env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})
    # Loaded, of the right revision, and started: the CUDA runtime itself was asked.
    assert ran.returncode == 1
    assert "the CUDA runtime finds no accelerator" in ran.stdout + ran.stderr
