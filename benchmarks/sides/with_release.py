"""The work by release 1.0.0 of requestforge, which has hooks, and no breaker that refuses."""

from collections.abc import Callable
from datetime import datetime, timedelta

from requestforge import (
    CorrelationIdHook,
    HttpClient,
    HttpClientConfigBuilder,
    RateLimitResponseHook,
    TokenData,
    TokenManager,
)
from requestforge.interfaces import TokenProviderInterface

DOCUMENT = {"name": "A name", "tags": ["one", "two"], "amount": 12.5}


class Provider(TokenProviderInterface):
    """A token for a day."""

    service_name = "service"

    def fetch_token(self) -> TokenData:
        """The token."""
        end = datetime.now() + timedelta(days=1)  # noqa: DTZ005 - it knows local time alone
        return TokenData("token", expires_at=end)

    def refresh_token(self, current_token: TokenData) -> TokenData:  # noqa: ARG002
        """The same."""
        return self.fetch_token()


def client(url: str) -> HttpClient:
    """A client with a token, retries and hooks."""
    return HttpClient(
        HttpClientConfigBuilder()
        .with_base_url(url)
        .with_token_auth(token_manager=TokenManager(Provider()))
        .with_retry()
        .with_request_hook(CorrelationIdHook())
        .with_response_hook(RateLimitResponseHook())
        .build()
    )


def get(url: str) -> Callable[[], bool]:
    """A GET."""
    made = client(url)
    return lambda: made.get("/items/1").status_code == 200


def post(url: str) -> Callable[[], bool]:
    """A POST of a JSON document."""
    made = client(url)
    return lambda: made.post("/items", json_data=DOCUMENT).status_code == 200
