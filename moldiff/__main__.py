"""`python -m moldiff`: the same program as the `moldiff` command."""

from moldiff.cli.app import main

if __name__ == "__main__":
    main()
