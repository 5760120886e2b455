"""Only what Meta signed comes in: any bytes, any of the secrets, and nothing at all without a right signature."""

import asyncio
import re

from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support import APP_SECRET, body, change, message, phone_number_id, rows
from tests.test_intake import PATH, deliveries, http, metric, post, send_raw, serving, settings
from whatrack.db import Database
from whatrack.inbox.signature import refusal, sign

# Both vectors of shared/meta-contract.md §1.2: the second is the ASCII-escaped text as it travels.
SECRET = "test_app_secret"
VECTORS = {
    "plain": (
        rb'{"object":"whatsapp_business_account","entry":[]}',
        "dec6a680679a968e7e0319355b23599cbfc54502c0784668e9618baa0c633756",
    ),
    "escaped": (
        rb'{"object":"whatsapp_business_account","entry":[{"id":"1","note":"\u00e4\u00f6\u00e5 \/ \u0040"}]}',
        "8253e5c3220a2f1ca7edadfae7aca9433285c699fbb482c4bea8b7d0edfd5079",
    ),
}
RIGHT = "a" * 64
BAD_HEADERS = {
    "empty": (b"", "malformed"),
    "only the prefix": (b"sha256=", "malformed"),
    "no prefix": (RIGHT.encode(), "malformed"),
    "other prefix": (b"sha1=" + RIGHT.encode(), "malformed"),
    "capital prefix": (b"SHA256=" + RIGHT.encode(), "malformed"),
    "a digit short": (b"sha256=" + RIGHT[1:].encode(), "malformed"),
    "a digit long": (b"sha256=a" + RIGHT.encode(), "malformed"),
    "not hex": (b"sha256=" + b"g" * 64, "malformed"),
    "not ASCII": (b"sha256=" + b"\xff\xc3\xa9" * 21 + b"a", "malformed"),
    "full-width digits": (b"sha256=" + "１".encode() * 64, "malformed"),
    "two of them": (b"sha256=" + RIGHT.encode() + b",sha256=" + RIGHT.encode(), "malformed"),
    "well-formed and wrong": (b"sha256=" + RIGHT.encode(), "wrong"),
}


async def test_both_published_vectors_are_taken_with_any_of_the_secrets(db: Database, conninfo: str):
    async with serving(conninfo, settings=settings(f"old-secret,{SECRET},another"), workers=False) as base:
        answers = [
            await post(base, text, {"x-hub-signature-256": f"sha256={digest}"})
            for text, digest in VECTORS.values()
        ]

    assert answers == [200, 200]
    assert await deliveries(db) == [text for text, _ in VECTORS.values()]


async def test_a_bad_signature_stores_nothing_and_is_counted_by_its_reason(db: Database, service: str):
    text = body(change(phone_number_id(), message()))
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(text)}\r\nconnection: close\r\n".encode()
    answered: dict[str, tuple[bytes, str | None]] = {}

    for name, (header, reason) in BAD_HEADERS.items():
        labels = {"status": "401", "reason": f"signature_{reason}"}
        before = await metric(service, "whatrack_intake_answers_total", **labels)
        answer = await send_raw(service, head + b"x-hub-signature-256: " + header + b"\r\n\r\n" + text)
        after = await metric(service, "whatrack_intake_answers_total", **labels)
        answered[name] = (answer.split()[1], reason if after == before + 1 else None)

    assert answered == {name: (b"401", reason) for name, (_, reason) in BAD_HEADERS.items()}
    assert await deliveries(db) == []


async def test_a_missing_signature_and_one_of_the_old_kind_store_nothing(db: Database, service: str):
    text = body(change(phone_number_id(), message()))
    before = await metric(service, "whatrack_intake_answers_total", status="401", reason="signature_missing")

    answers = [
        await post(service, text, {}),
        await post(service, text, {"x-hub-signature": "sha1=" + "a" * 40}),
    ]

    assert answers == [401, 401]
    assert await deliveries(db) == []
    after = await metric(service, "whatrack_intake_answers_total", status="401", reason="signature_missing")
    assert after == before + 2


async def test_a_signature_of_other_bytes_or_of_another_app_stores_nothing(db: Database, service: str):
    text = body(change(phone_number_id(), message()))
    others = [
        sign(text + b"\n", APP_SECRET.encode()),
        sign(text, APP_SECRET.encode() + b" "),
        sign(text, b""),
        sign(b"", APP_SECRET.encode()),
    ]

    answers = [await post(service, text, {"x-hub-signature-256": header}) for header in others]

    assert answers == [401] * len(others)
    assert await rows(db, "SELECT 1 FROM webhook_deliveries") == []


