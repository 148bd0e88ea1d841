"""lem serve under a service manager: a socket that is handed over, and what it says about itself."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request

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
