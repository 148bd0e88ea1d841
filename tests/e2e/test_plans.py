"""lem profile, lem explain and placements by predicted cost."""

import json
import re
import time

import pytest

from .test_serve import Server


def completion(**options):
    return {"model": "smollm2-135m", "prompt": "The capital of France is", "temperature": 0, **options}


@pytest.fixture
def profiled(lem):
    """The CPU and the emulated NPU, measured for a moment."""
    result = lem("profile", "--seconds", "2", "--device", "cpu", "--device", "npu-emu", "--json", timeout=240)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_profile_measures_and_explain_uses_it(lem, smollm2, profiled):
    assert profiled["source"] == "measured" and [device["id"] for device in profiled["devices"]] == ["cpu", "npu-emu"]
    for device in profiled["devices"]:
        assert device["bandwidth_gbs"] > 0 and device["launch_us"] > 0
        assert all(rate > 0 for curve in device["gemm"] for _, rate in curve["points"])
    result = lem("explain", smollm2, "--prompt-tokens", "100", "--max-tokens", "20", "--json")
    assert result.returncode == 0, result.stderr
    plan = json.loads(result.stdout)
    assert plan["prompt_tokens"] == 100 and plan["prefill"]["ms"] > 0 and plan["decode"]["ms"] > 0
    assert plan["alternatives"] and all(other["lost_because"] for other in plan["alternatives"])
    # The planner's placement is one that can be run.
    answer = lem("run", smollm2, "The capital of France is", "--raw", "--temperature", "0", "--max-tokens", "2",
                 "--placement", plan["placement"])
    assert answer.returncode == 0 and answer.stdout == " Paris.", answer.stderr
    chosen = lem("run", smollm2, "The capital of France is", "--raw", "--temperature", "0", "--max-tokens", "2",
                 "--placement", "auto")
    assert chosen.returncode == 0 and chosen.stdout == " Paris.", chosen.stderr
    virtual = lem("explain", smollm2, "--virtual", "--prompt-tokens", "500", "--json")
    assert virtual.returncode == 0 and json.loads(virtual.stdout)["prefill"]["ms"] > 0, virtual.stderr


def test_without_a_profile_the_cpu_is_guessed(lem, smollm2):
    text = lem("explain", smollm2)
    assert text.returncode == 0 and "all cpu" in text.stdout and "run `lem profile`" in text.stdout
    assert "layers 0 to 29" in text.stdout and "attention   " + 30 * "c" in text.stdout
    answer = lem("run", smollm2, "The capital of France is", "--raw", "--temperature", "0", "--max-tokens", "2",
                 "--placement", "auto")
    assert answer.stdout == " Paris."


@pytest.mark.parametrize("arguments, says", [
    (("--objective", "speed"), "latency"),
    (("--prompt-tokens", "0"), "--prompt-tokens"),
])
def test_wrong_questions(lem, smollm2, arguments, says):
    result = lem("explain", smollm2, *arguments)
    assert result.returncode != 0 and says in result.stderr, result.stderr


def test_profile_of_a_device_that_is_not_there(lem):
    result = lem("profile", "--device", "vulkan:99")
    assert result.returncode != 0 and "there is no device 'vulkan:99'" in result.stderr


def check_plans(server, num_requests):
    """Every request has a plan that says what was predicted and what it took; the timelines agree."""
    plans = server.json("GET", "/lem/v1/plans")
    assert len(plans["plans"]) == num_requests
    for plan in plans["plans"]:
        assert plan["state"] == "finished" and plan["chosen_by"] == "cost" and plan["objective"] == "latency"
        assert plan["prefill"]["predicted_ms"] > 0 and plan["prefill"]["measured_ms"] > 0
        assert plan["decode"]["predicted_ms_per_token"] > 0 and plan["decode"]["measured_ms_per_token"] > 0
        assert all(other["lost_because"] for other in plan["alternatives"])
    assert any(route["placement"] == "all cpu" and route["state"] == "ready" for route in plans["routes"])
    assert any(device["steps"] > 0 and device["error"] >= 0 for device in plans["predictions"])
    events = [event for event in server.json("GET", "/lem/v1/trace")["traceEvents"] if event["ph"] == "X"]
    measured = [event for event in events if event["pid"] == 1]
    assert len(measured) >= num_requests * 4 and all(event["dur"] > 0 for event in measured)
    for before, after in zip(measured, measured[1:]):
        assert before["ts"] <= after["ts"]
    connection, response = server.request("GET", "/metrics")
    metrics = response.read().decode()
    connection.close()
    assert "lem_prediction_error_ratio{" in metrics and "lem_step_measured_seconds_total{" in metrics


