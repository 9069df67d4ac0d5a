"""The command line as ``python -m napari_apollo``, where the script is not on the path."""

from napari_apollo.cli import main

if __name__ == "__main__":
    main()
