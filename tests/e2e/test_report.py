"""`calipress report`: tables, the page as the coordinator wrote it, and a desktop that opens it."""

import os
import re

from conftest import CALIBRATION, HELDOUT, MODEL, calipress, recipe


def test_tables_page_and_desktop(cluster, tmp_path, recipe_file):
    running = cluster()
    running.add_worker("w1")
    running.cli("submit", MODEL, tmp_path / "out", "--recipe", recipe_file(recipe(samples=8, evaluate=True)), "--id", "one",
                "--wait")
    tables = running.cli("report", "one").stdout
    for word in ("perplexity before", "heldout", " x 128 ", "largest errors", "v_proj", "SHA-256 of the ids", "busy with",
                 "block  mean relative error", " of 1024 tokens", "seed"):
        assert word in tables, word
    # The page's panels have the same means.
    errors = [line.split() for line in tables.split("block  mean relative error")[1].splitlines()[1:7]]
    assert [error[0] for error in errors] == [str(block) for block in range(6)]
    assert all(float(error[1]) > 0 for error in errors)
    shown = running.cli("report", "one", "--recipe").stdout
    assert "seed: 0" in shown and "sequence_length: 128" in shown and str(CALIBRATION) in shown

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


def test_eval_writes_the_page_too(tmp_path):
    asked = ("eval", MODEL, "--text", HELDOUT, "--seqlen", 64, "--max-windows", 4)
    page = tmp_path / "page.html"
    done = calipress(*asked, "--html", page, check=0)
    assert re.search(r"^text     windows  tokens  perplexity\nheldout   4 x 64     252 +\d", done.stdout)
    assert f"written   {page}\n" in done.stdout
    text = page.read_text()
    assert text.startswith("<!DOCTYPE html>\n") and "heldout" in text and "evaluated" in text
    # In front of a program that wants the page, or JSON, nothing else.
    alone = calipress(*asked, "--html", "-", check=0).stdout
    assert alone.startswith("<!DOCTYPE html>\n") and alone.endswith("</html>\n")
    line = calipress(*asked, "--html", page, "--json", check=0).stdout
    assert line.count("\n") == 1 and line.startswith("{")
    assert calipress(*asked, "--html", "-", "--json").returncode == 2
    assert "--html" in calipress(*asked, "--html", "/nowhere/page.html", check=2).stderr
