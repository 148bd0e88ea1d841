"""Keys, scopes, budgets and the audit log: what clients of a server that asks for keys see."""

import json
import os
import stat
import subprocess

import anthropic
import ollama
import openai
import pytest
import websockets.exceptions
import websockets.sync.client

from .conftest import MODEL, serving

SKY = [{"role": "user", "content": "Why is the sky blue?"}]


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    """(port, keys by name, path of the audit log) of a server with keys."""
    folder = tmp_path_factory.mktemp("keys")
    keys = folder / "keys.toml"

    def add(name, *options):
        command = [os.environ["LEM_BIN"], "key", "add", name, "--file", str(keys), *options]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    made = {
        "plain": add("plain"),
        "admin": add("admin", "--scope", "admin", "--scope", "models"),
        "old": add("old", "--expires", "2020-01-01"),
        "few": add("few", "--requests-per-minute", "2"),
        "short": add("short", "--tokens-per-minute", "40"),
    }
    assert not stat.S_IMODE(keys.stat().st_mode) & 0o022
    assert all(key not in keys.read_text() for key in made.values())
    with serving(folder, "--api-keys", str(keys), "--audit-log", str(folder / "audit.jsonl"), "--host", "0.0.0.0") as number:
        yield number, made, folder / "audit.jsonl"


def client_of(keyed, name):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{keyed[0]}/v1", api_key=keyed[1].get(name, name), max_retries=0, timeout=120)


def chat(client, **options):
    return client.chat.completions.create(model=MODEL, messages=SKY, **{"max_tokens": 4, **options})


def test_every_dialect_takes_the_key(keyed):
    port, keys, _ = keyed
    assert chat(client_of(keyed, "plain")).usage.completion_tokens == 4
    claude = anthropic.Anthropic(base_url=f"http://127.0.0.1:{port}", api_key=keys["plain"], max_retries=0)
    assert claude.messages.create(model=MODEL, max_tokens=2, messages=SKY).usage.output_tokens == 2
    llama = ollama.Client(host=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {keys['plain']}"})
    assert llama.chat(model=MODEL, messages=SKY, options={"num_predict": 2}).eval_count == 2
    headers = {"Authorization": f"Bearer {keys['plain']}"}
    with websockets.sync.client.connect(f"ws://127.0.0.1:{port}/v1/chat/completions/ws", additional_headers=headers) as socket:
        socket.send(json.dumps({"model": MODEL, "messages": SKY, "max_tokens": 1}))
        assert json.loads(socket.recv(timeout=60))["object"] == "chat.completion.chunk"


@pytest.mark.parametrize("name", ["wrong", "old"])
def test_other_keys_are_refused_in_every_dialect(keyed, name):
    port, keys, _ = keyed
    with pytest.raises(openai.AuthenticationError) as caught:
        chat(client_of(keyed, name))
    assert caught.value.code == "invalid_api_key" and caught.value.type == "authentication_error"
    claude = anthropic.Anthropic(base_url=f"http://127.0.0.1:{port}", api_key=keys.get(name, name), max_retries=0)
    with pytest.raises(anthropic.AuthenticationError) as refused:
        claude.messages.create(model=MODEL, max_tokens=2, messages=SKY)
    assert refused.value.body["error"]["type"] == "authentication_error"
    with pytest.raises(ollama.ResponseError) as error:
        ollama.Client(host=f"http://127.0.0.1:{port}").list()
    assert error.value.status_code == 401
    with pytest.raises(websockets.exceptions.InvalidStatus) as closed:
        websockets.sync.client.connect(f"ws://127.0.0.1:{port}/v1/chat/completions/ws")
    assert closed.value.response.status_code == 401


def test_scopes(keyed):
    with pytest.raises(openai.PermissionDeniedError) as caught:
        chat(client_of(keyed, "admin"))
    assert caught.value.code == "insufficient_scope"
    with pytest.raises(openai.PermissionDeniedError):
        client_of(keyed, "plain").get("http://127.0.0.1:%d/lem/v1/plans" % keyed[0], cast_to=object)
    assert client_of(keyed, "admin").get("http://127.0.0.1:%d/lem/v1/plans" % keyed[0], cast_to=object)


def test_budgets(keyed):
    few = client_of(keyed, "few")
    chat(few), chat(few)
    with pytest.raises(openai.RateLimitError) as caught:
        chat(few)
    assert int(caught.value.response.headers["Retry-After"]) > 0 and caught.value.code == "rate_limit_exceeded"
    short = client_of(keyed, "short")
    chat(short, max_tokens=40)
    with pytest.raises(openai.RateLimitError):
        chat(short)
    assert chat(client_of(keyed, "plain")).usage.completion_tokens == 4


def test_audit_log(keyed):
    _, keys, log = keyed
    chat(client_of(keyed, "plain"), max_tokens=3)
    text = log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    answer = [line for line in lines if line["event"] == "answer"][-1]
    assert answer["key"] == "plain" and answer["model"] == MODEL and answer["completion_tokens"] == 3 and answer["plan"]
    assert any(line["event"] == "request" and line["status"] == 401 for line in lines)
    assert "sky" not in text and not any(key in text for key in keys.values())
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_addresses_of_others_need_keys_or_a_word(tmp_path):
    command = [os.environ["LEM_BIN"], "serve", "--model", os.environ["LEM_TEST_MODELS"], "--host", "0.0.0.0", "--port", "0"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0 and "--allow-remote" in refused.stderr and "lem key add" in refused.stderr
    open_to_all = tmp_path / "keys.toml"
    open_to_all.write_text("")
    open_to_all.chmod(0o666)
    writable = subprocess.run([*command, "--api-keys", str(open_to_all)], capture_output=True, text=True, timeout=60)
    assert writable.returncode != 0 and "others may write" in writable.stderr
