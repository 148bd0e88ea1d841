"""LangChain's client for OpenAI's API: what its users do with it."""

import openai
import pydantic
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

from .conftest import MODEL

SKY = "Why is the sky blue?"


@pytest.fixture(scope="module")
def base(port):
    return {"base_url": f"http://127.0.0.1:{port}/v1", "api_key": "none", "model": MODEL, "max_retries": 0}


def chat(base, **options):
    return ChatOpenAI(**{**base, "temperature": 0, "max_tokens": 24, **options})


@tool
def get_weather(city: str, days: int) -> str:
    """Weather of a city for some days."""
    return f"{days} days of sun in {city}"


class Pet(pydantic.BaseModel):
    """A pet."""

    name: str
    age: int


@pytest.mark.parametrize("responses", [False, True])
def test_chat(base, client, responses):
    answer = chat(base, use_responses_api=responses).invoke([SystemMessage("Be brief."), HumanMessage(SKY)])
    other = client.chat.completions.create(
        model=MODEL, temperature=0, max_tokens=24, messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": SKY}])
    assert answer.text == other.choices[0].message.content
    assert answer.usage_metadata["output_tokens"] == 24
    assert answer.usage_metadata["input_tokens"] == other.usage.prompt_tokens


@pytest.mark.parametrize("responses", [False, True])
def test_stream(base, responses):
    model = chat(base, use_responses_api=responses, stream_usage=True)
    chunks = list(model.stream(SKY))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert len(chunks) > 10 and whole.text == model.invoke(SKY).text
    assert whole.usage_metadata["output_tokens"] == 24


@pytest.mark.parametrize("responses", [False, True])
def test_tools(base, responses):
    model = chat(base, use_responses_api=responses, max_tokens=200)
    question = HumanMessage("What is the weather in Rome for 2 days?")
    call = model.bind_tools([get_weather], tool_choice="get_weather", parallel_tool_calls=False).invoke([question])
    assert isinstance(call, AIMessage) and [made["name"] for made in call.tool_calls] == ["get_weather"]
    arguments = call.tool_calls[0]["args"]
    assert set(arguments) == {"city", "days"} and isinstance(arguments["days"], int)
    result = ToolMessage(get_weather.invoke(arguments), tool_call_id=call.tool_calls[0]["id"])
    assert model.bind_tools([get_weather], tool_choice="none").invoke([question, call, result]).text


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_schema(base, method):
    made = chat(base, max_tokens=200).with_structured_output(Pet, method=method).invoke("Describe a pet.")
    assert isinstance(made, Pet) and made.name


def test_conversation_is_kept_by_the_server(base):
    model = chat(base, use_responses_api=True, use_previous_response_id=True)
    first = model.invoke([HumanMessage("My name is Ann.")])
    second = model.invoke([HumanMessage("My name is Ann."), first, HumanMessage("What is my name?")])
    assert first.response_metadata["id"].startswith("resp_")
    assert second.usage_metadata["input_tokens"] > first.usage_metadata["input_tokens"]


def test_log_probabilities(base):
    answer = chat(base, max_tokens=4).bind(logprobs=True, top_logprobs=2).invoke(SKY)
    tokens = answer.response_metadata["logprobs"]["content"]
    assert len(tokens) == 4 and all(len(token["top_logprobs"]) == 2 for token in tokens)


def test_completions(base):
    assert OpenAI(**base, temperature=0, max_tokens=8).invoke("The sky is")


def test_batch(base):
    model = chat(base, max_tokens=8)
    alone = model.invoke(SKY).text
    assert [answer.text for answer in model.batch([SKY] * 4)] == [alone] * 4


def test_embeddings(base):
    """As text: the client's own token ids are of another tokenizer, and the server cannot tell."""
    model = OpenAIEmbeddings(**base, check_embedding_ctx_length=False)
    vectors = model.embed_documents(["The sky is blue.", "The sky is blue.", "Bread is baked."])
    assert vectors[0] == vectors[1] != vectors[2] and len(vectors[0]) == len(model.embed_query("x"))


def test_errors(base):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(base, temperature=5).invoke(SKY)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.NotFoundError):
        chat(base, model="nobody").invoke(SKY)
    assert chat(base, max_tokens=1).invoke(SKY).usage_metadata["output_tokens"] == 1
