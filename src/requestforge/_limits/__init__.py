"""How much a client may ask for: its retries, its pace with each origin, its calls at once."""
