"""Masking: which names are secret, and that no secret survives in what the library shows."""

import json
import re
import shlex
import string
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from requestforge._redaction import (
    clean_text,
    mask_body,
    mask_form,
    mask_json,
    mask_url,
    scrub,
)
from requestforge.exceptions import HttpClientException
from requestforge.models import FetchContext, HttpRequest, HttpResponse, RequestContext
from requestforge.tokens import TokenData

CANARY = "canary-5ca1ab1e"

SENSITIVE = [
    "access_token",
    "X-App-Token",
    "client_secret",
    "clientSecret",
    "PASSWORD",
    "user[password]",
    "passwd",
    "Proxy-Authorization",
    "Set-Cookie",
    "x-api-key",
    "API_KEY",
    "credentials",
    "X-Amz-Signature",
    "client_assertion",
    "private_key",
    "privateKey",
    "code",
    "pin",
    "o-t-p",
    "key",
    "jwt",
    "session",
    "Session_ID",
    b"token",
]
HARMLESS = [
    "token_type",
    "Token-Type",
    "subject_token_type",
    "status_code",
    "keyboard",
    "pinned",
    "country_code",
    "jwt_alg",
    "user",
    "Content-Type",
]


LONG_TEXTS = [
    *"\\\"'{}[]() \t\n=&%:,;/@?#-.+<>a1é",
    *('\\"', "\\'", "a.", "a-", "a:", "a=", "a:@", "%25", "%3D", "a=b&", "a=b;", "a=b%3Dc%253Dd&"),
    *(
        '"a":',
        '{"a":',
        '"token":',
        '"token":"',
        '"token":\'',
        '"token":"x" ',
        '\\"token\\":',
        '"a"\\',
    ),
    *('"token": \\', "token=", "token={", "token='", 'token=b"', "token=\\", "token=***"),
    *("a-b:", "cookie: ", "authorization:", "bearer ", "bearer\t", "//", "http://", "http://a@"),
    *("u=http%3A%2F%2F", '"token": "***"', '"password" :'),
]
"""What a text may be made of for no good."""


def masked(value: object) -> object:
    """What is left of a value in the context of an error."""
    return HttpClientException("It failed.", context={"value": value}).context["value"]


def in_text(text: str) -> str:
    """What is left of a text in the message of an error."""
    return HttpClientException(text).message


def in_url(url: str) -> str:
    """What is left of a URL in the representation of a request."""
    shown = re.search(r"url='([^']*)'", repr(HttpRequest("GET", url)))
    assert shown is not None
    return shown[1]


class TestNames:
    @pytest.mark.parametrize("name", SENSITIVE)
    def test_sensitive(self, name: str | bytes) -> None:
        """Case, '-' and '_' do not matter to whether a name is sensitive."""
        assert masked({name: CANARY}) == {name: "***"}

    @pytest.mark.parametrize("name", HARMLESS)
    def test_harmless(self, name: str) -> None:
        """Other names keep their values; token_type is no token."""
        assert masked({name: "shown"}) == {name: "shown"}

    def test_further_names(self) -> None:
        """Further names add to the built-in ones, whatever their case and hyphens."""
        extra = frozenset({"X-Tenant"})
        assert mask_json({"x_tenant": 1, "token": 2, "tenant": 3}, extra) == {
            "x_tenant": "***",
            "token": "***",
            "tenant": 3,
        }
        assert mask_url("/x?xtenant=1&a=2", extra) == "/x?xtenant=***&a=2"


