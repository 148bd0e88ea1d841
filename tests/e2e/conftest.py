"""The built program and real models for the end-to-end tests.

LEM_BIN is the program; LEM_TEST_MODELS a folder with smollm2-135m.gguf, gemma3-270m.gguf, qwen2.5-coder-0.5b.gguf, of which
some may be missing. Every test has folders of its own for what the program stores.
"""

import os
import pathlib
import subprocess

import pytest

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
# Model file in LEM_TEST_MODELS: stem of its golden results.
GOLDEN_STEMS = {
    "smollm2-135m.gguf": "smollm2-135m-instruct-q4_1",
    "gemma3-270m.gguf": "gemma3-270m-q4_k_m",
    "qwen2.5-coder-0.5b.gguf": "qwen2.5-coder-0.5b-instruct-q4_k_m",
}


def model_path(name):
    folder = os.environ.get("LEM_TEST_MODELS", "")
    path = pathlib.Path(folder, name)
    if not folder or not path.exists():
        pytest.skip(f"no {name} in LEM_TEST_MODELS ('{folder}')")
    return path


@pytest.fixture(scope="session")
def lem_binary():
    path = os.environ.get("LEM_BIN")
    assert path and os.access(path, os.X_OK), f"LEM_BIN must name the built program, it is {path!r}"
    return path


@pytest.fixture(scope="session")
def smollm2():
    return model_path("smollm2-135m.gguf")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Folders of this test's own for data, configuration, cache and state."""
    for variable in ("DATA", "CONFIG", "CACHE", "STATE"):
        folder = tmp_path / variable.lower()
        folder.mkdir()
        monkeypatch.setenv(f"XDG_{variable}_HOME", str(folder))
    return tmp_path


@pytest.fixture
def lem(lem_binary, home):
    """Runs `lem` with arguments and bytes or text on standard input, and returns what came of it, text as str."""

    def run(*arguments, stdin=b"", timeout=120):
        data = stdin.encode() if isinstance(stdin, str) else stdin
        result = subprocess.run([lem_binary, *map(str, arguments)], input=data, capture_output=True, timeout=timeout,
                                check=False)
        return subprocess.CompletedProcess(result.args, result.returncode, result.stdout.decode(), result.stderr.decode())

    return run
