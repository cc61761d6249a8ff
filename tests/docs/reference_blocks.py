"""The code blocks of the reference page of the pipelines as they stand there, in its order."""

BLOCKS = {
    "pipeline": """\
from requestforge import TokenFetchPipeline
from requestforge.fetcher import BodyTokenFetcher
from requestforge.token_manager import InMemoryTokenStorage
from datetime import timedelta

# Step 1: App token
app_token = BodyTokenFetcher(
    name='app_token',
    base_url='https://auth.example.com',
    endpoint='/v1/app/token',
    method='POST',
    request_data={'client_id': 'app-id', 'client_secret': 'app-secret'},
    token_field='access_token',
    ttl=timedelta(hours=1)
)

# Step 2: User token (depends on app_token)
user_token = BodyTokenFetcher(
    name='user_token',
    base_url='https://auth.example.com',
    endpoint='/v1/user/token',
    method='POST',
    request_data={'username': 'user', 'password': 'pass'},
    token_field='access_token',
    ttl=timedelta(minutes=30),
    depends_on=['app_token']
)

# Create pipeline
pipeline = TokenFetchPipeline(
    steps=[app_token, user_token],
    storage=InMemoryTokenStorage(),
    cache_key_prefix='myapp'
)
""",
    "execute": """\
# Execute with cache
token = pipeline.execute()

# Force refresh all steps
token = pipeline.execute(force_refresh=True)
""",
    "invalidate_step": """\
# Invalidate app_token (also invalidates user_token if it depends on it)
pipeline.invalidate_step('app_token')
""",
    "invalidate_all": """\
pipeline.invalidate_all()
""",
    "get_step": """\
app_step = pipeline.get_step('app_token')
print(app_step.ttl)
""",
    "step_names": """\
print(pipeline.step_names)
# ['app_token', 'user_token']
""",
    "provider": """\
from requestforge import PipelineTokenProvider, TokenManager

pipeline = TokenFetchPipeline(...)

provider = PipelineTokenProvider(
    pipeline=pipeline,
    service_name='myapp',
    refresh_from_step='user_token'  # Only refresh user_token on refresh
)

token_manager = TokenManager(provider)
""",
    "provider_pipeline": """\
pipeline = provider.pipeline
pipeline.invalidate_step('app_token')
""",
    "refresh_token": """\
new_token = provider.refresh_token(current_token)
""",
    "two_steps": """\
from requestforge import (
    TokenFetchPipeline,
    PipelineTokenProvider,
    TokenManager,
    HttpClient,
    HttpClientConfigBuilder
)
from requestforge.fetcher import BodyTokenFetcher
from requestforge.token_manager import InMemoryTokenStorage
from datetime import timedelta

# Step 1: Application token
app_token_fetcher = BodyTokenFetcher(
    name='app_token',
    base_url='https://auth.example.com',
    endpoint='/v1/app/token',
    method='POST',
    request_data={
        'grant_type': 'client_credentials',
        'client_id': 'app-id',
        'client_secret': 'app-secret'
    },
    token_field='access_token',
    expires_in_field='expires_in',
    ttl=timedelta(hours=1)
)

# Step 2: User token (uses app token)
class UserTokenFetcher(BodyTokenFetcher):
    def _build_request_headers(self, context):
        headers = super()._build_request_headers(context)
        if context and 'app_token' in context:
            headers['X-App-Token'] = context['app_token'].access_token
        return headers

user_token_fetcher = UserTokenFetcher(
    name='user_token',
    base_url='https://auth.example.com',
    endpoint='/v1/user/token',
    method='POST',
    request_data={
        'username': 'user@example.com',
        'password': 'password123'
    },
    token_field='access_token',
    ttl=timedelta(minutes=30),
    depends_on=['app_token']
)

# Create pipeline
pipeline = TokenFetchPipeline(
    steps=[app_token_fetcher, user_token_fetcher],
    storage=InMemoryTokenStorage(),
    cache_key_prefix='myapp'
)

# Wrap in provider
provider = PipelineTokenProvider(
    pipeline=pipeline,
    service_name='myapp',
    refresh_from_step='user_token'  # Only refresh user token
)

# Use with TokenManager
token_manager = TokenManager(provider)

# Configure HTTP client
config = (
    HttpClientConfigBuilder()
    .with_base_url('https://api.example.com')
    .with_token_auth(token_manager=token_manager)
    .build()
)

client = HttpClient(config)

# Use client (pipeline executes automatically)
response = client.get('/user/profile')
""",
    "three_steps": """\
from requestforge.fetcher import BodyTokenFetcher, HeaderTokenFetcher
from datetime import timedelta

# Step 1: Device token (from header)
device_token = HeaderTokenFetcher(
    name='device_token',
    base_url='https://auth.example.com',
    endpoint='/v1/device/register',
    method='POST',
    request_headers={'X-Device-ID': 'device-123'},
    token_header='X-Device-Token',
    token_type='Device',
    ttl=timedelta(days=30)
)

# Step 2: App token (using device token)
class AppTokenFetcher(BodyTokenFetcher):
    def _build_request_headers(self, context):
        headers = super()._build_request_headers(context)
        if context and 'device_token' in context:
            headers['X-Device-Token'] = context['device_token'].access_token
        return headers

app_token = AppTokenFetcher(
    name='app_token',
    base_url='https://auth.example.com',
    endpoint='/v1/app/token',
    method='POST',
    request_data={'client_id': 'app-id'},
    token_field='access_token',
    ttl=timedelta(hours=1),
    depends_on=['device_token']
)

# Step 3: User token (using app token)
class UserTokenFetcher(BodyTokenFetcher):
    def _build_request_headers(self, context):
        headers = super()._build_request_headers(context)
        if context and 'app_token' in context:
            headers['X-App-Token'] = context['app_token'].access_token
        return headers

user_token = UserTokenFetcher(
    name='user_token',
    base_url='https://auth.example.com',
    endpoint='/v1/user/token',
    method='POST',
    request_data={'username': 'user', 'password': 'pass'},
    token_field='access_token',
    ttl=timedelta(minutes=15),
    depends_on=['app_token']
)

# Create pipeline with all three steps
pipeline = TokenFetchPipeline(
    steps=[device_token, app_token, user_token],
    storage=InMemoryTokenStorage(),
    cache_key_prefix='myapp'
)

# Use pipeline
token = pipeline.execute()
print(f"Final token: {token.access_token}")
""",
    "selective": """\
# Execute pipeline (all steps cached)
token = pipeline.execute()

# Later, invalidate just user token
pipeline.invalidate_step('user_token')

# Next execution reuses device_token and app_token from cache
# Only fetches new user_token
token = pipeline.execute()

# Invalidate app_token (cascades to user_token)
pipeline.invalidate_step('app_token')

# Next execution reuses device_token from cache
# Fetches new app_token and user_token
token = pipeline.execute()

# Force refresh everything
token = pipeline.execute(force_refresh=True)
""",
    "django": """\
from requestforge import DjangoCacheTokenStorage

pipeline = TokenFetchPipeline(
    steps=[app_token, user_token],
    storage=DjangoCacheTokenStorage(
        cache_alias='default',
        key_prefix='auth_pipeline'
    ),
    cache_key_prefix='myapp'
)

# Tokens now shared across Django instances
provider = PipelineTokenProvider(pipeline, 'myapp')
token_manager = TokenManager(provider)
""",
    "errors": """\
from requestforge import AuthenticationException

try:
    token = pipeline.execute()
except AuthenticationException as e:
    print(f"Auth failed at step: {e.service_name}")
    print(f"Error: {e.message}")

    # Invalidate failed step
    if e.service_name:
        pipeline.invalidate_step(e.service_name)
""",
    "validation": """\
# This will raise ValueError on initialization
try:
    pipeline = TokenFetchPipeline(
        steps=[
            user_token,  # Depends on 'app_token'
            app_token    # But app_token comes after!
        ],
        storage=InMemoryTokenStorage(),
        validate_dependencies=True  # Default
    )
except ValueError as e:
    print(f"Invalid dependencies: {e}")

# Correct order
pipeline = TokenFetchPipeline(
    steps=[
        app_token,   # No dependencies
        user_token   # Depends on app_token
    ],
    storage=InMemoryTokenStorage()
)
""",
    "order": """\
# Good ✅
pipeline = TokenFetchPipeline(
    steps=[step_a, step_b, step_c],  # a → b → c
    storage=storage
)
""",
    "ttl": """\
# Good ✅ - Longer TTL for stable tokens
device_token = HeaderTokenFetcher(..., ttl=timedelta(days=30))
app_token = BodyTokenFetcher(..., ttl=timedelta(hours=1))
user_token = BodyTokenFetcher(..., ttl=timedelta(minutes=15))
""",
    "selective_refresh": """\
# Good ✅ - Only refresh what's needed
provider = PipelineTokenProvider(
    pipeline=pipeline,
    service_name='myapp',
    refresh_from_step='user_token'  # Don't refresh device/app
)
""",
    "custom_fetcher": """\
# Good ✅ - Access dependencies from context
class CustomFetcher(BodyTokenFetcher):
    def _build_request_headers(self, context):
        headers = super()._build_request_headers(context)
        if context and 'previous_step' in context:
            headers['X-Token'] = context['previous_step'].access_token
        return headers
""",
}
