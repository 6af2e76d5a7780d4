"""URLs that events may be sent to: their rules, and their one form."""
# ruff: noqa: RUF001  # letters that look like others are what this is about

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import RequestError
from schemas.webhook_targets import origin_of
from schemas.webhook_urls import MAX_CHARACTERS, parse_webhook_url


def refused(url: str, *, allow_private: bool = False) -> str:
    """The rule that it breaks, which is worded behind the name of the field."""
    with pytest.raises(RequestError) as error:
        parse_webhook_url(url, "webhook", allow_private=allow_private)
    assert error.value.param == "webhook"
    assert error.value.message.startswith("webhook ")
    return error.value.message.removeprefix("webhook ")


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM:443/Hook?A=b", "https://example.com/Hook?A=b"),
        ("https://example.com:8443", "https://example.com:8443/"),
        ("https://example.com:", "https://example.com/"),
        ("https://example.com:00443/", "https://example.com/"),
        ("https://example.com?q", "https://example.com/?q"),
        ("https://example.com/a%20b/%zz", "https://example.com/a%20b/%zz"),
        ("https://example.com/é/[x]?y=ü", "https://example.com/%C3%A9/%5Bx%5D?y=%C3%BC"),
        ("https://example.com/{id}|'\"<>`^", "https://example.com/%7Bid%7D%7C'%22%3C%3E%60%5E"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://BÜCHER.example/", "https://xn--bcher-kva.example/"),
        ("https://例え。example/", "https://xn--r8jz45g.example/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://a_b.example.com/", "https://a_b.example.com/"),
        ("https://1.1.1.1/", "https://1.1.1.1/"),
        ("https://[2606:4700:0:0::1111]:8443/x", "https://[2606:4700::1111]:8443/x"),
        ("https://example.com/@user:x@y", "https://example.com/@user:x@y"),
        ("https://localhost.example.com/", "https://localhost.example.com/"),
    ],
)
def test_a_url_has_one_form(url: str, normal: str) -> None:
    assert parse_webhook_url(url, "webhook").text == normal
    assert parse_webhook_url(normal, "webhook").text == normal


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("", "must be an absolute https URL"),
        ("example.com/hook", "must be an absolute https URL"),
        ("//example.com", "must be an absolute https URL"),
        ("ftp://example.com", "must be an absolute https URL"),
        ("file:///etc/passwd", "must be an absolute https URL"),
        ("httpſ://example.com", "must be an absolute https URL"),
        ("https:example.com", "must be an absolute https URL"),
        ("https:/example.com", "must be an absolute https URL"),
        ("http://example.com", "must be https"),
        ("https://", "must name a host"),
        ("https://:443/", "must name a host"),
        ("https:///path", "must name a host"),
        ("https://user@example.com", "must hold no user name"),
        ("https://example.com@127.0.0.1/", "must hold no user name"),
        ("https://u:p@example.com", "must hold no user name"),
        ("https://example.com/#part", "must have no fragment"),
        ("https://example.com#@evil.example", "must have no fragment"),
        ("https://example.com/a b", "must hold no spaces"),
        (" https://example.com", "must hold no spaces"),
        ("https://example.com/\n", "must hold no spaces"),
        ("https://exa\tmple.com/", "must hold no spaces"),
        ("https://example.com\\@127.0.0.1/", "must hold no spaces"),
        ("https://example.com/\x00", "must hold no spaces"),
        ("https://example.com/\u202e", "must hold no spaces"),
        ("https://example.com/\ud800", "must hold no spaces"),
        ("https://example.com:0/", "has port 0, which is none"),
        ("https://example.com:65536/", "has port 65536, which is none"),
        ("https://example.com:25/", "has port 25, which is no web server's"),
        ("https://example.com:22/", "has port 22"),
        ("https://example.com:6667/", "has port 6667"),
        ("https://example.com:123456/", "has no valid host and port"),
        ("https://example.com:-1/", "has no valid host and port"),
        ("https://example.com:٤٤٣/", "has no valid host and port"),
        ("https://example.com:80:443/", "has no valid host and port"),
        ("https://example.com./", "has a host that is no valid name"),
        ("https://.example.com/", "has a host that is no valid name"),
        ("https://example..com/", "has a host that is no valid name"),
        ("https://-a.example/", "has a host that is no valid name"),
        ("https://exam%70le.com/", "has a host that is no valid name"),
        ("https://exa$mple.com/", "has a host that is no valid name"),
        (f"https://{'a' * 64}.example/", "has a host that is no valid name"),
        (f"https://{'a.' * 130}example/", "has a host that is no valid name"),
        ("https://例え。example。/", "has a host that is no valid name"),
        ("https://☃☃.example/", "has a host that is no valid international name"),
        (f"https://{'é' * 300}.example/", "has a host of 308 characters"),
        ("https://2130706433/", "must write an IPv4 address as four decimal numbers"),
        ("https://0x7f000001/", "must write an IPv4 address as four decimal numbers"),
        ("https://0177.0.0.1/", "must write an IPv4 address as four decimal numbers"),
        ("https://127.1/", "must write an IPv4 address as four decimal numbers"),
        ("https://0x7f.1/", "must write an IPv4 address as four decimal numbers"),
        ("https://example.0x1/", "must write an IPv4 address as four decimal numbers"),
        ("https://256.1.1.1/", "must write an IPv4 address as four decimal numbers"),
        ("https://127.0.0.1./", "has a host that is no valid name"),
        ("https://127.0.0.1/", "must not name a private or reserved address"),
        ("https://１２７.0.0.1/", "must not name a private or reserved address"),
        ("https://169.254.169.254/latest", "must not name a private or reserved address"),
        ("https://[::1]/", "must not name a private or reserved address"),
        ("https://[::ffff:127.0.0.1]/", "must not name a private or reserved address"),
        ("https://[64:ff9b::7f00:1]/", "must not name a private or reserved address"),
        ("https://[fe80::1%25eth0]/", "must have no zone"),
        ("https://[fe80::1%eth0]/", "must have no zone"),
        ("https://[1.1.1.1]/", "has a host in brackets that is no IPv6 address"),
        ("https://[::1/", "has no valid host and port"),
        ("https://[::1]x/", "has no valid host and port"),
        ("https://::1/", "has no valid host and port"),
        ("https://localhost/", "must name a public host"),
        ("https://LOCALHOST:8443/", "must name a public host"),
        ("https://ｌｏｃａｌｈｏｓｔ/", "must name a public host"),
        ("https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", "must name a public host"),
        ("https://loc\u00adalhost.x/", "must hold no spaces"),
        ("https://a.localhost/", "must name a public host"),
        ("https://printer.local/", "must name a public host"),
        ("https://metadata.google.internal/", "must name a public host"),
        ("https://router.home.arpa/", "must name a public host"),
        ("https://intranet/", "must name a public host"),
        ("https://example.com/" + "a" * MAX_CHARACTERS, f"has {MAX_CHARACTERS + 20} characters"),
        ("https://example.com/" + "é" * 1000, "has 6020 characters once it is escaped"),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_what_breaks_a_rule_is_refused_with_the_field_and_the_rule(url: str, rule: str) -> None:
    assert refused(url).startswith(rule)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080/hook",
        "https://127.0.0.1:8443/",
        "http://[::1]:8080/",
        "http://receiver:8080/",
        "http://10.0.0.1/",
        "https://example.com/",
    ],
)
def test_the_switch_for_development_allows_http_and_hosts_of_one_s_own(url: str) -> None:
    assert parse_webhook_url(url, "webhook", allow_private=True).text == url


