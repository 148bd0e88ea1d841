"""Answers of a certain form and calls of tools with the official Python client, on real models.

What a small model writes is its own affair; that it is of the form that was asked for is not.
"""

import concurrent.futures
import enum
import json
import random
import re

import openai
import pydantic
import pytest

from .conftest import MODEL

QWEN = "qwen2.5-coder-0.5b"
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city", "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 30}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"], "additionalProperties": False}}}
CLOCK = {"type": "function", "function": {"name": "get_time", "description": "The time of day"}}
ROME = [{"role": "user", "content": "What is the weather in Rome?"}]


class Kind(enum.StrEnum):
    CAT = "cat"
    DOG = "dog"


class Pet(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=20)
    kind: Kind
    age: int = pydantic.Field(ge=0, le=30)
    tags: list[str] = pydantic.Field(max_length=2)
    owner: str | None


def ask(client, model=MODEL, messages=None, **options):
    options = {"max_tokens": 200, "temperature": 0, **options}
    messages = messages or [{"role": "user", "content": "Describe a pet."}]
    return client.chat.completions.create(model=model, messages=messages, **options).choices[0]


def call_of(choice):
    assert choice.finish_reason == "tool_calls", choice
    assert not choice.message.content
    call = choice.message.tool_calls[0]
    assert call.id and call.type == "function"
    return call.function.name, json.loads(call.function.arguments)


@pytest.fixture(params=[MODEL, QWEN, "gemma3-270m"])
def model(request, served):
    if request.param not in served:
        pytest.skip(f"{request.param} is not among the models of LEM_TEST_MODELS")
    return request.param


def test_parsed_answers(client, model):
    answer = client.chat.completions.parse(
        model=model, messages=[{"role": "user", "content": "Describe a pet."}], response_format=Pet, max_tokens=400,
        temperature=0.8, seed=5)
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(answer.choices[0].message.parsed, Pet)
        # In the order of the schema.
        assert list(json.loads(answer.choices[0].message.content)) == ["name", "kind", "age", "tags", "owner"]


def test_streamed_answers_parse(client):
    with client.chat.completions.stream(
            model=MODEL, messages=[{"role": "user", "content": "Describe a pet."}], response_format=Pet, max_tokens=400,
            temperature=0.8, seed=7) as stream:
        for _ in stream:
            pass
        choice = stream.get_final_completion().choices[0]
    assert isinstance(choice.message.parsed, Pet)


def test_extensions(client):
    assert ask(client, extra_body={"choice": ["yes", "no"]}).message.content in ("yes", "no")
    assert re.fullmatch("[0-9]{3}-[0-9]{4}", ask(client, extra_body={"regex": "[0-9]{3}-[0-9]{4}"}).message.content)
    grammar = 'root ::= "[" [a-z]{1,5} ("," [a-z]{1,5}){1,2} "]"'
    assert re.fullmatch(r"\[[a-z]{1,5}(,[a-z]{1,5}){1,2}\]", ask(client, extra_body={"grammar": grammar}).message.content)
    assert json.loads(ask(client, extra_body={"guided_json": {"type": "array", "items": {"type": "boolean"},
                                                              "maxItems": 3}}).message.content) is not None
    answer = client.completions.create(model=MODEL, prompt="Is water wet?", max_tokens=5, temperature=0,
                                       extra_body={"guided_choice": [" Yes", " No"]})
    assert answer.choices[0].text in (" Yes", " No")


def test_json_object(client):
    choice = ask(client, response_format={"type": "json_object"}, max_tokens=400)
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content), dict)


def test_logprobs_are_the_models_and_every_token_has_one(client):
    choice = ask(client, extra_body={"regex": "abcabcabc[0-9]"}, logprobs=True, top_logprobs=2)
    tokens = choice.logprobs.content
    assert "".join(token.token for token in tokens) == choice.message.content
    assert all(token.logprob < 0 and len(token.top_logprobs) == 2 for token in tokens)


