"""Ollama's API with its official Python client, and the wire of its streams."""

import concurrent.futures
import http.client
import json

import ollama
import pytest

from .conftest import CONTEXT, MODEL

SKY = [{"role": "user", "content": "Why is the sky blue?"}]
GREEDY = {"temperature": 0, "num_predict": 24}
SCHEMA = {"type": "object", "properties": {"colour": {"type": "string", "enum": ["blue", "red"]}}, "required": ["colour"],
          "additionalProperties": False}


@pytest.fixture(scope="module")
def llama(port):
    return ollama.Client(host=f"http://127.0.0.1:{port}", timeout=120)


def chat(llama, messages=None, **options):
    return llama.chat(**{"model": MODEL, "messages": messages or SKY, "options": GREEDY, **options})


def test_chat(llama, client):
    answer = chat(llama)
    assert answer.model == MODEL and answer.done and answer.done_reason == "length"
    assert answer.message.role == "assistant" and len(answer.message.content) > 40
    assert answer.eval_count == 24 and answer.prompt_eval_count == 36
    assert answer.total_duration >= answer.eval_duration > 0 and answer.prompt_eval_duration >= 0 and answer.load_duration >= 0
    other = client.chat.completions.create(model=MODEL, messages=SKY, max_tokens=24, temperature=0)
    assert answer.message.content == other.choices[0].message.content


def test_chat_stream(llama):
    parts = list(chat(llama, stream=True))
    assert "".join(part.message.content for part in parts) == chat(llama).message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].done_reason == "length" and parts[-1].eval_count == 24 and parts[0].eval_count is None


def test_generate(llama):
    answer = llama.generate(model=MODEL, prompt=SKY[0]["content"], options=GREEDY)
    assert answer.response == chat(llama).message.content and answer.eval_count == 24
    parts = list(llama.generate(model=MODEL, prompt=SKY[0]["content"], options=GREEDY, stream=True))
    assert "".join(part.response for part in parts) == answer.response and parts[-1].done
    system = llama.generate(model=MODEL, prompt="Hi", system="Be brief.", options=GREEDY)
    assert system.prompt_eval_count == chat(llama, [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]).prompt_eval_count


def test_generate_raw(llama, client):
    raw = llama.generate(model=MODEL, prompt="The capital of France is", raw=True, options=GREEDY)
    other = client.completions.create(model=MODEL, prompt="The capital of France is", max_tokens=24, temperature=0)
    assert raw.response == other.choices[0].text


