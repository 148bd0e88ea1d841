"""Nothing leaves: the system calls of `lem serve --offline` while clients of each dialect use it."""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

MODEL = "smollm2-135m"
MESSAGES = [{"role": "user", "content": "Hi"}]
CALLS = [
    ("POST", "/v1/chat/completions", {"model": MODEL, "messages": MESSAGES, "max_tokens": 4}),
    ("POST", "/v1/chat/completions", {"model": MODEL, "messages": MESSAGES, "max_tokens": 4, "stream": True}),
    ("POST", "/v1/completions", {"model": MODEL, "prompt": "The sky is", "max_tokens": 4}),
    ("POST", "/v1/embeddings", {"model": MODEL, "input": "a sea"}),
    ("POST", "/v1/messages", {"model": MODEL, "messages": MESSAGES, "max_tokens": 4}),
    ("POST", "/api/chat", {"model": MODEL, "messages": MESSAGES, "options": {"num_predict": 4}}),
    ("POST", "/api/generate", {"model": MODEL, "prompt": "Hi", "stream": False, "options": {"num_predict": 4}}),
    ("GET", "/v1/models", None),
    ("GET", "/metrics", None),
    ("GET", "/docs", None),
    ("POST", "/api/pull", {"model": "smollm2:135m"}),  # refused
    ("POST", "/v1/chat/completions", {"model": "gpt-4o", "messages": MESSAGES}),  # refused
]
# A connection, or a datagram to an address.
ADDRESS = re.compile(r"\b(connect|sendto|sendmsg|sendmmsg)\(.*?sa_family=(AF_\w+)(.*)")
LOOPBACK = re.compile(r'inet_addr\("127\.|inet_pton\(AF_INET6, "::1"')


def outgoing(trace):
    """Lines of a trace that name an address outside of this machine."""
    found = []
    for line in trace.splitlines():
        match = ADDRESS.search(line)
        if match and match[2] not in ("AF_UNIX", "AF_NETLINK", "AF_UNSPEC") and not LOOPBACK.search(match[3]):
            found.append(line)
    return found


@pytest.fixture
def strace(tmp_path):
    path = shutil.which("strace")
    if path is None:
        pytest.skip("strace is not installed")
    probe = subprocess.run([path, "-f", "-o", str(tmp_path / "probe"), "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"strace may not trace here: {probe.stderr.strip()}")
    return path


def test_the_trace_shows_connections(strace, tmp_path):
    """The check itself can fail: an attempt to reach another machine is seen, whether there is a network or not."""
    script = "import socket; s = socket.socket(); s.settimeout(0.1); s.connect_ex(('192.0.2.1', 9)); s.close(); " \
             "u = socket.socket(type=socket.SOCK_DGRAM); u.connect_ex(('127.0.0.1', 9))"
    subprocess.run([strace, "-f", "-e", "trace=network", "-o", str(tmp_path / "trace"), "python3", "-c", script], check=True)
    found = outgoing((tmp_path / "trace").read_text())
    assert len(found) == 1 and "192.0.2.1" in found[0]


def test_offline_reaches_no_other_machine(strace, lem_binary, home, smollm2):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    trace = home / "trace"
    with open(home / "log", "wb") as log:
        process = subprocess.Popen([strace, "-f", "-e", "trace=network", "-o", str(trace), lem_binary, "serve", "--offline",
                                    "--model", str(smollm2), "--port", str(port), "--context-length", "256"],
                                   stdout=log, stderr=log)
    statuses = []
    try:
        deadline = time.monotonic() + 120
        while not statuses:
            assert process.poll() is None and time.monotonic() < deadline, (home / "log").read_text()
            try:
                if ask(port, "GET", "/ready", None) == 200:
                    statuses = [ask(port, *call) for call in CALLS]
            except OSError:
                time.sleep(0.05)
        # strace would go and leave the server behind.
        for pid in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(pid), signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
    assert statuses == [200] * 10 + [403, 404]
    text = trace.read_text()
    assert "bind(" in text and "AF_INET" in text  # the trace is of the server
    assert outgoing(text) == []


def ask(port, method, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status