def test_unsupported_is_refused(client):
    for schema in ({"type": "nothing"}, {"$ref": "#/$defs/none"}, {"not": {}}):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}})
        assert caught.value.param == "response_format.json_schema.schema", schema


def test_required_and_named_calls(client, model):
    name, arguments = call_of(ask(client, model, ROME, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False))
    assert name == "get_weather"
    assert set(arguments) == {"city", "unit"} and arguments["unit"] in ("celsius", "fahrenheit")
    named = {"type": "function", "function": {"name": "get_time"}}
    choice = ask(client, model, ROME, tools=[WEATHER, CLOCK], tool_choice=named)
    assert call_of(choice) == ("get_time", {}) and len(choice.message.tool_calls) == 1


def test_streamed_calls(client, model):
    chunks = client.chat.completions.create(model=model, messages=ROME, tools=[WEATHER], tool_choice="required", stream=True,
                                            parallel_tool_calls=False, max_tokens=200, temperature=0)
    names, arguments, finish = {}, {}, None
    for chunk in chunks:
        choice = chunk.choices[0]
        finish = choice.finish_reason or finish
        for delta in choice.delta.tool_calls or []:
            if delta.id:
                assert delta.index not in names and delta.type == "function"
                names[delta.index] = delta.function.name
            else:
                assert delta.function.name is None
            arguments[delta.index] = arguments.get(delta.index, "") + delta.function.arguments
    assert finish == "tool_calls" and names == {0: "get_weather"}
    assert set(json.loads(arguments[0])) == {"city", "unit"}


def test_automatic_calls(client, served):
    if QWEN not in served:
        pytest.skip(f"{QWEN} is not among the models of LEM_TEST_MODELS")
    assert call_of(ask(client, QWEN, ROME, tools=[WEATHER]))[0] == "get_weather"
    assert ask(client, QWEN, ROME, tools=[WEATHER], tool_choice="none", max_tokens=10).message.tool_calls is None


def test_a_whole_conversation_with_a_tool(client, model):
    called = ask(client, model, ROME, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False).message
    messages = [*ROME, called.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": called.tool_calls[0].id, "content": '{"degrees": 31}'}]
    answer = ask(client, model, messages, tools=[WEATHER], tool_choice="none", max_tokens=40)
    assert answer.message.content and answer.message.tool_calls is None


def test_random_schemas_always_hold(client):
    def random_object(rng, depth=0):
        kinds = [lambda: {"type": "string", "maxLength": rng.randint(1, 20)}, lambda: {"type": "boolean"},
                 lambda: {"type": "integer", "minimum": -5, "maximum": 900}, lambda: {"enum": ["a", 1, None]},
                 lambda: {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 3}]
        if depth < 2:
            kinds.append(lambda: random_object(rng, depth + 1))
        names = rng.sample(["name", "size", "colour", "parts", "owner"], rng.randint(1, 4))
        return {"type": "object", "properties": {name: rng.choice(kinds)() for name in names}, "required": names,
                "additionalProperties": False}

    def check(value, schema):
        if "enum" in schema:
            return value in schema["enum"]
        if schema["type"] == "object":
            return (list(value) == list(schema["properties"])
                    and all(check(value[name], inner) for name, inner in schema["properties"].items()))
        if schema["type"] == "array":
            return len(value) <= schema["maxItems"] and all(check(item, schema["items"]) for item in value)
        if schema["type"] == "string":
            return isinstance(value, str) and len(value) <= schema["maxLength"]
        if schema["type"] == "boolean":
            return isinstance(value, bool)
        return isinstance(value, int) and schema["minimum"] <= value <= schema["maximum"]

    def one(seed):
        rng = random.Random(seed)
        schema = random_object(rng)
        choice = ask(client, messages=[{"role": "user", "content": "Describe a thing as JSON."}], max_tokens=300, seed=seed,
                     temperature=rng.choice([0, 1, 1.8]),
                     response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}})
        return choice.finish_reason == "length" or check(json.loads(choice.message.content), schema)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert all(pool.map(one, range(30)))
