"""Steps whose tokens say which tenant they are for, and pipelines of them."""

from collections.abc import Sequence
from datetime import timedelta

from doubles import CountingStep
from requestforge import StepValue, TokenData, TokenFetchPipeline
from requestforge.interfaces import TokenStorageInterface

USER = StepValue("username")
HOUR = timedelta(hours=1)


class UserStep(CountingStep):
    """A step whose n-th fetch for bob gives the token `<name>-bob-<n>`, n counting all tenants."""

    def __init__(
        self,
        name: str,
        depends_on: Sequence[str] = (),
        ttl: timedelta | None = HOUR,
        expires_in: float | None = None,
    ) -> None:
        super().__init__(name, depends_on, ttl, expires_in)
        self.users: list[str] = []

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        user = USER.filled()
        self.users.append(user)
        token = super().fetch(context)
        text = f"{self.name}-{user}-{token.access_token.rpartition('-')[2]}"
        return TokenData(text, expires_at=token.expires_at, issued_at=token.issued_at)


def chain(storage: TokenStorageInterface | None, **options: object) -> TokenFetchPipeline:
    """A pipeline of an app's and a user's step."""
    steps = [UserStep("app"), UserStep("user", ["app"])]
    return TokenFetchPipeline(steps, storage, "app", **options)  # type: ignore[arg-type]


def text(pipeline: TokenFetchPipeline) -> str:
    """The access token that the pipeline gives."""
    return pipeline.execute().access_token