class TestValues:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ([{"a": [{"secret": CANARY}]}], [{"a": [{"secret": "***"}]}]),
            ([("password", CANARY), ("a", "b")], [("password", "***"), ("a", "b")]),
            (("a", "b", "c"), ("a", "b", "c")),
            ({f"?token={CANARY}"}, {"?token=***"}),
            (frozenset({1}), {1}),
            (f"token={CANARY}".encode(), "token=***"),
            (b"plain", b"plain"),
            (3, 3),
            (None, None),
        ],
        ids=["nested", "pairs", "tuple", "set", "frozenset", "bytes", "plain", "number", "none"],
    )
    def test_containers(self, value: object, expected: object) -> None:
        """Containers are copied with their secrets masked, other values stay."""
        assert masked(value) == expected

    def test_sensitive_key_hides_all(self) -> None:
        """Everything below a sensitive key is masked, whatever it is."""
        assert masked({"credentials": {"user": CANARY}, "pin": 1234}) == {
            "credentials": "***",
            "pin": "***",
        }

    def test_circle(self) -> None:
        """A value that holds itself is cut off, as is one nested too deeply."""
        value: list[object] = ["a"]
        value.append(value)
        assert "***" in repr(masked(value))

    def test_token(self) -> None:
        """A token shows its fingerprint only."""
        token = TokenData(CANARY)
        assert masked({"current": token}) == {"current": repr(token)}

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (f"a=1&password={CANARY}", "a=1&password=***"),
            (f"a=1&client%5Fsecret={CANARY}".encode(), "a=1&client%5Fsecret=***"),
            ({"pin": 1, "a": 2}, {"pin": "***", "a": 2}),
        ],
        ids=["text", "bytes", "mapping"],
    )
    def test_form(self, data: object, expected: object) -> None:
        """A form is masked by its fields, encoded or not."""
        assert mask_form(data) == expected


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            (f"https://user:{CANARY}@api.test/x", "https://api.test/x"),
            (f"https://{CANARY}@api.test", "https://api.test"),
            (f"https://user:p/{CANARY}@api.test/x", "https://api.test/x"),
            (f"//user:{CANARY}@api.test/x", "//api.test/x"),
            (f"https:user:{CANARY}@api.test", "https:api.test"),
            (f"redis://:{CANARY}@cache.test:6379/0", "redis://cache.test:6379/0"),
            ("https://api.test:8080/a@b", "https://api.test:8080/a@b"),
            ("https://[::1]:8080/?a=b@c", "https://[::1]:8080/?a=b@c"),
            ("https://api.test:/x", "https://api.test:/x"),
            (f"/x?token={CANARY}&a=1", "/x?token=***&a=1"),
            (f"/x?a=1;token={CANARY};b", "/x?a=1;token=***"),
            (f"/x?access%5Ftoken={CANARY}", "/x?access%5Ftoken=***"),
            (f"/x#access_token={CANARY}&a=1", "/x#access_token=***&a=1"),
            (f"/x?a=1#/cb?code={CANARY}", "/x?a=1#/cb?code=***"),
            (f"/x;session={CANARY}/y", "/x;session=***/y"),
            ("/token/x=1?a", "/token/x=1?a"),
            (
                f"/x?to={quote(f'https://a.test/cb?code={CANARY}')}",
                "/x?to=https://a.test/cb%3Fcode%3D***",
            ),
            ("/x?at=12%3A30", "/x?at=12%3A30"),
            ("/x?to=https%3A%2F%2Fa.test%2F%3Fb%3Dc", "/x?to=https%3A%2F%2Fa.test%2F%3Fb%3Dc"),
            ("", ""),
        ],
    )
    def test_parts(self, url: str, expected: str) -> None:
        """A URL loses userinfo and secret values, and nothing else."""
        assert in_url(url) == expected

    def test_deeply_nested(self) -> None:
        """A URL in a URL in a URL is masked; one nested too deeply stays encoded."""
        url = f"/x?token={CANARY}"
        for _ in range(2):
            url = f"/x?to={quote_plus(url)}"
        assert CANARY not in in_url(url)


