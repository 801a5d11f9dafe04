"""What the cloud client sends and returns, over a real socket."""

from __future__ import annotations

import email
import email.policy
import json
import os
import threading
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persons.vision import meta
from persons.vision.client import HttpVision, Multipart, envelope_status
from persons.vision.envelope import match_objects, parse
from persons.vision.errors import VisionRejected, VisionTemporary
from persons.vision.tokens import Secret, ServiceToken
from persons.vision.transport import host_of
from persons.vision.types import Image, ImageStatus, Method
from tests.support.misbehaving import Misbehaving, answer, envelope, message, raw

TOKEN = "a/token+with=signs&more"
JPEG = b"\xff\xd8 a picture, with a line break\r\n-- and dashes \xff\xd9"
ODD_NAMES = [
    "file",
    "examples/a.jpg",
    'a "quoted" name',
    "back\\slash",
    'both \\" of them',
    "Ольга и 小明.jpg",
    "two\r\nlines",
    "a\ttab",
    "semi;colon=x",
    "%22percent%0A",
    "https://example.org/a.jpg?b=c&d=e",
]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def vision(server: Misbehaving, **options: Any) -> HttpVision:
    return HttpVision(server.url, ServiceToken(Secret(TOKEN)), **options)


def done(*names: str) -> Any:
    return envelope({"objects": [{"status": 0, "name": name} for name in names]})


def recognize(*names: str) -> dict[str, Any]:
    return meta.RecognizeRequest(5, names, update_embedding=False).as_meta()


def test_a_recognition_is_one_post_with_meta_and_the_file_it_names() -> None:
    with Misbehaving(done("file")) as server:
        given_back = vision(server).call(
            Method.RECOGNIZE, recognize("file"), [Image("file", JPEG, "image/png")]
        )
    (request,) = server.received
    assert (request.method, request.path) == ("POST", "/api/v1/persons/recognize")
    assert request.query == {"oauth_token": TOKEN, "oauth_provider": "mcs"}
    assert request.headers["accept"] == "application/json"
    assert "authorization" not in request.headers
    texts, files = request.parts()
    assert json.loads(texts["meta"]) == recognize("file")
    assert files["file"].read() == JPEG
    assert files["file"].content_type == "image/png"
    assert given_back.http_status == 200
    assert parse(Method.RECOGNIZE, given_back).objects[0].name == "file"


def test_the_answer_comes_back_to_the_byte() -> None:
    body = b'{ "status" :200,"body":{"objects":[]}  , "odd":"\\u044f \xd1\x8f"}\n\n'
    with Misbehaving(answer(body)) as server:
        assert vision(server).call(Method.TRUNCATE, {"space": "5"}, []).raw == body


def test_an_answer_in_chunks_is_put_together() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Misbehaving(raw(head, b'6\r\n{"stat\r\n', b'9\r\nus": 200}\r\n0\r\n\r\n')) as server:
        given_back = vision(server).call(Method.TRUNCATE, {"space": "5"}, [])
    assert given_back.raw == b'{"status": 200}'


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_part_is_named_exactly_as_meta_names_it(name: str) -> None:
    request = meta.SetRequest(5, (meta.PersonImage(name, 7),))
    with Misbehaving(done(name)) as server:
        vision(server).call(Method.SET, request.as_meta(), [Image(name, JPEG)])
    texts, files = server.received[0].parts()
    assert json.loads(texts["meta"])["images"] == [{"name": name, "person_id": 7}]
    assert list(files) == [name]
    assert files[name].read() == JPEG


@given(st.text(min_size=1, max_size=20).filter(lambda name: "\0" not in name))
def test_no_name_breaks_out_of_its_header(name: str) -> None:
    try:
        body = Multipart(recognize(name), [Image(name, JPEG)])
    except VisionRejected:
        assert any("\ud800" <= letter <= "\udfff" for letter in name)
        return
    parts = b"".join(body).split(body.content_type.partition("boundary=")[2].encode())
    head = parts[2].partition(b"\r\n\r\n")[0]
    assert head.count(b"\r\n") == 2
    parsed = email.message_from_bytes(head.strip(), policy=email.policy.HTTP)
    assert len(parsed.keys()) == 2


