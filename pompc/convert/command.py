"""The arguments of ``pompc export``. Building its parser imports no torch."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from pompc.errors import UserError
from pompc.system.graphics import prepare_graphics

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pompc export`` to its parser."""
    parser.description = (
        "Write the decisions of a trained agent as ONNX files, which run without pompc and torch: policy.onnx, the bare "
        "policy, and planner.onnx, the encoder and one whole plan. Every file is compared with the agent in onnxruntime, "
        "and one that differs is not kept."
    )
    parser.add_argument("path", metavar="RUN_DIR_OR_CHECKPOINT", type=Path, help="a run directory, or a .pt file")
    parser.add_argument("--onnx", action="store_true", required=True, help="write ONNX, the only format there is")
    parser.add_argument("--out", metavar="DIR", type=Path, help="default: the folder onnx in the run directory")
    parser.add_argument("--best", action="store_true", help="take the checkpoint that evaluations selected")
    parser.add_argument("--batch", metavar="N", type=_count, default=1, help="observations at a time; default: 1")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Do ``pompc export``: write ONNX files, and compare them with the agent."""
    if not args.path.exists():
        raise UserError(f"there is no {args.path}: give a run directory or a checkpoint file")
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UserError(f"--onnx needs {', '.join(missing)}: pip install 'pompc[onnx]'")
    prepare_graphics()
    from pompc.convert.onnx_files import export_onnx

    return export_onnx(args.path, args.out, batch=args.batch, best=args.best)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
