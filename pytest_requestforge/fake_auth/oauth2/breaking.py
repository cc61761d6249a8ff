"""Access tokens that are broken on purpose."""

from dataclasses import dataclass
from datetime import timedelta

from pytest_requestforge.fake_auth.oauth2.authority import Authority
from pytest_requestforge.fake_auth.oauth2.records import ACCESS_TOKEN, Grant, Minted

_A_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaws:
    """What is wrong with a token.

    Attributes:
        expired: whether its life has ended.
        tampered: whether its signature does not fit.
        issuer: that it names; None: the right one.
        missing: claims that it lacks.
    """

    expired: bool
    tampered: bool
    issuer: str | None
    missing: tuple[str, ...]

    def token(
        self, authority: Authority, client_id: str, sub: str, scope: str, audience: str | None
    ) -> Minted:
        """A token that has them.

        Raises:
            ValueError: a missing claim is none that it would have.
        """
        now = authority.server.now()
        end = now - _A_SECOND if self.expired else now + authority.lifetime
        grant = Grant(
            client_id=client_id,
            sub=sub,
            scope=tuple(scope.split()),
            audience=() if audience is None else (audience,),
            is_user=sub != client_id,
        )
        claims = authority.access_claims(grant, end - authority.lifetime, end)
        if self.issuer is not None:
            claims["iss"] = self.issuer
        for name in self.missing:
            if name not in claims:
                raise ValueError(
                    f"missing= names the claim {name!r}, which the token would not have anyway; "
                    f"it has {', '.join(sorted(claims))}."
                )
            del claims[name]
        change = _tampered if self.tampered else str
        token = authority.mint(ACCESS_TOKEN, grant, claims, end, change=change)
        token.flaw = self._said(authority)
        return token

    def _said(self, authority: Authority) -> str:
        """What stands in the journal; an end of life, audience or scope is found by itself."""
        if self.tampered:
            return "was tampered with: its signature does not fit"
        if self.issuer is not None and self.issuer != authority.url():
            return f"names the issuer {self.issuer}, not {authority.url()}"
        # A token without a scope may be whole.
        lacking = [name for name in self.missing if name != "scope"]
        return f"lacks the claim {' and '.join(lacking)}" if lacking else ""


def _tampered(text: str) -> str:
    """The same with another character where every bit of it counts."""
    place = -10
    return text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
