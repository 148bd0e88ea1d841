"""lem profile, lem explain and placements by predicted cost."""

import json

import pytest


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
