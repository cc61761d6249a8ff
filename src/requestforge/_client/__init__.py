"""The parts of HttpClient: its verbs, credentials and hooks, what goes out, and what is retried."""
