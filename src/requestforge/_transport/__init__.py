"""HTTP itself: the one part of the library that imports `requests`, at the first request."""
