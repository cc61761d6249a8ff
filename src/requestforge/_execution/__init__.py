"""How a pipeline is executed: its plan, one run over it, flights, and the storage as seen here."""
