"""The providers' own client libraries against the fake provider: what they read is printed as JSON.

usage: clients.py openai|anthropic BASE_URL
"""

import json
import sys

KEY = "sk-very-secret-1"
SYSTEM = "be brief"
PROMPT = "what is said of the zebra?"


def strictly(event):
    """The event again, checked against the library's own types, which reading it is not."""
    type(event).model_validate(event.to_dict(mode="json"))
    return event


def openai(base_url):
    from openai import APIStatusError, OpenAI

    client = OpenAI(base_url=base_url, api_key=KEY, max_retries=0)

    def ask():
        return client.chat.completions.create(
            model="far-1",
            messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}],
            max_tokens=64,
            temperature=0.0,
            stream=True,
            stream_options={"include_usage": True},
        )

    read = {"text": "", "tool": "", "finish": None, "usage": None, "error": None}
    for chunk in map(strictly, ask()):
        for choice in chunk.choices:
            read["text"] += choice.delta.content or ""
            for call in choice.delta.tool_calls or []:
                read["tool"] += (call.function.name or "") + (call.function.arguments or "")
            read["finish"] = choice.finish_reason or read["finish"]
        if chunk.usage:
            cached = chunk.usage.prompt_tokens_details.cached_tokens
            read["usage"] = [chunk.usage.prompt_tokens, cached, chunk.usage.completion_tokens]
    try:
        ask()
    except APIStatusError as error:
        read["error"] = [type(error).__name__, error.type, error.response.headers["retry-after"]]
    return read


def anthropic(base_url):
    from anthropic import Anthropic, APIStatusError

    # The library adds /v1 itself.
    client = Anthropic(base_url=base_url.removesuffix("/v1/"), api_key=KEY, max_retries=0)
    system = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]
    asked = dict(
        model="far-1",
        system=system,
        messages=[{"role": "user", "content": [{"type": "text", "text": PROMPT}]}],
        max_tokens=64,
    )
    for event in client.messages.create(stream=True, **asked):
        strictly(event)
    with client.messages.stream(**asked) as stream:
        message = strictly(stream.get_final_message())
    read = {
        "text": "".join(block.text for block in message.content if block.type == "text"),
        "tool": "".join(block.name + json.dumps(block.input) for block in message.content if block.type == "tool_use"),
        "finish": message.stop_reason,
        "usage": [message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens],
        "error": None,
    }
    try:
        client.messages.create(stream=True, **asked)
    except APIStatusError as error:
        read["error"] = [type(error).__name__, error.body["error"]["type"], error.response.headers["retry-after"]]
    return read


if __name__ == "__main__":
    print(json.dumps({"openai": openai, "anthropic": anthropic}[sys.argv[1]](sys.argv[2])))
