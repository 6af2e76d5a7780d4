"""Signatures of events, held against what receivers check them with, and of links to results."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import InvalidWebhookSignatureError, OpenAI
from replicate.webhook import InvalidSignatureError, Webhooks, WebhookSigningSecret
from standardwebhooks import Webhook, WebhookVerificationError

from schemas.errors import Unauthenticated
from schemas.signing import LinkState, ResultLinks, check_signature, new_secret, secret_key, signed_headers

BODY = '{"type":"job.succeeded","data":{"name":"Zoë 東京"}}'.encode()
OLD, NEW, OTHER = new_secret(), new_secret(), new_secret()
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)


def test_a_signature_is_that_of_the_specification_s_own_example() -> None:
    at = datetime.fromtimestamp(1614265330, UTC)

    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}', ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
    )

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("secret", [OLD, NEW], ids=["old", "new"])
def test_libraries_accept_an_event_by_either_secret_of_a_rotation(secret: str) -> None:
    headers = signed_headers("msg_1", datetime.now(UTC), BODY, [NEW, OLD])

    assert Webhook(secret).verify(BODY, headers)["type"] == "job.succeeded"
    assert OpenAI(api_key="none").webhooks.unwrap(BODY, headers, secret=secret).type == "job.succeeded"  # type: ignore[comparison-overlap]
    Webhooks.validate(headers=headers, body=BODY.decode(), secret=WebhookSigningSecret(key=secret), tolerance=300)
    check_signature(headers, BODY, [secret], datetime.now(UTC))


def test_libraries_refuse_an_event_by_another_secret() -> None:
    headers = signed_headers("msg_1", datetime.now(UTC), BODY, [NEW, OLD])

    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(BODY, headers)
    with pytest.raises(InvalidWebhookSignatureError):
        OpenAI(api_key="none").webhooks.unwrap(BODY, headers, secret=OTHER)
    with pytest.raises(InvalidSignatureError):
        Webhooks.validate(headers=headers, body=BODY.decode(), secret=WebhookSigningSecret(key=OTHER))
    with pytest.raises(Unauthenticated, match="no signature in webhook-signature is by this secret"):
        check_signature(headers, BODY, [OTHER], datetime.now(UTC))


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"webhook-id": "msg_2"}, "webhook-signature"),
        ({"webhook-timestamp": str(int(NOW.timestamp()) + 1)}, "webhook-signature"),
        ({"webhook-timestamp": str(int(NOW.timestamp()) - 302)}, "webhook-timestamp"),
        ({"webhook-timestamp": str(int(NOW.timestamp()) + 302)}, "webhook-timestamp"),
        ({"webhook-timestamp": "soon"}, "webhook-timestamp"),
        ({"webhook-timestamp": "٣٣٣"}, "webhook-timestamp"),
        ({"webhook-timestamp": "9" * 5000}, "webhook-timestamp"),
        ({"webhook-signature": "v1,"}, "webhook-signature"),
        ({"webhook-signature": "v2,\udcff é"}, "webhook-signature"),
        ({"webhook-id": ""}, "webhook-id"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_was_changed_on_its_way_is_refused_and_the_header_named(changed: dict[str, str], param: str) -> None:
    headers = signed_headers("msg_1", NOW, BODY, [NEW])

    with pytest.raises(Unauthenticated) as refused:
        check_signature(headers | changed, BODY, [NEW], NOW)

    assert refused.value.param == param


def test_a_changed_body_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        check_signature(signed_headers("msg_1", NOW, BODY, [NEW]), BODY + b" ", [NEW], NOW)


def test_secrets_are_32_random_bytes_in_the_alphabet_that_receivers_split_at_the_underscore() -> None:
    secrets = {new_secret() for _ in range(100)}

    assert len(secrets) == 100
    assert all(secret.count("_") == 1 and len(secret_key(secret)) == 32 for secret in secrets)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsec_!!!",
        base64.b64encode(b"x" * 32).decode(),
        f"whsec_{base64.b64encode(b'x' * 23).decode()}",
        "whsec_é",
        "\ud800",
    ],
    ids=ascii,
)
def test_what_is_no_secret_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a secret is whsec_ and base64 of 24 to 64 bytes$"):
        secret_key(text)


LINKS = ResultLinks([b"n" * 32, b"o" * 32], "https://inference.example.com/api")


def parts(url: str) -> tuple[str, str]:
    query = dict(part.split("=") for part in url.partition("?")[2].split("&"))
    return query["expires"], query["signature"]


def test_a_link_is_good_for_its_result_until_it_expires() -> None:
    url = LINKS.url("acme", "job_1", NOW + timedelta(seconds=10))
    expires, signature = parts(url)

    assert url.startswith(
        "https://inference.example.com/api/v1/results/job_1?tenant=acme&expires=1767323055&signature="
    )
    assert LINKS.check("acme", "job_1", expires, signature, NOW) is LinkState.GOOD
    assert LINKS.check("acme", "job_1", expires, signature, NOW + timedelta(seconds=11)) is LinkState.EXPIRED


def test_a_link_made_with_a_key_that_another_took_the_place_of_is_good() -> None:
    older = ResultLinks([b"o" * 32], "https://other.example.com")

    expires, signature = parts(older.url("acme", "job_1", NOW + timedelta(seconds=10)))

    assert LINKS.check("acme", "job_1", expires, signature, NOW) is LinkState.GOOD
    assert older.check("acme", "job_1", *parts(LINKS.url("acme", "job_1", NOW)), NOW) is LinkState.WRONG


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=12), st.text(max_size=50))
def test_no_other_link_is_good(tenant: str, job_id: str, expires: str, signature: str) -> None:
    right_expires, right_signature = parts(LINKS.url("acme", "job_1", NOW + timedelta(days=1)))

    assert LINKS.check(tenant, job_id, expires, signature, NOW) is LinkState.WRONG
    assert LINKS.check(tenant, "job_1", right_expires, right_signature, NOW) is LinkState.WRONG
    assert LINKS.check("acme", job_id, right_expires, right_signature, NOW) is LinkState.WRONG
    assert LINKS.check("acme", "job_1", expires, right_signature, NOW) is LinkState.WRONG
    assert LINKS.check("acme", "job_1", right_expires, signature, NOW) is LinkState.WRONG


def test_no_two_links_have_the_same_signature_though_their_parts_run_together() -> None:
    assert parts(LINKS.url("a", "bc", NOW)) != parts(LINKS.url("ab", "c", NOW))
