"""The service: OpenAI's routes and others over HTTP. The only room that knows a status code."""
