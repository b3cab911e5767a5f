"""An ASGI application: a page, server-sent events and a WebSocket that sends back what it gets."""

import asyncio

from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.get("/")
async def index():
    """The page."""
    return {"hello": "from FastAPI"}


@app.get("/events")
async def events():
    """A stream that does not end."""

    async def stream():
        number = 0
        while True:
            yield f"data: {number}\n\n"
            number += 1
            await asyncio.sleep(0.1)

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.websocket("/echo")
async def echo(websocket: WebSocket):
    """Each message, sent back."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)
