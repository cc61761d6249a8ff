"""`python -m pytest_requestforge`: the command `requestforge`, by the name of the toolkit."""

from requestforge.cli import main

if __name__ == "__main__":
    main()
