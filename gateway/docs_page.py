"""`/docs`: Swagger UI, wholly from this server, so that it works where there is no internet.

The script and style are those that the package `fastapi-offline` carries; only its files are used.
"""

from importlib.resources import files
from typing import Final

from fastapi import FastAPI
from starlette.responses import Response

from gateway.answers import problem
from schemas.errors import NotFound

ASSETS: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Penstock API</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
<body>
<div id="api"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# No validator badge: it would send the document's address to a server elsewhere.
START: Final = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
});
"""
# The page may load nothing from elsewhere, whatever it is told.
POLICY: Final = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"


def add_docs_routes(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(PAGE, media_type="text/html", headers={"content-security-policy": POLICY})

    @app.get("/docs/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name == "start.js":
            return Response(START, media_type="text/javascript")
        media_type = ASSETS.get(name)
        if media_type is None:
            return problem(NotFound(f"there is no {name[:64]!r} here"))
        content = (files("fastapi_offline") / "static" / name).read_bytes()
        return Response(content, media_type=media_type, headers={"cache-control": "public, max-age=3600"})
