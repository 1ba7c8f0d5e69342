"""`python -m graftwork.audio`: the same as `graftwork-audio`."""

from graftwork.audio.cli import main

if __name__ == "__main__":
    main()