async def test_the_answer_says_neither_the_secret_nor_the_right_signature(db: Database, service: str):
    text = body(change(phone_number_id(), message()))

    async with http(service) as client, client.post(PATH, data=text) as response:
        answer = await response.text() + str(response.headers)

    assert APP_SECRET not in answer
    assert not re.search("[0-9a-f]{64}", answer)


async def test_hundreds_of_forgeries_at_once_leave_room_for_the_real_one(db: Database, service: str):
    text = body(change(phone_number_id(), message()))
    forged = {"x-hub-signature-256": "sha256=" + "0" * 64}

    async with http(service, limit=100) as client:

        async def one(headers: dict[str, str]) -> int:
            async with client.post(PATH, data=text, headers=headers) as response:
                return response.status

        real = {"x-hub-signature-256": sign(text, APP_SECRET.encode())}
        answers = await asyncio.gather(*(one(real if place == 250 else forged) for place in range(500)))

    assert [place for place, status in enumerate(answers) if status == 200] == [250]
    assert answers.count(401) == 499
    assert await deliveries(db) == [text]


secrets = st.binary(max_size=200)


@given(text=st.binary(), secret=secrets, others=st.lists(secrets, max_size=3), place=st.integers(0, 3))
def test_any_body_signed_with_any_of_the_secrets_verifies(
    text: bytes, secret: bytes, others: list[bytes], place: int
):
    every = [*others[:place], secret, *others[place:]]

    assert refusal(sign(text, secret).encode(), text, every) is None


@given(text=st.binary(min_size=1), secret=secrets, bit=st.integers(min_value=0))
def test_one_flipped_bit_of_the_body_is_refused(text: bytes, secret: bytes, bit: int):
    header = sign(text, secret).encode()

    assert refusal(header, flipped(text, bit), [secret]) == "wrong"


@given(text=st.binary(), secret=secrets, bit=st.integers(0, 255))
def test_one_flipped_bit_of_the_signature_is_refused(text: bytes, secret: bytes, bit: int):
    digest = bytes.fromhex(sign(text, secret).removeprefix("sha256="))

    assert refusal(b"sha256=" + flipped(digest, bit).hex().encode(), text, [secret]) == "wrong"


@given(text=st.binary(), secret=st.binary(min_size=1, max_size=64), bit=st.integers(min_value=0))
def test_one_flipped_bit_of_the_secret_is_refused(text: bytes, secret: bytes, bit: int):
    assert refusal(sign(text, secret).encode(), text, [flipped(secret, bit)]) == "wrong"


@given(header=st.binary(max_size=120), text=st.binary(), secret=secrets)
def test_no_made_up_header_is_an_error_or_lets_anything_in(header: bytes, text: bytes, secret: bytes):
    assume(header.strip().lower() != sign(text, secret).encode())

    assert refusal(header, text, [secret]) in ("malformed", "wrong")


def test_without_any_secret_nothing_verifies():
    assert refusal(sign(b"{}", b"").encode(), b"{}", []) == "wrong"


def flipped(data: bytes, bit: int) -> bytes:
    place, power = divmod(bit % (len(data) * 8), 8)
    return data[:place] + bytes([data[place] ^ 1 << power]) + data[place + 1 :]


async def test_the_signature_is_of_the_untouched_bytes_whatever_they_are(db: Database, service: str):
    odd = [b"\x00\xff\xfe", b"\xef\xbb\xbf{}", b"{}\r\n", b" {}", '{"a":"é"}'.encode("latin-1")]

    async with http(service) as client:
        for text in odd:
            headers = {"x-hub-signature-256": sign(text, APP_SECRET.encode())}
            async with client.post(PATH, data=text, headers=headers) as response:
                assert response.status == 200

    assert sorted(await deliveries(db)) == sorted(odd)


async def test_a_compressed_body_is_signed_and_kept_as_it_travelled(db: Database, service: str):
    import gzip

    text = gzip.compress(body(change(phone_number_id(), message())))
    headers = {"x-hub-signature-256": sign(text, APP_SECRET.encode()), "content-encoding": "gzip"}

    status = await post(service, text, headers)

    assert status == 200
    assert await deliveries(db) == [text]
