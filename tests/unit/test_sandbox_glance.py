"""The sandbox's image service: tokens, paths and the format of refusals, as seen on a real Glance 33."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from bulkshare.sandbox.images import MEDIA_TYPE, OLD_MEDIA_TYPE
from bulkshare.sandbox.wire import Request
from tests.sandbox_glance import IMAGE, START, SandboxGlance, message


@pytest.fixture
def sandbox() -> SandboxGlance:
    """Return a new sandbox."""
    return SandboxGlance()


async def test_no_token_is_401_before_anything_else(sandbox: SandboxGlance) -> None:
    """Missing, wrong and expired tokens get the identity URL, and no request ID."""
    sandbox.now = START + timedelta(hours=1)
    for who in (None, "nonsense", "alice"):
        for path in (f"/v2/images/{IMAGE}/members", "/v2/nonsense"):
            answer = await sandbox.ask(who, "POST", path)
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == 'Keystone uri="http://identity/v3"'
            assert "x-openstack-request-id" not in answer.headers


@pytest.mark.parametrize(
    ("accept", "kind", "body"),
    [
        ("application/json", "application/json", '{"message": "Image x not found.<br /><br />\\n\\n\\n", '),
        ("application/*", "application/json", '{"message": "Image x not found.<br /><br />\\n\\n\\n", '),
        (
            "*/*",
            "text/html; charset=UTF-8",
            "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>",
        ),
        ("text/html, application/json;q=0.9", "text/html; charset=UTF-8", "<html>"),
        ("text/html;q=0.1, application/json", "application/json", '{"message"'),
        ("application/json;q=0", "text/plain; charset=UTF-8", "404 Not Found"),
        ("", "text/plain; charset=UTF-8", "404 Not Found\n\nImage x not found.\n\n   "),
        ("application/xml", "text/plain; charset=UTF-8", "404 Not Found\n\nImage x not found.\n\n   "),
    ],
)
async def test_the_format_of_a_refusal_follows_accept(
    sandbox: SandboxGlance, accept: str, kind: str, body: str
) -> None:
    """HTML for a browser and curl, JSON on request, text without an Accept header."""
    answer = await sandbox.ask("alice", "GET", "/v2/images/x/members", accept=accept)
    assert (answer.status, answer.headers["Content-Type"]) == (404, kind)
    assert answer.body.decode().startswith(body)


async def test_html_of_a_refusal_is_escaped(sandbox: SandboxGlance) -> None:
    """Text sent by the client is returned escaped."""
    answer = await sandbox.ask("alice", "GET", "/v2/images/<b>'/members", accept="text/html")
    assert b"  Image &lt;b&gt;&#x27; not found.<br /><br />\n\n\n\n </body>\n</html>" in answer.body


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", "members", "GET, POST"),
        ("DELETE", "members", "GET, POST"),
        ("HEAD", "members", "GET, POST"),
        ("POST", "members/m1", "GET, PUT, DELETE"),
        ("PUT", "", "GET, PATCH, DELETE"),
    ],
)
async def test_methods_that_are_not_allowed(sandbox: SandboxGlance, method: str, path: str, allow: str) -> None:
    """A 405 lists the allowed methods."""
    answer = await sandbox.ask("alice", method, f"/v2/images/{IMAGE}/{path}".rstrip("/"))
    assert (answer.status, answer.headers["Allow"]) == (405, allow)
    assert (answer.body == b"") == (method == "HEAD")


@pytest.mark.parametrize(
    "path",
    ["/v2/", "/v2/nonsense", "/v2/images/", f"/v2/images/{IMAGE}/members/", f"/v2/images/{IMAGE}/members/a/b"],
)
async def test_unknown_paths(sandbox: SandboxGlance, path: str) -> None:
    """A trailing slash makes another path, and so does one inside an ID."""
    answer = await sandbox.ask("alice", "GET", path)
    assert (answer.status, message(answer)) == (404, "The resource could not be found.")


async def test_reads_take_no_body(sandbox: SandboxGlance) -> None:
    """All but the list of images refuse a body."""
    for method, path in (("GET", f"/v2/images/{IMAGE}/members"), ("DELETE", f"/v2/images/{IMAGE}")):
        answer = await sandbox.ask("alice", method, path, {"a": 1})
        assert (answer.status, message(answer)) == (400, "A body is not expected with this request.")
    assert (await sandbox.ask("alice", "GET", "/v2/images", {"a": 1})).status == 200


async def test_versions(sandbox: SandboxGlance) -> None:
    """The root lists the versions with 300, /versions with 200; a minor version is an alias of /v2."""
    for path, status in (("", 300), ("/", 300), ("/v1/images", 300), ("/versions", 200)):
        answer = await sandbox.ask(None, "GET", path)
        assert answer.status == status
        versions = json.loads(answer.body)["versions"]
        assert {version["links"][0]["href"] for version in versions} == {"http://image/v2/"}
        assert [version["id"] for version in versions if version["status"] == "CURRENT"] == ["v2.17"]
    assert (await sandbox.ask("alice", "GET", "/v2.5/images")).status == 200
    redirect = await sandbox.ask("alice", "GET", "/v2")
    assert (redirect.status, redirect.headers["Location"]) == (302, "http://image/v2/")
    assert (await sandbox.ask(None, "GET", "/healthcheck")).body == b"OK"


async def test_the_clients_request_id_comes_back(sandbox: SandboxGlance) -> None:
    """A client may set the request ID."""
    headers = {"X-Auth-Token": sandbox.tokens["alice"], "X-Openstack-Request-Id": "mine"}
    answer = await sandbox.glance.respond(Request("GET", "/v2/images", headers=headers))
    assert answer.headers["x-openstack-request-id"] == "req-mine"


async def test_unsupported_requests_are_reported(sandbox: SandboxGlance) -> None:
    """They get a 501."""
    locations = [{"op": "replace", "path": "/locations", "value": [{"url": "x", "metadata": {}}]}]
    for method, path, body, kind in (
        ("GET", f"/v2/images/{IMAGE}/file", None, ""),
        ("GET", "/v2/images?os_hash_algo=sha512", None, ""),
        ("PATCH", f"/v2/images/{IMAGE}", [{"add": "/x", "value": "1"}], OLD_MEDIA_TYPE),
        ("PATCH", f"/v2/images/{IMAGE}", locations, MEDIA_TYPE),
    ):
        answer = await sandbox.ask("alice", method, path, body, kind=kind)
        assert (answer.status, message(answer)) == (501, "The sandbox can't do this.")


async def test_an_unscoped_token_sees_nothing(sandbox: SandboxGlance) -> None:
    """Without a project there are no roles."""
    sandbox.tokens["unscoped"] = sandbox.cloud.issue_token(
        sandbox.cloud.users[sandbox.cloud.admin.id], None, "password"
    ).id
    answer = await sandbox.ask("unscoped", "GET", "/v2/images")
    assert (answer.status, message(answer)) == (403, "You are not authorized to complete get_images action.")
    assert (await sandbox.add("m1", "unscoped")).status == 404