class TestTexts:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (f"at https://u:{CANARY}@a.test/x", "at https://a.test/x"),
            (f"proxy u:{CANARY}@a.test:80", "proxy ***@a.test:80"),
            (f"Bearer {CANARY}, Basic {CANARY}", "Bearer ***, Basic ***"),
            (f"X-App-Token: {CANARY} x\nAccept: y", "X-App-Token: ***\nAccept: y"),
            (f"authorization: {CANARY}", "authorization: ***"),
            (f"token={CANARY} a=b", "token=*** a=b"),
            (f'password = "{CANARY} \\" x", a', "password = ***, a"),
            (f"secret == '{CANARY}", "secret == ***"),
            (f"key=b'{CANARY}' x", "key=*** x"),
            (f"tokens=[('a', '{CANARY}')]", "tokens=***"),
            (f"{{'token': '{CANARY}', 'a': 1}}", "{'token': ***, 'a': 1}"),
            (f'{{"token": "{CANARY}', '{"token": ***'),
            (f'"pin": 1234, "code": {{"a": "{CANARY}"}}', '"pin": ***, "code": ***'),
            (f'said "{{\\"token\\": \\"{CANARY}\\"}}" here', 'said "{\\"token\\": *** here'),
        ],
    )
    def test_found(self, text: str, expected: str) -> None:
        """Credentials that can be told in a text are masked."""
        assert in_text(text) == expected

    @pytest.mark.parametrize(
        "text",
        [
            "Step 'app_token': 'access_token' is missing from the answer.",
            "Step 'app_token': the token endpoint answered with status 401 (invalid_client).",
            'WWW-Authenticate: Bearer realm="x", error="invalid_token"',
            "https://a.test/x?a=b failed at 12:30:45, status_code=404",
            "Field 'access_token' of the token answer is null, not a string.",
            "",
        ],
    )
    def test_prose_stays(self, text: str) -> None:
        """Text without a credential stays as it is."""
        assert in_text(text) == text

    @pytest.mark.parametrize("start", ["", '"token":\''])
    @pytest.mark.parametrize("part", LONG_TEXTS)
    def test_long_texts(self, start: str, part: str) -> None:
        """No text, or body, makes the search take longer than its length allows."""
        text = start + part * (100_000 // len(part))
        before = time.process_time()
        shown = in_text(text), mask_body(text), mask_url(text)
        assert time.process_time() - before < 6
        assert all(shown)

    def test_a_long_name_is_sensitive_too(self) -> None:
        """However long a name is, what is in it counts."""
        assert masked({"x" * 300 + "_token": CANARY, "x" * 300: 1}) == {
            "x" * 300 + "_token": "***",
            "x" * 300: 1,
        }

    @settings(deadline=None, max_examples=50)
    @given(st.text())
    def test_twice(self, text: str) -> None:
        """What was masked once is not changed when it is masked again."""
        assert in_text(in_text(text)) == in_text(text)


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (f'{{"a": {{"token": "{CANARY}"}}, "b": [1]}}', '{"a": {"token": "***"}, "b": [1]}'),
            (f'{{"token": "{CANARY}", "token_type": 1', '{"token": ***, "token_type": 1'),
            (f'{{"a": {{"key": "{CANARY}"}}, "a": 1}}', '{"a": {"key": ***}, "a": 1}'),
            (f"grant=x&client_secret={CANARY}'x", "grant=x&client_secret=***"),
            (f"<a b='c'>token={CANARY}</a>", "<a b='c'>token=***</a>"),
            ('{ "a" :1}', '{ "a" :1}'),
            ("[" * 100_000, "[" * 100_000),
        ],
        ids=["json", "cut", "twice", "form", "text", "harmless", "deep"],
    )
    def test_masked(self, body: str, expected: str) -> None:
        """A body loses the values of its sensitive keys, whatever its form."""
        command = HttpRequest("POST", "/x", data=body).to_curl(mask_secrets=True)
        words = shlex.split(command)
        assert words[words.index("--data") + 1] == expected