@pytest.mark.parametrize(
    "url",
    [
        "https://user@localhost/",
        "http://2130706433/",
        "http://localhost:0/",
        "http://localhost:25/",
        "http://localhost./",
    ],
)
def test_the_switch_allows_nothing_else(url: str) -> None:
    assert refused(url, allow_private=True)


def test_parts_of_a_url_are_those_of_its_normal_form() -> None:
    url = parse_webhook_url("https://[2606:4700::1111]:8443/x?y", "url")

    assert (url.scheme, url.host, url.port, str(url.address)) == ("https", "2606:4700::1111", 8443, "2606:4700::1111")
    assert url.origin == "https://[2606:4700::1111]:8443" == origin_of(url.text)


@given(st.one_of(st.text(max_size=60), st.text("/:@?#[]%.\\ 0x17aé。-ſ", max_size=40)), st.booleans())
def test_any_text_is_refused_or_has_a_form_that_means_the_same(text: str, allow_private: bool) -> None:
    for url in (text, f"https://{text}", f"https://example.com{text}"):
        try:
            parsed = parse_webhook_url(url, "webhook", allow_private=allow_private)
        except RequestError:
            continue
        assert parsed.text.isascii()
        assert parse_webhook_url(parsed.text, "webhook", allow_private=allow_private) == parsed
        assert origin_of(parsed.text) == parsed.origin
