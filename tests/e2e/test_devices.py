"""Devices as users meet them: doctor, placements, and a device that is lost while it answers."""

import json
import time

import pytest

from e2e.test_serve import Server, completion

PLACEMENTS = ["all vulkan:0", "prefill vulkan:0; decode cpu", "layers 0-14 vulkan:0; rest cpu", "ffn vulkan:0; rest cpu",
              "rows 0.5 vulkan:0; rest cpu"]


def doctor(lem):
    result = lem("doctor", "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def vulkan(lem):
    """The first Vulkan device as doctor lists it."""
    report = doctor(lem)
    for device in report["devices"]:
        if device["id"] == "vulkan:0":
            return device
    pytest.skip(f"no Vulkan device: {report['missing_devices']}")


def test_doctor_lists_devices(lem):
    devices = doctor(lem)["devices"]
    assert devices[0]["id"] == devices[0]["kind"] == "cpu" and devices[0]["emulated"] is False
    for device in devices:
        assert set(device) == {"id", "kind", "name", "driver", "emulated"} and device["kind"] in ("cpu", "gpu", "npu")
        if "llvmpipe" in device["name"]:
            assert device["kind"] == "gpu" and device["emulated"] is True


def test_doctor_says_why_there_is_no_vulkan(lem, monkeypatch):
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nonexistent")
    monkeypatch.setenv("VK_DRIVER_FILES", "/nonexistent")
    report = doctor(lem)
    assert not any(device["id"].startswith("vulkan:") for device in report["devices"])
    assert any(reason.startswith("Vulkan: ") for reason in report["missing_devices"])


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_placement_gives_the_text_of_the_cpu(lem, smollm2, vulkan, placement):
    del vulkan
    arguments = ("run", smollm2, "The capital of France is", "--raw", "--temperature", "0", "--max-tokens", "6")
    expected = lem(*arguments)
    found = lem(*arguments, "--placement", placement)
    assert found.returncode == 0, found.stderr
    assert found.stdout == expected.stdout != ""


@pytest.mark.parametrize("placement, says", [
    ("all vulkan:99", "there is no device 'vulkan:99'"),
    ("layers 0-99 cpu", "the model has layers 0 to 29"),
    ("everything cpu", "'everything' is no part of a model"),
    ("rows 2 cpu", "between 0 and 1"),
    ("", "empty"),
])
def test_wrong_placements_are_named(lem, smollm2, placement, says):
    result = lem("run", smollm2, "x", "--placement", placement)
    assert result.returncode != 0 and says in result.stderr, result.stderr


def test_a_device_lost_in_an_answer_loses_no_request(lem_binary, home, smollm2, vulkan, monkeypatch):
    del vulkan
    monkeypatch.setenv("LEM_VULKAN_LOSE_AFTER", "5")
    with open(home / "serve.log", "wb") as log:
        server = Server(lem_binary, smollm2, log, "--placement", "all vulkan:0")
        try:
            server.wait_until_ready(120)
            assert server.json("GET", "/health") == {"status": "ok"}
            devices = {device["id"]: device for device in server.json("GET", "/lem/v1/devices")["devices"]}
            assert devices["vulkan:0"]["state"] == "ok" and devices["vulkan:0"]["in_use"] and "cpu" in devices
            answer = server.json("POST", "/v1/completions", completion(max_tokens=12))
            assert answer["usage"]["completion_tokens"] == 12 and answer["choices"][0]["finish_reason"] == "length"
            health = server.json("GET", "/health")
            assert health["status"] == "degraded"
            assert health["lost_devices"][0]["id"] == "vulkan:0" and "lost" in health["lost_devices"][0]["error"]
            devices = {device["id"]: device for device in server.json("GET", "/lem/v1/devices")["devices"]}
            assert devices["vulkan:0"]["state"] == "lost" and devices["cpu"]["state"] == "ok"
            again = server.json("POST", "/v1/completions", completion(max_tokens=12))
            assert again["choices"][0]["text"] == answer["choices"][0]["text"]
        finally:
            server.process.kill()
            server.process.wait()


def device_of(server, name):
    return {device["id"]: device for device in server.json("GET", "/lem/v1/devices")["devices"]}[name]


def test_requests_do_not_wait_for_an_npu_to_compile(lem_binary, home, smollm2):
    with open(home / "serve.log", "wb") as log:
        server = Server(lem_binary, smollm2, log, "--placement", "all npu-emu")
        try:
            server.wait_until_ready(60)
            first = server.json("POST", "/v1/completions", completion(max_tokens=4))
            if device_of(server, "npu-emu")["state"] == "compiling":
                assert device_of(server, "npu-emu")["submissions"] == 0 and device_of(server, "cpu")["submissions"] >= 4
            deadline = time.monotonic() + 120
            while device_of(server, "npu-emu")["state"] == "compiling" and time.monotonic() < deadline:
                time.sleep(0.1)
            npu = device_of(server, "npu-emu")
            assert npu["state"] == "ok" and npu["emulated"] is True
            done = npu["submissions"]
            second = server.json("POST", "/v1/completions", completion(max_tokens=4))
            assert device_of(server, "npu-emu")["submissions"] >= done + 4
            for count in ("prompt_tokens", "completion_tokens"):
                assert first["usage"][count] == second["usage"][count]
        finally:
            server.process.kill()
            server.process.wait()


def test_one_answer_by_an_npu(lem, smollm2):
    arguments = ("run", smollm2, "The capital of France is", "--raw", "--temperature", "0", "--max-tokens", "2")
    for placement in ("all npu-emu", "prefill npu-emu; decode cpu", "ffn npu-emu; rest cpu"):
        found = lem(*arguments, "--placement", placement)
        assert found.returncode == 0 and found.stdout == " Paris.", found.stderr


@pytest.fixture
def openvino(lem):
    """npu-openvino as doctor lists it."""
    report = doctor(lem)
    for device in report["devices"]:
        if device["id"] == "npu-openvino":
            return device
    pytest.skip(f"no npu-openvino: {[why for why in report['missing_devices'] if why.startswith('OpenVINO')]}")


@pytest.mark.parametrize("placement", ["all npu-openvino", "ffn npu-openvino; rest cpu",
                                       "prefill npu-openvino; decode cpu"])
def test_openvino_gives_the_text_of_the_cpu(lem, smollm2, openvino, placement):
    assert openvino["kind"] == "npu" and openvino["emulated"] is False and "OpenVINO on " in openvino["name"]
    arguments = ("run", smollm2, "The capital of France is", "--raw", "--temperature", "0", "--max-tokens", "6")
    expected = lem(*arguments)
    found = lem(*arguments, "--placement", placement, timeout=300)
    assert found.returncode == 0, found.stderr
    assert found.stdout == expected.stdout != ""
    refused = lem(*arguments, "--placement", placement, "--deterministic", timeout=300)
    assert refused.returncode != 0 and "graphs of different lengths" in refused.stderr


def test_openvino_keeps_what_it_compiled(lem, home, smollm2, openvino):
    del openvino
    arguments = ("run", smollm2, "Hi", "--raw", "--temperature", "0", "--max-tokens", "2", "--placement",
                 "head npu-openvino; rest cpu")
    assert lem(*arguments, timeout=300).returncode == 0
    folder = home / "cache" / "lemonade" / "openvino"
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.blob")}
    assert kept
    assert lem(*arguments, timeout=300).returncode == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.blob")} == kept


def test_doctor_says_why_there_is_no_openvino(lem, smollm2, monkeypatch):
    monkeypatch.setenv("LEM_OPENVINO_PLUGIN", "/nonexistent/plugin.so")
    report = doctor(lem)
    assert not any(device["id"] == "npu-openvino" for device in report["devices"])
    assert any(why == "OpenVINO: there is no plug-in '/nonexistent/plugin.so'" for why in report["missing_devices"])
    result = lem("run", smollm2, "x", "--placement", "all npu-openvino")
    assert result.returncode != 0 and "/nonexistent/plugin.so" in result.stderr


def test_an_answer_is_handed_over_if_asked_for(lem, smollm2, monkeypatch):
    monkeypatch.setenv("LEM_SLOW_DOWN", "cpu=50")  # so that the answer lasts longer than any compiling
    arguments = ("run", smollm2, "Count to one thousand: 1, 2, 3,", "--raw", "--temperature", "0", "--json", "--max-tokens")
    result = lem(*arguments, "300", "--placement", "all npu-emu; handover", timeout=300)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["usage"]["handovers"] == 1
    refused = lem(*arguments, "4", "--placement", "all npu-emu; handover", "--deterministic")
    assert refused.returncode != 0 and "handover" in refused.stderr and "deterministic" in refused.stderr
