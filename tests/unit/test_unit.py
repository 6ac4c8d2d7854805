"""Every GoogleTest program and every fuzz driver of the build, as tests of the one runner."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("CALIPRESS_BIN", ROOT / "build" / "release" / "bin"))


def expected():
    """A program per folder that has tests: one that is not built is a failure, not a silence."""
    folders = sorted({path.parent for path in (ROOT / "tests" / "unit").rglob("*_test.cc")})
    return ["unit_" + "_".join(folder.relative_to(ROOT / "tests" / "unit").parts) for folder in folders]


def lacks_instructions(name):
    """True for a test of instructions that this processor does not have: nothing here could run it."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    return (("Avx512Bf16" in name or name.startswith("Bf16Sum")) and "avx512_bf16" not in flags) or (
        "Amx" in name and "amx_bf16" not in flags)


@pytest.mark.parametrize("program", expected())
def test_program(program, tmp_path, record_property):
    report = tmp_path / "report.json"
    result = subprocess.run([str(BIN / program), f"--gtest_output=json:{report}", "--gtest_brief=1"],
                            capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-4000:]
    told = json.loads(report.read_text())
    assert told["tests"] > 0, f"{program} ran no test"
    skipped = [case["name"] for suite in told["testsuites"] for case in suite["testsuite"] if case["result"] == "SKIPPED"]
    record_property("cases", told["tests"])
    if skipped:
        print(f"{program}: skipped {skipped}")
        if os.environ.get("CI") == "true":
            # S3 has a test of its own below; there is no server of the other two to test with.
            allowed = ("/s3", "/gs", "/abfs", "OfS3")
            skipped = [name for name in skipped if not name.endswith(allowed) and not lacks_instructions(name)]
            assert not skipped, f"skipped in CI: {skipped}"


def test_object_store_on_s3():
    script = ROOT / "tests" / "conformance" / "object_store.sh"
    result = subprocess.run([str(script), str(BIN / "unit_compress_storage")], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]


@pytest.mark.parametrize("driver", sorted(path.stem for path in (ROOT / "tests" / "fuzz").glob("*_fuzz.cc")))
def test_fuzz(driver):
    result = subprocess.run([str(BIN / driver)], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
