"""OpenAI's dialect and OpenRouter's variant of it: routes, messages on the wire, answers."""
