"""The server over TLS with a certificate that it made itself, and over a Unix socket."""

import asyncio
import json
import os
import pathlib
import ssl
import stat
import subprocess
import urllib.request

import httpx
import openai
import pytest
import websockets

from .conftest import MODEL, serving

MESSAGES = [{"role": "user", "content": "Hi"}]


def trusting(certificate):
    """Trusts the server's certificate only, and is as strict as newer versions of Python are by default."""
    context = ssl.create_default_context(cafile=certificate)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """Port, certificate and Unix socket of a server."""
    folder = tmp_path_factory.mktemp("tls")
    certificate = folder / "lemonade" / "tls" / "cert.pem"
    with serving(folder, "--tls-generate", "--unix", str(folder / "socket"), "--context-length", "256",
                 environment={"XDG_STATE_HOME": str(folder)}, url="https://127.0.0.1:{}",
                 ask=lambda url, timeout: urllib.request.urlopen(url, timeout=timeout, context=trusting(certificate))
                 ) as number:
        yield number, certificate, folder / "socket"
    assert not (folder / "socket").exists()


def answers(client):
    whole = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=8, temperature=0)
    parts = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=8, temperature=0, stream=True)
    return whole.choices[0].message.content, "".join(part.choices[0].delta.content or "" for part in parts)


def test_openai_over_tls(secure):
    port, certificate, _ = secure
    for host in ("127.0.0.1", "localhost"):
        with httpx.Client(verify=trusting(certificate)) as http_client, openai.OpenAI(
                base_url=f"https://{host}:{port}/v1", api_key="none", http_client=http_client, max_retries=0) as client:
            whole, streamed = answers(client)
            assert whole and whole == streamed


def test_who_does_not_trust_the_certificate_gets_nothing(secure):
    port, _, _ = secure
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(f"https://127.0.0.1:{port}/health")
    told = httpx.get(f"http://127.0.0.1:{port}/health")
    assert told.status_code == 400 and "https://" in told.text


def test_key_is_its_owners(secure):
    _, certificate, _ = secure
    for path in (certificate, certificate.with_name("key.pem")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_web_socket_over_tls(secure):
    port, certificate, _ = secure

    async def ask():
        url = f"wss://127.0.0.1:{port}/v1/chat/completions/ws"
        async with websockets.connect(url, ssl=trusting(certificate)) as socket:
            await socket.send(json.dumps({"model": MODEL, "messages": MESSAGES, "max_tokens": 8}))
            frames = []
            while not frames or frames[-1] != "[DONE]":
                frames.append(await asyncio.wait_for(socket.recv(), 120))
            return frames

    assert len(asyncio.run(ask())) > 2


def test_openai_over_a_unix_socket(secure):
    _, _, path = secure
    assert stat.S_ISSOCK(path.stat().st_mode) and stat.S_IMODE(path.stat().st_mode) == 0o600
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as http_client, openai.OpenAI(
            base_url="http://lemonade/v1", api_key="none", http_client=http_client, max_retries=0) as client:
        whole, streamed = answers(client)
        assert whole and whole == streamed


@pytest.mark.parametrize("options, says", [
    (("--tls-cert", "cert.pem"), "both --tls-cert and --tls-key"),
    (("--tls-cert", "/nonexistent/cert.pem", "--tls-key", "/nonexistent/key.pem"), "cannot be found"),
    (("--host", "none"), "--unix PATH"),
    (("--unix", "/nonexistent/socket"), "cannot listen on /nonexistent/socket"),
])
def test_what_cannot_be_is_said(secure, tmp_path, options, says):
    model = pathlib.Path(os.environ["LEM_TEST_MODELS"], MODEL + ".gguf")
    result = subprocess.run([os.environ["LEM_BIN"], "serve", "--model", str(model), "--port", "0", *options],
                            capture_output=True, text=True, timeout=60, check=False,
                            env={**os.environ, "XDG_STATE_HOME": str(tmp_path)})
    assert result.returncode == 1 and says in result.stderr
