"""Sign-in: a plain page that works without JavaScript and costs the server no NiceGUI client."""

import re
from collections.abc import Callable
from html import escape
from string import Template
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from claude_pattern.api.keys import COOKIE, Keys
from claude_pattern.errors import TooManyAttempts, Unauthorized

from . import texts
from .theme import FONTS, asset

_POLICY = (
    "default-src 'none'; style-src 'self'; font-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$sign_in · $product</title>
<link rel="icon" href="$icon">
<link rel="stylesheet" href="$fonts">
<link rel="stylesheet" href="$css">
<script src="$theme"></script>
</head>
<body class="login">
<main>
<form method="post" action="/login">
<h1><img src="$icon" alt="" width="28" height="28">$product</h1>
$problem
<label for="key">$api_key</label>
<input class="field" id="key" name="key" type="password" autocomplete="current-password" required autofocus>
<input type="hidden" name="next" value="$next">
<button class="button filled">$sign_in</button>
<p class="hint">$hint</p>
</form>
</main>
</body>
</html>
""")


def router(keys: Keys) -> APIRouter:
    """The routes /login and /logout."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/login")
    async def show(request: Request, code: str = "", next: str = "/") -> Response:
        if keys.session_valid(request.cookies.get(COOKIE)):
            return _go(next)
        if not code:
            return _form(next)
        return _sign_in(keys, request, next, lambda: keys.redeem(code), texts.USED_LINK)

    @routes.post("/login")
    async def sign_in(
        request: Request, key: Annotated[str, Form()] = "", next: Annotated[str, Form()] = "/"
    ) -> Response:
        return _sign_in(keys, request, next, lambda: keys.check(key.strip()), Unauthorized.default)

    @routes.post("/logout")
    async def sign_out(request: Request) -> Response:
        keys.close_session(request.cookies.get(COOKIE))
        response = RedirectResponse("/login", status_code=303)
        response.delete_cookie(COOKIE)
        return response

    return routes


def local(address: str) -> str:
    """`address` if it is a page of this server, else the first page."""
    plain = address.isprintable() and "\\" not in address
    return address if plain and re.match(r"/(?!/|login\b|logout\b)", address) else "/"


def _sign_in(keys: Keys, request: Request, next_page: str, proven: Callable[[], bool], refusal: str) -> Response:
    address = request.client.host if request.client else "unknown"
    try:
        keys.attempt(address)
    except TooManyAttempts as error:
        return _form(next_page, error.message, error.status)
    if not proven():
        return _form(next_page, refusal, Unauthorized.status)
    keys.succeeded(address)
    response = _go(next_page)
    response.set_cookie(COOKIE, keys.open_session(), **keys.cookie_params(request.url.scheme == "https"))
    return response


def _go(next_page: str) -> Response:
    return RedirectResponse(local(next_page), status_code=303)


def _form(next_page: str, problem: str = "", status: int = 200) -> Response:
    page = _PAGE.substitute(
        product=texts.PRODUCT,
        sign_in=texts.SIGN_IN,
        api_key=texts.API_KEY,
        hint=texts.SIGN_IN_HINT,
        icon=asset("favicon.svg"),
        css=asset("app.css"),
        fonts=FONTS,
        theme=asset("theme.js"),
        problem=f'<p class="notice error" role="alert">{escape(problem)}</p>' if problem else "",
        next=escape(local(next_page)),
    )
    return HTMLResponse(page, status, headers={"content-security-policy": _POLICY})
