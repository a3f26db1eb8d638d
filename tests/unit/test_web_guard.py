"""Who is let in at the HTTP door, what it answers with, and what it serves as files."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from support.house import House
from support.web import address, connected, web_house

from leyden_server.gateway.web.guard import Guard
from leyden_server.gateway.web.page_files import PageFiles

LIST = "/leyden.v1.ModelService/ListModels"


@pytest.fixture
async def home() -> AsyncIterator[House]:
    async with web_house(web_hosts=["leyden.example.com", "[2001:db8::7]"]) as home:
        yield home


async def answer(home: House, *headers: str, path: str = LIST, method: str = "POST") -> str:
    """Send a request with these headers and no others; return all that is answered."""
    host, _, port = address(home).partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [f"{method} {path} HTTP/1.1", *headers, "connection: close"]
    if method == "POST":
        lines += ["content-type: application/json", "content-length: 2"]
    writer.write(("\r\n".join(lines) + "\r\n\r\n" + ("{}" if method == "POST" else "")).encode())
    read = await reader.read()
    writer.close()
    return read.decode()


def status(response: str) -> int:
    return int(response.split()[1])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8080",
        "localhost:9999",
        "LOCALHOST",
        "[::ffff:127.0.0.1]",
        "leyden.example.com",
        "Leyden.Example.com.:443",
        "[2001:DB8:0::7]:8080",
    ],
)
async def test_its_own_hosts_are_let_in(home: House, host: str) -> None:
    assert status(await answer(home, f"Host: {host}")) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com",
        "leyden.example.com.evil.com",
        "localhost.evil.com",
        "127.0.0.2",
        "10.0.0.1",
        "[::1]",
        "evil.example.com#localhost",
        "localhost@evil.example.com",
        "localhost/",
        "localhost:99999",
        "localhost:x",
        "",
    ],
)
async def test_another_host_is_403(home: House, host: str) -> None:
    for path, method in ((LIST, "POST"), ("/", "GET"), ("/v1/models", "GET")):
        response = await answer(home, f"Host: {host}", path=path, method=method)
        assert status(response) in {400, 403}, response
        assert "leyden-tiny" not in response


async def test_two_hosts_are_refused(home: House) -> None:
    assert status(await answer(home, "Host: localhost", "Host: evil.example.com")) in {400, 403}


@pytest.mark.parametrize(
    ("host", "origin", "is_let_in"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080", True),
        ("leyden.example.com", "https://leyden.example.com", True),
        ("leyden.example.com", "http://leyden.example.com:80", True),
        ("leyden.example.com:8443", "https://leyden.example.com:8443", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8081", False),
        ("127.0.0.1:8080", "http://localhost:8080", False),
        ("127.0.0.1:8080", "http://evil.example.com", False),
        ("127.0.0.1:8080", "null", False),
        ("127.0.0.1:8080", "", False),
        ("127.0.0.1:8080", "file://127.0.0.1:8080", False),
        ("127.0.0.1:8080", "http://127.0.0.1:8080/path", False),
        ("127.0.0.1:8080", "http://user@127.0.0.1:8080", False),
    ],
)
async def test_another_origin_is_403(home: House, host: str, origin: str, is_let_in: bool) -> None:
    response = await answer(home, f"Host: {host}", f"Origin: {origin}")
    assert status(response) == (200 if is_let_in else 403), response


async def test_a_preflight_of_another_page_gets_no_leave(home: House) -> None:
    response = await answer(
        home,
        "Host: 127.0.0.1",
        "Origin: http://evil.example.com",
        "Access-Control-Request-Method: POST",
        method="OPTIONS",
    )
    assert status(response) == 403
    assert "access-control-allow" not in response.lower()


def test_a_door_that_is_open_to_all_is_known_by_the_address_that_was_reached() -> None:
    guard = Guard("0.0.0.0", ())
    reached = {"server": ("192.0.2.7", 8080)}
    for host, is_let_in in (("192.0.2.7:8080", True), ("localhost", False), ("name", False)):
        refusal = guard.refusal({**reached, "headers": [(b"host", host.encode())]})
        assert (refusal == "") is is_let_in, host


@pytest.mark.parametrize(("path", "method"), [(LIST, "POST"), ("/", "GET"), ("/none", "GET")])
async def test_every_answer_has_the_headers_that_keep_a_browser_strict(
    home: House, path: str, method: str
) -> None:
    for host in ("localhost", "evil.example.com"):
        head = (await answer(home, f"Host: {host}", path=path, method=method)).partition("\r\n\r\n")
        headers = head[0].lower()
        policy = re.search(r"content-security-policy: (.*)", headers)
        assert policy is not None
        assert policy[1].startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy[1]
        assert "x-content-type-options: nosniff" in headers
        assert "referrer-policy: no-referrer" in headers
        assert "frame-ancestors 'none'" in policy[1]
        assert "server:" not in headers


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>Leyden</title>")
    (tmp_path / "assets" / "app-1a2b3c.js").write_text("export {}")
    (tmp_path / ".secret").write_text("no")
    return tmp_path


async def test_the_page_is_served_with_types_and_caching(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leyden_server.gateway.web.opening.PageFiles", lambda: PageFiles(page))
    async with (
        web_house() as home,
        httpx2.AsyncClient(base_url=f"http://{address(home)}") as http,
    ):
        index = await http.get("/")
        assert index.text == "<!doctype html><title>Leyden</title>"
        assert index.headers["content-type"] == "text/html; charset=utf-8"
        assert index.headers["cache-control"] == "no-cache"
        same = await http.get("/", headers={"if-none-match": index.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        script = await http.get("/assets/app-1a2b3c.js")
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
        head = await http.head("/")
        assert (head.status_code, head.content) == (200, b"")
        assert (await http.post("/", content=b"x")).status_code == 405
        for path in ("/.secret", "/assets", "/assets/", "/../pyproject.toml", "/%2e%2e/x", "/no"):
            assert (await http.get(path)).status_code == 404, path


async def test_the_address_of_ipv6_is_its_own() -> None:
    async with web_house(web_host="::1") as home:
        assert home.server.web is not None
        url = f"http://[::1]:{home.server.web.port}"
        async with connected(url) as client:
            assert await client.list_models() == ["leyden-tiny-lightning-4step"]
