"""HttpClientConfig, what a client is made of, and the builder that puts one together."""

from requestforge.config.builder import HttpClientConfigBuilder
from requestforge.config.client_config import HttpClientConfig
from requestforge.tokens import TokenData

__all__ = ["HttpClientConfig", "HttpClientConfigBuilder", "TokenData"]
