"""Chat completions with the official Python client."""

import concurrent.futures
import json
import time

import openai
import pytest

from .conftest import GOLDEN, MODEL

SKY = [{"role": "user", "content": "Why is the sky blue?"}]


def chat(client, messages=None, **options):
    options = {"max_tokens": 24, "temperature": 0, **options}
    return client.chat.completions.create(model=MODEL, messages=SKY if messages is None else messages, **options)


def streamed_text(chunks, index=0):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices if choice.index == index)


def test_models(client):
    models = {model.id: model for model in client.models.list()}
    assert models[MODEL].object == "model" and models[MODEL].created > 0
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody/none")
    assert caught.value.code == "model_not_found"


def test_answer(client):
    answer = chat(client)
    assert answer.id.startswith("chatcmpl-") and answer.object == "chat.completion" and answer.model == MODEL
    assert abs(answer.created - time.time()) < 60
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and len(choice.message.content) > 40
    assert choice.finish_reason == "length" and choice.logprobs is None
    assert answer.usage.completion_tokens == 24
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 24
    assert answer.usage.prompt_tokens_details.cached_tokens >= 0


def test_prompts_have_the_golden_number_of_tokens(client):
    golden = json.loads((GOLDEN / "smollm2-135m-instruct-q4_1.chat.json").read_text())
    for case in golden["cases"]:
        assert chat(client, case["messages"], max_tokens=1).usage.prompt_tokens == len(case["ids"]), case["name"]


def test_answers_end_by_themselves(client):
    answer = chat(client, [{"role": "user", "content": "Say hello."}], max_tokens=200)
    assert answer.choices[0].finish_reason == "stop"
    assert "<|im_end|>" not in answer.choices[0].message.content


def test_control_tokens_in_messages_stay_text(client):
    plain = chat(client, [{"role": "user", "content": "x"}], max_tokens=1).usage.prompt_tokens
    control = chat(client, [{"role": "user", "content": "<|im_end|>"}], max_tokens=1).usage.prompt_tokens
    assert control >= plain + 4


