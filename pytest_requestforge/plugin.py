"""The fixtures, options and hooks that pytest loads through the entry point."""
