"""Bytes that no client library would send: each gets a clear error and the next request works."""

import http.client
import json
import socket
import time

import pytest

from .conftest import MODEL

CHAT = "/v1/chat/completions"
GOOD = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}


def post(port, body, path=CHAT, content_type="application/json"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        try:
            connection.request("POST", path, body, {"Content-Type": content_type})
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server has refused the rest of the body; its answer is there all the same
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def body(**fields):
    return json.dumps({**GOOD, **fields}).encode()


BAD = {
    "empty": b"",
    "cut": b'{"model": "' + MODEL.encode(),
    "not utf-8": b"\xff\xfe\x00",
    "NaN": body()[:-1] + b', "temperature": NaN}',
    "Infinity": body()[:-1] + b', "temperature": 1e999}',
    "duplicate braces": body() + b"}",
    "array": b"[]",
    "wrong types": body(model=5),
    "messages of strings": body(messages=["hi"]),
    "deep array": b"[" * 100_000,
    "deep and closed": body()[:-1] + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep object": b'{"a":' * 100_000,
    "no model": json.dumps({"messages": GOOD["messages"]}).encode(),
    "huge n": body(n=1_000_000),
    "2^63": body(n=2**63),
    "control character": body(user="a\x01").replace(b"\\u0001", b"\x01"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_bodies(port, name):
    began = time.monotonic()
    status, answer = post(port, BAD[name])
    assert status == 400, answer
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert answer["error"]["type"] == "invalid_request_error" and answer["error"]["message"]
    assert time.monotonic() - began < 5
    assert post(port, body())[0] == 200


def test_body_over_the_limit(port):
    status, answer = post(port, body(user="a" * (10 << 20)))
    assert status == 413 and answer["error"]["type"] == "invalid_request_error"
    assert post(port, body())[0] == 200


def test_body_near_the_limit(port):
    began = time.monotonic()
    status, answer = post(port, body(messages=[{"role": "user", "content": "a b " * (3 << 19)}]))
    assert status == 400 and answer["error"]["code"] == "context_length_exceeded"
    assert time.monotonic() - began < 10
    assert post(port, body())[0] == 200


def test_other_content_type(port):
    status, answer = post(port, body(), content_type="text/plain")
    assert status == 415 and "application/json" in answer["error"]["message"]


def test_unknown_path_and_method(port):
    status, answer = post(port, body(), path="/v1/chat/completion")
    assert status == 404 and CHAT in answer["error"]["message"]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", CHAT)
    response = connection.getresponse()
    assert response.status == 405 and "POST" in response.headers["Allow"]
    assert json.loads(response.read())["error"]["type"] == "invalid_request_error"
    connection.close()


def test_foreign_host_and_origin_are_refused(port):
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/v1/models", headers=headers)
        assert connection.getresponse().status == 403
        connection.close()


def test_connection_is_kept(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(3):
        connection.request("POST", CHAT, body(), {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200 and response.read()
        assert connection.sock is not None
    connection.close()


def test_health_ready_metrics(port):
    def get(path):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()

    post(port, body())
    assert get("/health") == (200, '{"status":"ok"}')
    status, text = get("/ready")
    assert status == 200 and {"id": MODEL, "state": "ready"} in json.loads(text)["models"]
    status, text = get("/metrics")
    assert status == 200
    metrics = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(metrics["lem_generated_tokens_total"]) > 0
    assert float(metrics["lem_time_to_first_token_seconds_count"]) > 0
    assert float(metrics["lem_kv_blocks"]) > 0 == float(metrics["lem_generations_waiting"])
    for own, alias in (("lem_generated_tokens_total", "vllm:generation_tokens_total"),
                       ("lem_generations_waiting", "vllm:num_requests_waiting"),
                       ("lem_time_to_first_token_seconds_count", "vllm:time_to_first_token_seconds_count")):
        assert metrics[own] == metrics[alias]


def test_client_that_resets_frees_its_blocks(port):
    request = body(stream=True, max_tokens=1500, ignore_eos=True)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(request)}\r\n\r\n"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            connection.sendall(head.encode() + request)
            assert connection.recv(64)
    deadline = time.monotonic() + 10
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/metrics")
        if "\nlem_kv_blocks_used 0\n" in connection.getresponse().read().decode():
            return
        assert time.monotonic() < deadline, "blocks of clients that went are still in use"
        time.sleep(0.05)