def plan_of(response):
    return re.fullmatch(r'\d+;placement="([^"]+)";prefill="([a-z+]+)";decode="([a-z+]+)"'
                        r";predicted-prefill-ms=[0-9.]+;predicted-token-ms=[0-9.]+", response.headers["x-lem-plan"])


def test_each_request_is_planned(lem_binary, home, smollm2):
    with open(home / "serve.log", "wb") as log:
        server = Server(lem_binary, smollm2, log)
        try:
            server.wait_until_ready(60)
            for stream in (False, True):
                connection, response = server.request("POST", "/v1/completions", completion(max_tokens=4, stream=stream))
                plan = plan_of(response)
                assert plan and plan.groups() == ("all cpu", "cpu", "cpu"), response.headers["x-lem-plan"]
                body = response.read()
                connection.close()
                if not stream:
                    usage = json.loads(body)["usage"]
                    assert (usage["joules"] is None) == (usage["joules_source"] == "unavailable")
            check_plans(server, 2)
        finally:
            server.process.kill()
            server.process.wait()


def test_requests_over_all_devices_that_were_allowed(lem_binary, home, smollm2, lem, profiled, monkeypatch):
    """Whatever is faster here: each request gets an answer, and what was slow for a while is answered elsewhere."""
    del profiled
    monkeypatch.setenv("LEM_SLOW_DOWN", "cpu=20@12+8")
    with open(home / "serve.log", "wb") as log:
        server = Server(lem_binary, smollm2, log, "--device", "cpu", "--device", "npu-emu")
        try:
            server.wait_until_ready(120)
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                routes = {route["placement"]: route["state"] for route in server.json("GET", "/lem/v1/plans")["routes"]}
                assert "failed" not in routes.values(), routes
                if "opening" not in routes.values():
                    break
                time.sleep(0.2)
            assert {"all cpu", "all npu-emu"} <= set(routes)
            for _ in range(8):
                connection, response = server.request("POST", "/v1/completions", completion(max_tokens=4))
                assert response.status == 200 and plan_of(response), response.headers["x-lem-plan"]
                assert json.loads(response.read())["choices"][0]["text"].startswith(" Paris")
                connection.close()
            check_plans(server, 8)
        finally:
            server.process.kill()
            server.process.wait()


def test_a_trace_of_one_answer(lem, smollm2, home):
    trace = home / "trace.json"
    result = lem("run", smollm2, "The capital of France is", "--raw", "--max-tokens", "3", "--json", "--trace", trace)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["plan"]["placement"] == "all cpu" and answer["plan"]["predicted_token_ms"] > 0
    assert "joules" in answer["usage"] and answer["usage"]["joules_source"]
    spans = [event for event in json.loads(trace.read_text())["traceEvents"] if event["ph"] == "X"]
    assert {event["args"]["rows"] for event in spans} == {1, 5}


@pytest.mark.parametrize("arguments, says", [
    (("--objective", "speed"), "latency"),
    (("--device", "cpu", "--placement", "all cpu"), "leave one of them out"),
    (("--device", "gpu:7"), "device 'gpu:7' is not in the profile"),
])
def test_wrong_choices(lem, smollm2, arguments, says):
    result = lem("run", smollm2, "x", "--max-tokens", "1", *arguments)
    assert result.returncode != 0 and says in result.stderr, result.stderr
