//! Every LLM call: one door to OpenAI-compatible providers.
