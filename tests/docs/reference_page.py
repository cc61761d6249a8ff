"""The reference page of the pipelines as a reader meets it: its blocks run, its servers answer."""

from typing import Any

from reference_blocks import BLOCKS

from pytest_requestforge import FakeAuth
from pytest_requestforge.fake_auth import TokenEndpoint
from requestforge import PipelineTokenProvider, TokenFetchPipeline

AUTH = "https://auth.example.com"
API = "https://api.example.com"

# The blocks that each block takes its names from, in their order on the page. Where a name is
# given twice, the comments of the block say which one it means: an app_token without
# dependencies, for instance, is that of the first block.
NEEDS: dict[str, tuple[str, ...]] = {
    "pipeline": (),
    "execute": ("pipeline",),
    "invalidate_step": ("pipeline",),
    "invalidate_all": ("pipeline",),
    "get_step": ("pipeline",),
    "step_names": ("pipeline",),
    "provider": ("pipeline",),
    "provider_pipeline": ("pipeline", "provider"),
    "refresh_token": ("pipeline", "provider"),
    "two_steps": (),
    "three_steps": ("pipeline",),
    "selective": ("pipeline", "three_steps"),
    "django": ("pipeline", "provider"),
    "errors": ("pipeline",),
    "validation": ("pipeline",),
    "order": ("pipeline",),
    "ttl": ("pipeline", "three_steps"),
    "selective_refresh": ("pipeline", "provider", "three_steps"),
    "custom_fetcher": ("pipeline",),
}

# What stands in the place of each `...`, in order.
FILLINGS = {
    "provider": ["steps=[app_token, user_token], storage=InMemoryTokenStorage()"],
    "ttl": [
        f"name='{step}', base_url='{AUTH}', endpoint='{path}'"
        for step, path in {
            "device_token": "/v1/device/register",
            "app_token": "/v1/app/token",
            "user_token": "/v1/user/token",
        }.items()
    ],
}


class Page(dict[str, Any]):
    """The names that blocks of the page have made."""

    def run(self, *blocks: str) -> "Page":
        """Run the blocks in turn."""
        for block in blocks:
            exec(compile(_filled(block), f"<block {block}>", "exec"), self)  # noqa: S102
        return self

    def up_to(self, block: str) -> "Page":
        """Run all that the block takes its names from, and the block."""
        return self.run(*NEEDS[block], block)

    @property
    def pipeline(self) -> TokenFetchPipeline:
        """What the page calls so."""
        pipeline: TokenFetchPipeline = self["pipeline"]
        return pipeline

    @property
    def provider(self) -> PipelineTokenProvider:
        """What the page calls so."""
        provider: PipelineTokenProvider = self["provider"]
        return provider


def _filled(block: str) -> str:
    """The code of a block with each `...` of it filled in."""
    code = BLOCKS[block]
    fillings = FILLINGS.get(block, [])
    assert code.count("...") == len(fillings)
    for filling in fillings:
        code = code.replace("...", filling, 1)
    return code


class Endpoints:
    """What auth.example.com and api.example.com answer to one of the page's examples."""

    def __init__(self, auth: FakeAuth) -> None:
        self.auth = auth
        self.profile: dict[str, object] = {"name": "User"}
        self.user: TokenEndpoint

    def first(self, password: str = "pass") -> FakeAuth:
        """Serve the steps of the first block."""
        self.auth.token(
            "app_token",
            f"POST {AUTH}/v1/app/token",
            body={"client_id": "app-id", "client_secret": "app-secret"},
        )
        self.user = self.auth.token(
            "user_token",
            f"POST {AUTH}/v1/user/token",
            body={"username": "user", "password": password},
        )
        return self.auth

    def two_steps(self) -> FakeAuth:
        """Serve the example of two steps, the API included."""
        app = self.auth.token(
            "app_token",
            f"POST {AUTH}/v1/app/token",
            body={
                "grant_type": "client_credentials",
                "client_id": "app-id",
                "client_secret": "app-secret",
            },
            expires_in=7200,
        )
        self.user = self.auth.token(
            "user_token",
            f"POST {AUTH}/v1/user/token",
            body={"username": "user@example.com", "password": "password123"},
            requires={"X-App-Token": app},
        )
        self.auth.resource(f"GET {API}/user/profile", needs=self.user, json=self.profile)
        return self.auth

    def three_steps(self) -> FakeAuth:
        """Serve the example of three steps."""
        device = self.auth.token(
            "device_token",
            f"POST {AUTH}/v1/device/register",
            requires={"X-Device-ID": "device-123"},
            in_header="X-Device-Token",
        )
        app = self.auth.token(
            "app_token",
            f"POST {AUTH}/v1/app/token",
            body={"client_id": "app-id"},
            requires={"X-Device-Token": device},
        )
        self.user = self.auth.token(
            "user_token",
            f"POST {AUTH}/v1/user/token",
            body={"username": "user", "password": "pass"},
            requires={"X-App-Token": app},
        )
        return self.auth
