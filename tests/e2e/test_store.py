"""lem pull, list, show, rm on a catalogue of the test's own: no network. Kills in the middle: pull_kill.py."""

import hashlib
import json

import pytest


@pytest.fixture
def catalogue(home, smollm2):
    """A model `tiny:test` whose source is a copy on this machine."""

    def write(sha256=None):
        folder = home / "config" / "lemonade"
        folder.mkdir(exist_ok=True)
        digest = sha256 or hashlib.sha256(smollm2.read_bytes()).hexdigest()
        (folder / "models.toml").write_text(f"""
[[model]]
name = "tiny:test"
description = "test model"
license = "Apache-2.0"
file = "tiny-test.gguf"
size_bytes = {smollm2.stat().st_size}
sha256 = "{digest}"
[[model.source]]
type = "path"
path = "{smollm2.resolve()}"
""", encoding="utf-8")
        return digest

    return write


def stored(lem):
    return {model["name"]: model for model in json.loads(lem("list", "--json").stdout)["models"]}


def test_pull_list_show_run_remove(lem, catalogue):
    digest = catalogue()
    assert stored(lem) == {}
    assert lem("pull", "tiny:test").returncode == 0
    model = stored(lem)["tiny:test"]
    assert model["sha256"] == digest and model["state"] == "ready"
    shown = lem("show", "tiny:test")
    assert shown.returncode == 0 and "llama" in shown.stdout
    answer = lem("run", "tiny:test", "The sky is", "--raw", "--max-tokens", 4, "--temperature", "0")
    assert answer.returncode == 0 and answer.stdout.strip()
    assert lem("pull", "tiny:test").returncode == 0  # nothing to do
    assert lem("rm", "tiny:test").returncode == 0
    assert stored(lem) == {}
    assert lem("rm", "tiny:test").returncode == 1


def test_wrong_hash_is_refused_and_leaves_nothing(lem, home, catalogue):
    catalogue(sha256="0" * 64)
    result = lem("pull", "tiny:test")
    assert result.returncode == 1 and "0" * 64 in result.stderr
    assert stored(lem) == {}
    assert list((home / "data").rglob("tiny-test.gguf")) == []