def test_streaming_is_the_default_on_the_wire(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/api/chat", json.dumps({"model": MODEL, "messages": SKY, "options": GREEDY}))
    response = connection.getresponse()
    assert response.headers["Content-Type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in response.read().decode().splitlines()]
    assert len(lines) > 10 and lines[-1]["done"] and not lines[0]["done"]
    connection.close()


def test_options(llama):
    def text(**options):
        return chat(llama, options={"num_predict": 24, **options}).message.content

    assert text(seed=5) == text(seed=5)
    assert len({text(seed=seed) for seed in range(4)}) > 1
    whole = text(temperature=0)
    stop = whole[10:16]
    answer = chat(llama, options={**GREEDY, "stop": [stop]})
    assert answer.message.content == whole[: whole.index(stop)] and answer.done_reason == "stop" and answer.eval_duration > 0
    assert text(temperature=0, num_ctx=CONTEXT, mirostat=0) == whole


def test_format(llama):
    assert json.loads(chat(llama, format=SCHEMA, options={"temperature": 0, "num_predict": 60}).message.content)["colour"] in {"blue", "red"}
    answer = chat(llama, [{"role": "user", "content": "A JSON object with one key."}], format="json")
    assert answer.message.content.startswith("{") and (answer.done_reason == "length" or json.loads(answer.message.content))


def weather(city: str) -> str:
    """The weather of a city

    Args:
      city: its name
    """
    return city


def test_tools(llama):
    answer = chat(llama, [
        {"role": "user", "content": "What is the weather in Rome?"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Rome"}}}]},
        {"role": "tool", "tool_name": "weather", "content": "22 degrees"},
    ], tools=[weather])
    assert answer.done and answer.prompt_eval_count > 60


def test_tool_calls_are_objects(llama, served):
    if "qwen2.5-coder-0.5b" not in served:
        pytest.skip("no qwen2.5-coder-0.5b.gguf in LEM_TEST_MODELS")
    for stream in (False, True):
        answer = llama.chat(model="qwen2.5-coder-0.5b", messages=[{"role": "user", "content": "What is the weather in Rome? Call the tool."}],
                            tools=[weather], options={"temperature": 0, "num_predict": 100}, stream=stream)
        calls = [call for part in (answer if stream else [answer]) for call in part.message.tool_calls or []]
        assert all(call.function.name == "weather" and isinstance(call.function.arguments, dict) for call in calls)


def test_logprobs(llama):
    answer = chat(llama, logprobs=True, top_logprobs=2)
    assert len(answer.logprobs) == 24 and all(len(entry.top_logprobs) == 2 and entry.logprob <= 0 for entry in answer.logprobs)
    assert "".join(entry.token for entry in answer.logprobs) == answer.message.content


def test_models(llama):
    models = {model.model: model for model in llama.list().models}
    model = models[f"{MODEL}:latest"]
    assert model.size > 1_000_000 and len(model.digest) == 64 and model.modified_at
    assert model.details.family == "llama" and model.details.format == "gguf" and model.details.quantization_level == "Q4_1"
    assert f"{MODEL}:latest" in {running.model for running in llama.ps().models}
    shown = llama.show(MODEL)
    assert {"completion", "tools"} <= set(shown.capabilities) and shown.modelinfo["general.architecture"] == "llama"
    assert shown.details.parameter_size == "135M" and shown.template
    assert chat(llama, model=f"{MODEL}:latest").model == f"{MODEL}:latest"


def test_load(llama):
    assert llama.chat(model=MODEL).done_reason == "load"
    assert llama.generate(model=MODEL, keep_alive="10m").done_reason == "load"


def test_unload_and_come_back(llama):
    expected = chat(llama).message.content
    assert llama.generate(model=MODEL, keep_alive=0).done_reason == "unload"
    assert chat(llama).message.content == expected
    assert f"{MODEL}:latest" in {running.model for running in llama.ps().models}
    llama.generate(model=MODEL, keep_alive=-1)


@pytest.mark.parametrize(("call", "status", "words"), [
    (lambda llama: llama.chat(model="nobody", messages=SKY), 404, "nobody"),
    (lambda llama: llama.show("nobody"), 404, "nobody"),
    (lambda llama: llama.delete("nobody"), 404, "nobody"),
    (lambda llama: list(llama.chat(model="nobody", messages=SKY, stream=True)), 404, "nobody"),
    (lambda llama: chat(llama, options={"temperature": "hot"}), 400, "options.temperature"),
    (lambda llama: chat(llama, [{"role": "user", "content": "x", "images": [b"AAAA"]}]), 400, "images"),
    (lambda llama: chat(llama, think=True), 400, "does not support thinking"),
    (lambda llama: chat(llama, [{"role": "user", "content": "word " * 5000}]), 400, "context"),
    (lambda llama: llama.generate(model=MODEL, prompt="x", suffix="y"), 400, "suffix"),
    (lambda llama: chat(llama, format={"type": "nothing"}), 400, "format"),
    (lambda llama: llama.pull("../../etc/passwd"), 400, "name"),
])
def test_refusals(llama, call, status, words):
    with pytest.raises(ollama.ResponseError) as caught:
        call(llama)
    assert caught.value.status_code == status and words in caught.value.error
    assert chat(llama, options={"num_predict": 1}).eval_count == 1


def test_several_at_once(llama):
    expected = chat(llama).message.content
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert {answer.message.content for answer in threads.map(lambda _: chat(llama), range(8))} == {expected}


def test_cancel_in_the_middle_frees_the_server(llama):
    for _ in range(3):
        stream = chat(llama, options={"num_predict": 1500}, stream=True)
        next(stream)
        stream.close()
    assert chat(llama, options={"num_predict": 2}).eval_count == 2


def test_embeddings(llama):
    answer = llama.embed(model=MODEL, input=["The cat sleeps.", "Interest rates rose."])
    assert len(answer.embeddings) == 2 and len(answer.embeddings[0]) == len(answer.embeddings[1]) > 100
    assert answer.prompt_eval_count > 4
    assert llama.embed(model=MODEL, input="The cat sleeps.", dimensions=8).embeddings[0] != []
    assert llama.embed(model=MODEL, input="").embeddings == []
    one = llama.embeddings(model=MODEL, prompt="The cat sleeps.").embedding
    assert list(one) == list(answer.embeddings[0])
    # What is longer than the context is cut, unless the client forbids it.
    assert len(llama.embed(model=MODEL, input="word " * 5000).embeddings) == 1
    with pytest.raises(ollama.ResponseError):
        llama.embed(model=MODEL, input="word " * 5000, truncate=False)
