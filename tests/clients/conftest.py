"""One `lem serve` with the models of LEM_TEST_MODELS, for the tests of what clients see.

LEM_BIN is the program. The server is shared by all tests, so each also shows that the ones before it left it in order.
"""

import contextlib
import os
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.request

import openai
import pytest

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
CONVERSATIONS = pathlib.Path(__file__).resolve().parents[1] / "api"
MODEL = "smollm2-135m"
CONTEXT = 2048


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(folder, *options, environment=None, url="http://127.0.0.1:{}", ask=urllib.request.urlopen):
    """The port of a server with the models, further options and environment variables; its output goes to a file in
    `folder`. `ask` opens its URLs.
    """
    binary = os.environ.get("LEM_BIN")
    assert binary and os.access(binary, os.X_OK), f"LEM_BIN must name the built program, it is {binary!r}"
    models = os.environ.get("LEM_TEST_MODELS", "")
    if not models or not pathlib.Path(models, MODEL + ".gguf").exists():
        pytest.skip(f"no {MODEL}.gguf in LEM_TEST_MODELS ('{models}')")
    number = free_port()
    log = pathlib.Path(folder) / "log"
    if "--context-length" not in options:
        options = ("--context-length", str(CONTEXT), *options)
    arguments = [binary, "serve", "--model", models, "--port", str(number), *options]
    with open(log, "wb") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=output, env={**os.environ, **(environment or {})})
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            try:
                with ask(url.format(number) + "/ready", timeout=10):
                    break
            except (OSError, urllib.error.HTTPError):
                time.sleep(0.05)
        yield number
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0, log.read_text()


@pytest.fixture(scope="session")
def port(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("serve"), "--alias", f"gpt-4*={MODEL}", "--alias", f"claude-haiku-*={MODEL}") as number:
        yield number


@pytest.fixture(scope="session")
def client(port):
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=120) as made:
        yield made


@pytest.fixture(scope="session")
def served(client):
    """Ids of the models that the server has."""
    return {model.id for model in client.models.list()}