class TestServerTexts:
    def test_printable(self) -> None:
        """What is not printable becomes a blank."""
        assert clean_text("a\x00b\nc\u202ed\x1b[0m é") == "a b c d [0m é"

    def test_length(self) -> None:
        """A text is cut to 200 characters, or to the limit given."""
        assert clean_text("x" * 300) == "x" * 200
        assert clean_text("x" * 300, limit=10) == "x" * 10

    @pytest.mark.parametrize(
        "echo",
        [
            "s3 cr/ét",
            quote("s3 cr/ét"),
            quote("s3 cr/ét", safe="").lower(),
            quote_plus("s3 cr/ét"),
            json.dumps("s3 cr/ét"),
            "s3\x00cr/ét",
        ],
        ids=["plain", "quoted", "lower", "form", "json", "apart"],
    )
    def test_echo(self, echo: str) -> None:
        """A credential that a server sends back is masked, in any of its encodings."""
        cleaned = clean_text(f"no such client: {echo}", secrets=["s3 cr/ét", ""])
        assert cleaned.replace('"', "") == "no such client: ***"

    def test_echo_at_the_end(self) -> None:
        """A credential is masked before the text is cut, so that no part of it stays."""
        assert clean_text("x" * 195 + CANARY, secrets=[CANARY]) == "x" * 195 + "***"

    def test_longest_first(self) -> None:
        """Of two secrets, one within the other, the longer one is masked as a whole."""
        assert scrub("abcdef", ["abc", "abcdef"]) == "***"
        assert scrub("abc", []) == "abc"

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("object has no attribute 'a'", "object has no attribute '***'"),
            ("key=a, a", "key=***, ***"),
            ("A&B a-b %2Fa/%2F", "***&B ***-b %2Fa/%2F"),
            ("x=%2F.", "x=%2F."),
        ],
    )
    def test_short_secrets_stand_alone(self, text: str, expected: str) -> None:
        """A secret of a letter or two is no secret within a word."""
        assert scrub(text, ["a"]) == expected

    def test_short_secrets_without_letters(self) -> None:
        """One that ends in no letter has no word to be a part of."""
        assert scrub("x/+y /+", ["/+"]) == "x***y ***"
        assert scrub("x%2F%2B y", ["/+"]) == "x*** y"


class TestFingerprints:
    def test_equal(self) -> None:
        """Equal tokens have equal fingerprints, eight hex digits each."""
        first, same, other = (repr(TokenData(value)) for value in ("a", "a", "b"))
        assert first == same != other
        assert re.search(r"access_token='\*{3}[0-9a-f]{8}'", first)


WORDS = st.text(string.ascii_letters + string.digits, max_size=8)
NAMES = st.sampled_from([name for name in SENSITIVE if isinstance(name, str)])
HIDDEN = st.dictionaries(NAMES, st.just(CANARY), min_size=1)
NESTED = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), WORDS, HIDDEN),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(WORDS | NAMES, inner, max_size=3),
    ),
    max_leaves=12,
)
FIELDS = NESTED | st.lists(st.tuples(NAMES, st.just(CANARY)) | st.tuples(WORDS, WORDS))


class TestCanaries:
    @settings(deadline=None, max_examples=200)
    @given(FIELDS)
    def test_values(self, value: object) -> None:
        """However deep it stands, a value under a sensitive name is shown nowhere."""
        request = HttpRequest("POST", "/x", params=value, data=value, json_data=value)
        context = RequestContext(request, metadata={"a": value})
        shown = [repr(request), repr(context), repr(FetchContext(metadata={"a": value}))]
        assert not any(CANARY in one for one in (*shown, repr(masked(value))))

    @settings(deadline=None, max_examples=200)
    @given(NESTED, WORDS)
    def test_reprs(self, value: object, word: str) -> None:
        """A foreign error that tells a value in its text does not show what is secret in it."""
        assert CANARY not in in_text(f"refused {value!r} {word}")

    @settings(deadline=None, max_examples=200)
    @given(NESTED, st.integers(0, 400))
    def test_bodies(self, value: object, cut: int) -> None:
        """A body as JSON, whole or cut off, does not show the value of a sensitive name."""
        body = json.dumps(value)
        for text in (body, body[: -cut or None]):
            request = HttpRequest("POST", "/x", data=text.encode())
            assert CANARY not in repr(request) + request.to_curl(mask_secrets=True)

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.tuples(WORDS | NAMES, WORDS), max_size=4), NAMES, WORDS)
    def test_urls(self, pairs: list[tuple[str, str]], name: str, host: str) -> None:
        """A secret in userinfo or query is shown neither by values nor by errors."""
        query = "&".join(f"{quote(key)}={quote(value)}" for key, value in pairs)
        url = f"https://{host}:{CANARY}@a.test/x?{query}&{quote(name)}={CANARY}#{name}={CANARY}"
        request = HttpRequest("GET", url)
        response = HttpResponse(500, {"Location": url}, b"", 1.0, url, request)
        with pytest.raises(HttpClientException) as caught:
            response.raise_for_status()
        shown = [repr(request), repr(response), repr(response.headers), str(caught.value)]
        assert not any(CANARY in one for one in (*shown, in_text(f"at {url} it failed")))