def test_a_lone_surrogate_in_a_name_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(VisionRejected, match="valid text"):
        Multipart({}, [Image("\ud800", JPEG)])


def test_a_content_type_cannot_smuggle_a_header() -> None:
    body = Multipart({}, [Image("file", JPEG, "image/jpeg\r\nX-Evil: 1")])
    sent = b"".join(body)
    assert b"Evil" not in sent
    assert b"application/octet-stream" in sent


def test_a_hundred_images_arrive_whole_and_in_order() -> None:
    images = [Image(f"photo{number}", os.urandom(5_000 + number)) for number in range(100)]
    names = [image.name for image in images]
    with Misbehaving(done(*reversed(names))) as server:
        given_back = vision(server).call(Method.RECOGNIZE, recognize(*names), images)
    _, files = server.received[0].parts()
    assert list(files) == names
    assert all(files[image.name].read() == image.data for image in images)
    results = match_objects(names, parse(Method.RECOGNIZE, given_back))
    assert [result.status for result in results] == [ImageStatus.DONE] * 100


@pytest.mark.parametrize("method", [Method.DELETE, Method.TRUNCATE])
def test_delete_and_truncate_send_no_image(method: Method) -> None:
    with Misbehaving(done("file")) as server:
        asked = {"space": "5", "images": [{"name": "file", "person_id": 1}]}
        vision(server).call(method, asked, [Image("file", JPEG)])
    texts, files = server.received[0].parts()
    assert json.loads(texts["meta"]) == asked
    assert not files


def test_only_the_images_that_meta_names_are_sent() -> None:
    with Misbehaving(done("a")) as server:
        vision(server).call(
            Method.RECOGNIZE, recognize("a", "b"), [Image("a", JPEG), Image("stray", JPEG)]
        )
    assert list(server.received[0].parts()[1]) == ["a"]


def test_a_meta_that_is_wrong_is_left_to_the_server_to_refuse() -> None:
    with Misbehaving(envelope("images must be a list", 400)) as server:
        given_back = vision(server).call(
            Method.RECOGNIZE, {"space": "5", "images": {"name": "file"}}, [Image("file", JPEG)]
        )
    with pytest.raises(VisionRejected, match="must be a list"):
        parse(Method.RECOGNIZE, given_back)


def test_calls_after_each_other_use_one_connection() -> None:
    with Misbehaving(done("file")) as server:
        cloud = vision(server)
        for _ in range(5):
            cloud.call(Method.TRUNCATE, {"space": "5"}, [])
        assert len(server.received) == 5
        assert server.connections == 1


def test_threads_share_one_client() -> None:
    images = [Image("file", JPEG * 1000)]
    seen: list[bytes] = []
    with Misbehaving(done("file")) as server:
        cloud = vision(server)

        def work() -> None:
            for _ in range(5):
                seen.append(cloud.call(Method.RECOGNIZE, recognize("file"), images).raw)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.connections <= 8
    assert len(seen) == 40 and len(set(seen)) == 1
    assert all(request.query["oauth_token"] == TOKEN for request in server.received)


def test_a_forked_process_opens_connections_of_its_own() -> None:
    with Misbehaving(done("file")) as server:
        cloud = vision(server)
        cloud.call(Method.TRUNCATE, {"space": "5"}, [])
        cloud._http._pid = -1  # as a child sees it
        cloud.call(Method.TRUNCATE, {"space": "5"}, [])
        assert server.connections == 2


def test_cookies_are_not_kept() -> None:
    with Misbehaving(answer(b'{"status": 200}', Set_Cookie="who=you")) as server:
        cloud = vision(server)
        cloud.call(Method.TRUNCATE, {"space": "5"}, [])
        cloud.call(Method.TRUNCATE, {"space": "5"}, [])
    assert "cookie" not in server.received[1].headers


