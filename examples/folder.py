"""Separate a folder of photos into another, with a manifest; run it again and only what is missing is done.

    python examples/folder.py photos/ out/

The same, over many machines: `dereflect batch` (docs/scale.md).
"""

import argparse

from dereflect.batch import BatchJob, run_batch


def main() -> None:
    parser = argparse.ArgumentParser(description="Separate a folder of photos.")
    parser.add_argument("source", help="a folder, or s3://, gs://, az://")
    parser.add_argument("destination")
    parser.add_argument("--model", default="default")
    options = parser.parse_args()

    summary = run_batch(
        BatchJob(options.source, options.destination, options.model),
        progress=lambda row, so_far: print(f"{so_far.done:6d}  {row['state']:8} {row['path']}"),
    )
    print(f"{summary.done} separated, {summary.kept} were there already")
    for path, reason in summary.errors:
        print(f"{path}: {reason}")


if __name__ == "__main__":
    main()
