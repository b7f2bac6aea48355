"""Is the service alive, and may it be asked?"""

from __future__ import annotations

from fastapi import APIRouter, Request

from sottovoce.server.failures import Kind, RequestError

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> dict[str, str]:
    """Alive: the process answers."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(request: Request) -> dict[str, str]:
    """Ready: the served model has decoded the known clip."""
    if not request.app.state.house.warm:
        raise RequestError("the model is being loaded; ask again", Kind(503, "server_error", "loading", 2))
    return {"status": "ready"}