def test_a_password_in_netrc_is_not_sent(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password pass\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with Misbehaving(done("file")) as server:
        vision(server).call(Method.TRUNCATE, {"space": "5"}, [])
    assert "authorization" not in server.received[0].headers


def test_a_proxy_of_the_environment_is_used_and_gets_the_whole_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Misbehaving(done("file")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        cloud = HttpVision("http://vision.example", ServiceToken(Secret(TOKEN)))
        cloud.call(Method.TRUNCATE, {"space": "5"}, [])
        # The environment is a process's: it is read once.
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
        cloud = HttpVision("http://vision.example", ServiceToken(Secret(TOKEN)))
        with pytest.raises(VisionTemporary, match=r"^vision\.example .* through the proxy"):
            cloud.call(Method.TRUNCATE, {"space": "5"}, [])
    (request,) = proxy.received
    assert request.target.startswith("http://vision.example/api/v1/persons/truncate?oauth_token=")
    assert request.query["oauth_token"] == TOKEN


def test_a_request_of_30_mb_takes_no_more_memory_than_its_images() -> None:
    images = [Image(f"photo{number}", os.urandom(300_000)) for number in range(100)]
    asked = recognize(*(image.name for image in images))
    with Misbehaving(done("photo0"), keep=False) as server:
        cloud = vision(server)
        cloud.call(Method.TRUNCATE, {"space": "5"}, [])  # what is made once
        tracemalloc.start()
        try:
            cloud.call(Method.RECOGNIZE, asked, images)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert server.received[-1].length > 30_000_000
    assert peak < 2_000_000


def test_a_body_can_be_sent_twice() -> None:
    body = Multipart(recognize("file"), [Image("file", JPEG)])
    assert b"".join(body) == b"".join(body)
    assert len(b"".join(body)) == len(body)


def test_the_answer_to_a_body_that_was_not_read_is_still_read() -> None:
    refusal = message(b'{"status": 400, "body": "too large"}', 413, Connection="close")

    def run(server: Misbehaving, connection: Any) -> None:
        connection.recv(1000)
        connection.sendall(refusal)
        # Goes on reading, as a well-behaved server does; one that does not loses its answer.
        while connection.recv(100_000):
            pass

    run.unread = True  # type: ignore[attr-defined]
    with Misbehaving(run) as server:
        given_back = vision(server).call(
            Method.RECOGNIZE, recognize("file"), [Image("file", b"x" * 3_000_000)]
        )
    assert given_back.http_status == 413


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("", "/api/v1/persons/set"),
        ("/", "/api/v1/persons/set"),
        ("/api", "/api/v1/persons/set"),
        ("/api/", "/api/v1/persons/set"),
        ("/rollcall", "/rollcall/api/v1/persons/set"),
    ],
)
def test_the_address_may_hold_a_path(url: str, path: str) -> None:
    with Misbehaving(done("file")) as server:
        cloud = HttpVision(server.url + url, ServiceToken(Secret(TOKEN)), provider="mr")
        cloud.call(Method.SET, {"space": "5"}, [])
    assert server.received[0].path == path
    assert server.received[0].query["oauth_provider"] == "mr"


def test_the_model_is_the_host() -> None:
    cloud = HttpVision("https://smarty.mail.ru", ServiceToken(Secret(TOKEN)))
    assert (cloud.name, cloud.model, cloud.max_batch) == ("cloud", "smarty.mail.ru", 100)
    assert host_of("http://[::1]:8000/x") == "[::1]:8000"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "smarty.mail.ru",
        "ftp://smarty.mail.ru",
        "https://",
        "https://hidden:hidden@smarty.mail.ru",
        "https://smarty.mail.ru/?oauth_token=hidden",
        "https://smarty.mail.ru:hidden",
        "https://[hidden",
    ],
)
def test_a_wrong_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="the address") as caught:
        HttpVision(url, ServiceToken(Secret(TOKEN)))
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"status": 403, "body": "no"}', 403),
        (b'{"status": "403"}', None),
        (b'{"status": true}', None),
        (b"[]", None),
        (b"[" * 60_000, None),
        (b"<html>", None),
        (b"", None),
        (b' {"status": 200, "body": "' + b"x" * 100_000 + b'"}', 200),
        (b"<html>" + b"x" * 100_000, None),
    ],
)
def test_the_status_of_an_envelope_is_read_cheaply(body: bytes, status: int | None) -> None:
    assert envelope_status(body) == status
