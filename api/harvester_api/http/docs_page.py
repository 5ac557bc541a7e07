"""The page that draws the OpenAPI document, with Swagger's assets from this gateway: sites have no internet.

The assets are those that the package fastapi-offline carries. All addresses are relative, so that the page is right
behind a proxy that puts the gateway below a path.
"""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse

PAGE = "/docs"
_ASSETS = "docs-assets"


def install(app: FastAPI) -> None:
    """Serve the page at `PAGE`."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=app.title,
        swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{_ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{_ASSETS}/favicon.png",
    )

    async def docs() -> HTMLResponse:
        return page

    app.add_api_route(PAGE, docs, include_in_schema=False)
    app.mount(f"/{_ASSETS}", StaticFiles(directory=str(files("fastapi_offline") / "static")))
