"""`python -m rubout` is the command line."""

from rubout.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
