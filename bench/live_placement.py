"""lem serve over several devices while one of them slows down and another is lost: where requests go, and what it costs.

One server with the devices that are named, placed by predicted cost (a profile of this machine must exist). Requests come
one after the other and, in a second part, several at once. In the middle the first device takes a multiple of its time.
Recorded are when the slow-down could first be seen (the first slow span of the timelines), when the first request was
planned elsewhere, how many requests failed, and predicted beside measured times by device and phase. In the last part a
Vulkan device is lost while answers run on it.
"""

import argparse
import concurrent.futures
import http.client
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import time


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, arguments, environment, devices):
        self.port = free_port()
        command = [arguments.lem, "serve", "--model", arguments.model, "--port", str(self.port), "--log-level", "warning"]
        for device in devices:
            command += ["--device", device]
        self.process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                status, _, _ = self.call("GET", "/ready")
                if status == 200:
                    break
            except OSError:
                pass
            time.sleep(0.1)
        while any(route["state"] == "opening" for route in self.json("/lem/v1/plans")["routes"]):
            time.sleep(0.2)

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        connection.close()
        return response.status, dict(response.headers), text

    def json(self, path):
        return json.loads(self.call("GET", path)[2])

    def answer(self, model, prompt, max_tokens):
        begin = time.monotonic()
        status, headers, _ = self.call("POST", "/v1/completions",
                                       {"model": model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0})
        plan = re.search(r'placement="([^"]+)"', headers.get("x-lem-plan", ""))
        return {"at": begin, "status": status, "placement": plan.group(1) if plan else None,
                "seconds": time.monotonic() - begin}

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def spans(server):
    events = server.json("/lem/v1/trace")["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    return [{**event["args"], "device": names[event["tid"]], "begin_ms": event["ts"] / 1e3,
             "phase": event["name"].split()[0]} for event in events if event["ph"] == "X" and event["pid"] == 1]


def agreement(all_spans):
    """Median of predicted / measured by device and phase, of spans whose end is known."""
    ratios = {}
    for span in all_spans:
        if span["exact"] and span["predicted_ms"]:
            ratios.setdefault((span["device"], span["phase"]), []).append(span["predicted_ms"] / span["measured_ms"])
    return [{"device": device, "phase": phase, "spans": len(values), "median_predicted_to_measured":
             round(statistics.median(values), 3)} for (device, phase), values in sorted(ratios.items())]


def slow_down(arguments):
    # Sixteen tokens a request: the first ten requests are at full speed.
    server = Server(arguments, {"LEM_SLOW_DOWN": f"{arguments.device[0]}={arguments.factor}@{arguments.after}"},
                    arguments.device)
    model = os.path.splitext(os.path.basename(arguments.model))[0]
    answers = []
    with concurrent.futures.ThreadPoolExecutor(1 + arguments.beside) as pool:
        # A long answer keeps the device busy; requests keep coming meanwhile, one every tenth of a second.
        pending = []
        end = time.monotonic() + arguments.seconds
        while time.monotonic() < end:
            pending = [task for task in pending if not task.done() or answers.append(task.result())]
            if len(pending) <= arguments.beside:
                pending.append(pool.submit(server.answer, model, "The capital of France is", 16))
            time.sleep(0.1)
        answers += [task.result() for task in pending]
    trace = spans(server)
    plans = server.json("/lem/v1/plans")
    server.stop()
    usual = statistics.median(span["measured_ms"] for span in trace if span["device"] == arguments.device[0])
    first_slow = next(span for span in trace if span["device"] == arguments.device[0]
                      and span["measured_ms"] > 0.5 * arguments.factor * (span["predicted_ms"] or usual))
    after = [span for span in trace if span["begin_ms"] >= first_slow["begin_ms"]]
    elsewhere = next((span for span in after if span["device"] != arguments.device[0]), None)
    placements = {}
    for answer in answers:
        placements[answer["placement"]] = placements.get(answer["placement"], 0) + 1
    return {"factor": arguments.factor, "requests": len(answers), "failed": sum(a["status"] != 200 for a in answers),
            "placements": placements,
            "seconds_from_first_slow_step_to_work_elsewhere":
                None if elsewhere is None else round((elsewhere["begin_ms"] - first_slow["begin_ms"]) / 1e3, 3),
            "first_slow_step_ms": round(first_slow["measured_ms"], 1), "agreement": agreement(trace),
            "moves": sum(plan["moves"] for plan in plans["plans"])}


def lose(arguments):
    """The first device slow from the start, so that others work; then Vulkan goes."""
    server = Server(arguments, {"LEM_SLOW_DOWN": f"{arguments.device[0]}={arguments.factor}@20",
                                "LEM_VULKAN_LOSE_AFTER": str(arguments.lose_after)},
                    [arguments.device[0], "vulkan:0"])
    model = os.path.splitext(os.path.basename(arguments.model))[0]
    answers = [server.answer(model, "The capital of France is", 8) for _ in range(arguments.requests)]
    health = server.json("/health")
    server.stop()
    return {"requests": len(answers), "failed": sum(a["status"] != 200 for a in answers),
            "placements": [a["placement"] for a in answers], "health": health["status"],
            "lost": [device["id"] for device in health.get("lost_devices", [])]}


def features():
    wanted = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")
    with open("/proc/cpuinfo", encoding="ascii") as lines:
        flags = next(line.split(":")[1].split() for line in lines if line.startswith("flags"))
    return {"processors": os.cpu_count(), "flags": [flag for flag in wanted if flag in flags],
            "kernel": platform.release().split("-")[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lem", default="build/release/bin/lem")
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", action="append", required=True, help="the first is slowed down")
    parser.add_argument("--factor", type=float, default=40)
    parser.add_argument("--after", type=int, default=200, help="submissions of the first device at full speed")
    parser.add_argument("--beside", type=int, default=1, help="requests under way beside one")
    parser.add_argument("--seconds", type=float, default=25)
    parser.add_argument("--requests", type=int, default=12)
    parser.add_argument("--lose-after", type=int, default=30)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    result = {"command": "bench/live_placement.py " + " ".join(
        f"--{name.replace('_', '-')} {os.path.basename(str(value)) if name in ('model', 'lem') else value}"
        for name, value in vars(arguments).items() if name != "out"),
              "machine": features(), "slow_down": slow_down(arguments), "loss": lose(arguments)}
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as out:
            out.write(text + "\n")


if __name__ == "__main__":
    main()
