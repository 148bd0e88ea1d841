"""lem serve as a process: start, memory, signals, and with --long a storm. What it answers is tested in tests/clients."""

import contextlib
import http.client
import json
import random
import signal
import socket
import subprocess
import threading
import time

import pytest

CONTEXT = 2048


class Server:
    """A running `lem serve` with one model, or with those of the store if it is None."""

    def __init__(self, binary, model, log, *arguments):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        named = ["--model", str(model)] if model else []
        self.process = subprocess.Popen([binary, "serve", *named, "--port", str(self.port),
                                         "--context-length", str(CONTEXT), *arguments], stdout=log, stderr=log)

    def request(self, method, path, body=None, timeout=300, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body,
                           {"Content-Type": "application/json", **dict(headers)})
        return connection, connection.getresponse()

    def json(self, method, path, body=None):
        connection, response = self.request(method, path, body)
        answer = json.loads(response.read())
        connection.close()
        assert response.status == 200, answer
        return answer

    def status(self, method, path, body=None):
        connection, response = self.request(method, path, body)
        response.read()
        connection.close()
        return response.status

    def wait_until_ready(self, timeout=60):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "the server ended"
            try:
                if self.status("GET", "/ready") == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError("not ready in time")

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


@contextlib.contextmanager
def serving(lem_binary, log_file, model, *flags):
    """A server that is ready, and killed at the end unless it has ended."""
    with open(log_file, "wb") as log:
        server = Server(lem_binary, model, log, *flags)
        try:
            server.wait_until_ready()
            yield server
        finally:
            if server.process.poll() is None:
                server.process.kill()
            server.process.wait()


@pytest.fixture
def server(lem_binary, home, smollm2):
    with serving(lem_binary, home / "serve.log", smollm2) as server:
        yield server


def completion(**fields):
    return {"model": "smollm2-135m", "prompt": "The sky is", "max_tokens": 8, "temperature": 0, **fields}


def test_resident_memory_is_the_file_and_little_more(server, smollm2):
    prompt = [1 + i % 40000 for i in range(CONTEXT - 32)]
    assert server.status("POST", "/v1/completions", completion(prompt=prompt, max_tokens=16)) == 200
    assert server.resident_bytes() <= smollm2.stat().st_size + (150 << 20)


def test_sigterm_lets_running_answers_finish(server):
    connection, response = server.request("POST", "/v1/completions", completion(stream=True, max_tokens=100, ignore_eos=True))
    assert response.status == 200
    # Comments may come first: they keep the connection alive until there is a token.
    assert any(line.startswith(b"data: ") for line in iter(response.readline, b""))
    server.process.send_signal(signal.SIGTERM)
    rest = response.read()
    connection.close()
    assert rest.rstrip().endswith(b"data: [DONE]")
    assert server.process.wait(timeout=30) == 0


def test_a_port_in_use_is_said(lem, server, smollm2):
    result = lem("serve", "--model", smollm2, "--port", server.port)
    assert result.returncode == 1 and str(server.port) in result.stderr


