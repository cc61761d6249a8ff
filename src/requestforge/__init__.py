"""Multi-step token authentication for HTTP clients.

PYTEST_DONT_REWRITE: nothing here asserts, so pytest need not rewrite it.
"""
from requestforge.exceptions import AuthenticationException
from requestforge.pipelines import PipelineTokenProvider, TokenFetchPipeline
from requestforge.tokens import TokenData
