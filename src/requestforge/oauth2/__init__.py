"""The standard grants of OAuth 2.0 as steps of a pipeline, and how their clients authenticate."""

from requestforge._token_endpoint.client_auth import (
    ClientSecretBasic,
    ClientSecretPost,
    MutualTls,
    PrivateKeyJwt,
)
from requestforge.oauth2.assertions import JwtBearerFetcher, TokenExchangeFetcher
from requestforge.oauth2.credentials import (
    ClientCredentialsFetcher,
    PasswordFetcher,
    RefreshTokenFetcher,
)
from requestforge.oauth2.device import DeviceCodeFetcher

__all__ = [
    "ClientCredentialsFetcher",
    "ClientSecretBasic",
    "ClientSecretPost",
    "DeviceCodeFetcher",
    "JwtBearerFetcher",
    "MutualTls",
    "PasswordFetcher",
    "PrivateKeyJwt",
    "RefreshTokenFetcher",
    "TokenExchangeFetcher",
]
