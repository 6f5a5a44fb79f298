"""The trained models as a service: `python -m artifact.serving --model DIR` (docs/serving.md).

models      what is served: a folder of JSON descriptions and safetensors files
batching    steps of many streams in one call of the model
guard       token, body, time and concurrency limits, JSON errors, metrics: before any route
app         the routes
server      uvicorn, with a limit on the time of a request's head, and a graceful stop
"""
