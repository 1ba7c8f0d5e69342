"""`python -m graftwork.imaging`: the same as `graftwork-imaging`."""

from graftwork.imaging.cli import main

if __name__ == "__main__":
    main()
