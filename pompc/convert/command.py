"""The arguments of ``pompc export``. Building its parser imports no torch."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from pompc.config.arguments import add_checkpoint, require_checkpoint, whole_number
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
    add_checkpoint(parser)
    parser.add_argument("--onnx", action="store_true", required=True, help="write ONNX, the only format there is")
    parser.add_argument("--out", metavar="DIR", type=Path, help="default: the folder onnx in the run directory")
    parser.add_argument("--best", action="store_true", help="take the checkpoint that evaluations selected")
    parser.add_argument(
        "--batch", metavar="N", type=whole_number(1), default=1, help="observations at a time; default: 1"
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Do ``pompc export``: write ONNX files, and compare them with the agent."""
    require_checkpoint(args.path)
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UserError(f"--onnx needs {', '.join(missing)}: pip install 'pompc[onnx]'")
    prepare_graphics()
    from pompc.convert.onnx_files import export_onnx

    return export_onnx(args.path, args.out, batch=args.batch, best=args.best)
