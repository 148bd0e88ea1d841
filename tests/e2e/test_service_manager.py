"""lem serve under a service manager: a socket that is handed over, and what it says about itself."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

UNITS = pathlib.Path(__file__).resolve().parents[2] / "packaging" / "systemd"

# As a service manager does it: the socket is descriptor 3 of the process that LISTEN_PID names.
HAND_OVER = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); " \
            "os.execv(sys.argv[2], sys.argv[2:])"


def test_socket_activation_ready_watchdog_and_stopping(lem_binary, home, smollm2):
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = home / "notify"
        manager.bind(str(path))
        manager.settimeout(60)
        port = listener.getsockname()[1]
        environment = {**os.environ, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000", "LISTEN_FDS": "1"}
        command = [sys.executable, "-c", HAND_OVER, str(listener.fileno()), lem_binary, "serve", "--model", str(smollm2),
                   "--context-length", "256"]
        with open(home / "log", "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, pass_fds=(listener.fileno(),))
        try:
            assert manager.recv(100) == b"READY=1"
            assert manager.recv(100) == b"WATCHDOG=1"
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
                assert answer.status == 200
            assert manager.recv(100) == b"WATCHDOG=1"
            process.send_signal(signal.SIGTERM)
            while (said := manager.recv(100)) != b"STOPPING=1":
                assert said == b"WATCHDOG=1"
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
            process.wait()
        assert f"Listening on 127.0.0.1:{port}" in (home / "log").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_units_are_valid(lem_binary, tmp_path):
    for name in ("lemonade.service", "lemonade.socket"):
        (tmp_path / name).write_text((UNITS / name).read_text().replace("/usr/local/bin/lem", lem_binary))
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", str(tmp_path / "lemonade.service"),
                             str(tmp_path / "lemonade.socket")], capture_output=True, text=True, check=False)
    complaints = [line for line in result.stderr.splitlines() if "lemonade" in line]
    assert complaints == []
