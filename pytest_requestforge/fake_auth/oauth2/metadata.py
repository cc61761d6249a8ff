"""What a provider says of itself (RFC 8414, OpenID Connect Discovery)."""

from typing import Any

from pytest_requestforge.fake_auth.oauth2.authentication import METHODS
from pytest_requestforge.fake_auth.oauth2.authority import Authority
from pytest_requestforge.fake_auth.oauth2.authorization import CHALLENGE_METHODS
from pytest_requestforge.fake_auth.oauth2.grants import GRANTS
from pytest_requestforge.fake_auth.oauth2.keys import ALGORITHMS


def metadata(authority: Authority) -> dict[str, Any]:
    """The metadata document, in which clients find everything else."""
    issuer = authority.url()
    proving = [method for method in METHODS if method != "none"]
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "jwks_uri": f"{issuer}/jwks",
        "introspection_endpoint": f"{issuer}/introspect",
        "revocation_endpoint": f"{issuer}/revoke",
        "device_authorization_endpoint": f"{issuer}/device_authorization",
        "scopes_supported": sorted({"openid"} if authority.scopes is None else authority.scopes),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(GRANTS),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [authority.keys.algorithm],
        "token_endpoint_auth_methods_supported": list(METHODS),
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "introspection_endpoint_auth_methods_supported": proving,
        "introspection_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "revocation_endpoint_auth_methods_supported": list(METHODS),
        "revocation_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "code_challenge_methods_supported": list(CHALLENGE_METHODS),
        "authorization_response_iss_parameter_supported": True,
    }