def test_stream_is_the_same_answer(client):
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    whole = chat(client)
    assert streamed_text(chunks) == whole.choices[0].message.content
    assert {chunk.id for chunk in chunks} == {chunks[0].id} and {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["length"]
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_n_choices(client):
    options = {"n": 3, "temperature": 1, "seed": 11}
    answer = chat(client, **options)
    texts = [choice.message.content for choice in answer.choices]
    assert [choice.index for choice in answer.choices] == [0, 1, 2] and len(set(texts)) == 3
    assert answer.usage.completion_tokens <= 3 * 24
    chunks = list(chat(client, stream=True, **options))
    assert [streamed_text(chunks, index) for index in range(3)] == texts


def test_seed_repeats_an_answer(client):
    def text(**options):
        return chat(client, temperature=1, **options).choices[0].message.content

    assert text(seed=5) == text(seed=5)
    assert len({text(seed=seed) for seed in range(4)}) > 1
    assert len({text() for _ in range(4)}) > 1


@pytest.mark.parametrize("stream", [False, True])
def test_stop_string(client, stream):
    whole = chat(client).choices[0].message.content
    stop = whole[10:16]
    before = whole[: whole.index(stop)]
    answer = chat(client, stop=[stop, "never"], stream=stream)
    if stream:
        chunks = list(answer)
        assert streamed_text(chunks) == before and chunks[-1].choices[0].finish_reason == "stop"
    else:
        assert answer.choices[0].message.content == before and answer.choices[0].finish_reason == "stop"
        assert answer.usage.completion_tokens < 24


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(client, stream):
    answer = chat(client, logprobs=True, top_logprobs=3, stream=stream)
    if stream:
        entries = [entry for chunk in answer for choice in chunk.choices if choice.logprobs for entry in choice.logprobs.content]
    else:
        entries = answer.choices[0].logprobs.content
    assert len(entries) == 24
    for entry in entries:
        assert entry.logprob <= 0 and bytes(entry.bytes).decode() == entry.token
        assert len(entry.top_logprobs) == 3 and entry.top_logprobs[0].token == entry.token
        assert entry.top_logprobs[0].logprob == entry.logprob >= entry.top_logprobs[1].logprob
    text = chat(client).choices[0].message.content
    assert b"".join(bytes(entry.bytes) for entry in entries).decode() == text


def test_logit_bias_forbids_and_forces(client):
    first = chat(client, logprobs=True, max_tokens=1).choices[0].message.content
    ids = chat_first_token(client)
    assert chat(client, max_tokens=1, logit_bias={str(ids): -100}).choices[0].message.content != first
    forced = chat(client, max_tokens=3, logit_bias={"100": 100}).choices[0].message.content
    assert len(set(forced.split())) <= 1


def chat_first_token(client):
    """Id of the token that a greedy answer begins with, found by forcing tokens that a golden answer begins with."""
    golden = json.loads((GOLDEN / "smollm2-135m-instruct-q4_1.logits.json").read_text())
    case = next(case for case in golden["cases"] if "sky" in case["text"] and case["text"].startswith("<|im_start|>"))
    return case["greedy_ids"][0]


def test_messages_of_every_kind(client):
    answer = chat(client, [
        {"role": "developer", "content": "Answer with one word."},
        {"role": "user", "content": [{"type": "text", "text": "What is the capital"}, {"type": "text", "text": "of France?"}]},
        {"role": "assistant", "content": "Paris."},
        {"role": "user", "content": "And of Italy?", "name": "Ann"},
    ])
    assert answer.choices[0].message.content


@pytest.mark.parametrize(("options", "param"), [
    ({"temperature": 3}, "temperature"),
    ({"n": 0}, "n"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_completion_tokens": 100_000}, "messages"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
     "messages[0].content[0].type"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format.json_schema.schema"),
    ({"extra_body": {"top_k": "many"}}, "top_k"),
    ({"extra_body": {"guided_regex": "("}}, "guided_regex"),
    ({"logit_bias": {"49152": 1}}, "logit_bias"),
])
def test_refusals_name_the_parameter(client, options, param):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, **options)
    assert caught.value.param == param and caught.value.type == "invalid_request_error" and caught.value.code
    assert chat(client, max_tokens=1).choices[0].finish_reason == "length"


def test_unknown_model(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-nobody", messages=SKY)
    assert caught.value.code == "model_not_found" and MODEL in caught.value.message


def test_context_too_long(client):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, [{"role": "user", "content": "word " * 5000}])
    assert caught.value.code == "context_length_exceeded"


def test_eight_at_once_give_the_same_text(client):
    expected = chat(client).choices[0].message.content

    def ask(i):
        if i % 2:
            return chat(client).choices[0].message.content
        return streamed_text(list(chat(client, stream=True)))

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(16))) == {expected}


def test_cancel_in_the_middle_frees_the_server(client):
    began = time.monotonic()
    chat(client, max_tokens=8)
    usual = time.monotonic() - began
    for _ in range(4):
        stream = chat(client, max_tokens=1500, stream=True, extra_body={"ignore_eos": True})
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        stream.close()
    began = time.monotonic()
    assert chat(client, max_tokens=8).choices[0].message.content
    assert time.monotonic() - began < 2 + 5 * usual


def test_alias(client, served):
    answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hi"}], max_tokens=1)
    assert answer.model == MODEL and client.models.retrieve("gpt-4o").id == MODEL
    assert "gpt-4o" not in served


@pytest.mark.parametrize(("options", "param"), [
    ({"reasoning_effort": "much"}, "reasoning_effort"),
    ({"extra_body": {"moderation": {"model": "m"}}}, "moderation"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"verbosity": "low"}, "verbosity"),
    ({"extra_body": {"metadata": 5}}, "metadata"),
    ({"extra_body": {"user": 5}}, "user"),
])
def test_nothing_is_silently_dropped(client, options, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}], max_tokens=1, **options)
    assert caught.value.param == param


def test_what_changes_nothing_is_taken(client):
    answer = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hi"}], max_tokens=1, user="me", store=True, metadata={"a": "b"},
        service_tier="flex", prediction={"type": "content", "content": "Hello"}, prompt_cache_key="k", safety_identifier="s",
        reasoning_effort="low", extra_body={"nobody_knows": [1]})
    assert answer.usage.completion_tokens == 1
