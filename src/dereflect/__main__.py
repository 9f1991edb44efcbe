"""`python -m dereflect` is the same as `dereflect`."""

from dereflect.cli import main

if __name__ == "__main__":
    main()
