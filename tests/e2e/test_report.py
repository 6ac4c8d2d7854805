"""`calipress report`: tables, the page as the coordinator wrote it, and a desktop that opens it."""

import os
import re

from conftest import MODEL, recipe


def test_tables_page_and_desktop(cluster, tmp_path, recipe_file):
    running = cluster()
    running.add_worker("w1")
    running.cli("submit", MODEL, tmp_path / "out", "--recipe", recipe_file(recipe(samples=8, evaluate=True)), "--id", "one",
                "--wait")
    tables = running.cli("report", "one").stdout
    for word in ("perplexity before", "heldout", "largest errors", "v_proj", "SHA-256 of the ids", "busy with"):
        assert word in tables, word

    published = (tmp_path / "out" / "report.html").read_text()
    shown = running.cli("report", "one", "--html", "-").stdout
    assert shown.startswith("<!DOCTYPE html>\n") and shown == published

    # A desktop that writes down what it is asked to open.
    desktop = tmp_path / "bin"
    desktop.mkdir()
    (desktop / "xdg-open").write_text(f"#!/bin/sh\necho \"$1\" > {tmp_path}/opened\n")
    (desktop / "xdg-open").chmod(0o755)
    running.env = {**running.env, "PATH": f"{desktop}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    opened = running.cli("report", "one", "--open").stdout
    path = re.fullmatch(r"written   (\S+)\n", opened).group(1)
    assert (tmp_path / "opened").read_text().strip() == path
    assert open(path).read() == shown

    running.env["PATH"] = str(tmp_path / "none")
    refused = running.cli("report", "one", "--open", check=2)
    assert "xdg-open" in refused.stderr and "calipress-report-" in refused.stderr