def test_start_to_first_token(lem_binary, home, smollm2):
    """Cold process, warm file cache: 0.5 s where nothing else runs. The best of several, and three times that, since the
    machine may be slow and busy."""
    seconds = []
    for _ in range(5):
        began = time.monotonic()
        process = subprocess.Popen([lem_binary, "run", str(smollm2), "The sky is", "--raw", "--max-tokens", "1", "--temperature",
                                    "0"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert process.stdout.read(1)
        seconds.append(time.monotonic() - began)
        process.wait()
    assert min(seconds) <= 1.5, seconds


BAD_BODIES = [b"", b"{", b"[" * 100_000, b'{"model": 1}', b'{"prompt": null}', b'{"prompt": "a", "max_tokens": -5}',
              b'{"prompt": "a", "temperature": NaN}', b'{"prompt": [99999999]}', b'{"prompt": "a", "model": "nobody"}',
              b"\xff\xfe", b'{"prompt": "' + b"a" * (10 << 20) + b'"}']


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: repr(body[:24]))
def test_bad_bodies_get_4xx_and_the_next_request_works(server, body):
    assert 400 <= server.status("POST", "/v1/completions", body) < 500
    assert server.status("POST", "/v1/completions", completion()) == 200


def storm(server, num_requests, seed):
    """Requests, cancels and nonsense from many clients. Returns what went wrong, and the status of good requests."""
    failures, done = [], []

    def client(chance, count):
        for _ in range(count):
            kind = chance.random()
            try:
                if kind < 0.1:
                    status = server.status("POST", "/v1/completions", chance.choice(BAD_BODIES[:-1]))
                    if not 400 <= status < 500:
                        failures.append(f"bad body: {status}")
                elif kind < 0.2:
                    connection, response = server.request("POST", "/v1/completions", completion(stream=True, max_tokens=400))
                    if response.status == 200:
                        response.readline()
                    connection.close()
                else:
                    length = chance.randrange(1, 80)
                    connection, response = server.request(
                        "POST", "/v1/completions",
                        completion(prompt=[chance.randrange(1000, 40000) for _ in range(length)],
                                   max_tokens=chance.randrange(0, 12)),
                        headers={"x-lem-priority": chance.choice(["interactive", "batch", "background"])})
                    response.read()
                    connection.close()
                    if response.status not in (200, 429, 503):
                        failures.append(f"good request: {response.status}")
                    done.append(response.status)
            except OSError as error:
                failures.append(repr(error))

    num_clients = 16
    threads = [threading.Thread(target=client, args=(random.Random(f"{seed} {i}"), num_requests // num_clients))
               for i in range(num_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures, done


def metric(server, name):
    connection, response = server.request("GET", "/metrics")
    lines = response.read().decode().splitlines()
    connection.close()
    return next(float(line.split()[-1]) for line in lines if line.split("{")[0].split()[0] == name and line[0] != "#")


def check_storm(server, first, then):
    failures, done = storm(server, first, 0)
    after_first = server.resident_bytes()
    more_failures, more_done = storm(server, then, 1)
    assert failures + more_failures == []
    assert (done + more_done).count(200) > len(done + more_done) * 0.9
    assert server.status("GET", "/health") == 200
    # The last clients to go may not have been noticed yet.
    deadline = time.monotonic() + 20
    while metric(server, "lem_kv_blocks_used") > 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return server.resident_bytes() / after_first


# So few blocks that requests wait, and some give way.
@pytest.fixture
def crowded_server(lem_binary, home, smollm2):
    with serving(lem_binary, home / "serve.log", smollm2, "--kv-cache-bytes", str(64 << 20)) as server:
        yield server


def test_small_storm(crowded_server):
    check_storm(crowded_server, 64, 96)


@pytest.mark.long
def test_storm(crowded_server):
    """10,000 requests: none that was admitted fails, and nothing is left behind."""
    assert check_storm(crowded_server, 1008, 9008) < 1.02


def test_models_are_pulled_and_removed_while_it_serves(lem, lem_binary, home, smollm2):
    def names(server):
        return [model["id"] for model in server.json("GET", "/v1/models")["data"]]

    model = "smollm2:135m"  # the catalogue knows the file
    with serving(lem_binary, home / "serve.log", None) as server:
        assert names(server) == []
        assert server.status("POST", "/v1/completions", completion(model=model)) == 404
        assert lem("pull", smollm2).returncode == 0
        assert names(server) == [model]
        assert server.json("POST", "/v1/completions", completion(model=model))["usage"]["completion_tokens"] == 8
        assert lem("rm", model).returncode == 0
        assert names(server) == []
        assert server.status("POST", "/v1/completions", completion(model=model)) == 404


def test_prompts_outlive_the_process(lem_binary, home, smollm2):
    prompt = [1000 + i for i in range(1000)]
    answers = []
    for log_name in ("first.log", "second.log"):
        with serving(lem_binary, home / log_name, smollm2, "--prefix-file-bytes", str(1 << 30)) as server:
            answers.append(server.json("POST", "/v1/completions", completion(prompt=prompt, max_tokens=4)))
            server.process.terminate()
            assert server.process.wait(timeout=30) == 0
    cached = [answer["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in answers]
    assert cached[0] == 0 and cached[1] >= 900
    assert answers[0]["choices"][0]["text"] == answers[1]["choices"][0]["text"]
