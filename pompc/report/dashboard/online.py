"""Save a workspace and a report in wandb."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pompc.errors import UserError

if TYPE_CHECKING:
    from pompc.report.dashboard.subject import Subject


@dataclass(frozen=True)
class Published:
    """Addresses of what was saved.

    Attributes:
        workspace: of the workspace.
        report: of the report.
    """

    workspace: str
    report: str


def publish(subject: Subject, *, entity: str | None, question: str) -> Published:
    """Save a new workspace and a new report.

    Args:
        subject: what to compare.
        entity: user or team; ``None`` is that of the login.
        question: what the report asks.

    Raises:
        UserError: wandb-workspaces is not installed, wandb refuses or cannot be reached, the login has no default entity,
            or the project does not exist.
    """
    if find_spec("wandb_workspaces") is None:
        raise UserError("with a login pompc dashboard needs wandb-workspaces: pip install 'pompc[dashboard]'")
    import wandb

    from pompc.report.dashboard.specs import make_report, make_workspace

    try:
        owner = entity or wandb.Api().default_entity
        if not owner:
            raise UserError("the wandb login has no default user or team: give --entity")
        workspace = make_workspace(subject, owner).save()
        report = make_report(subject, owner, question, workspace.url).save()
    except (wandb.Error, OSError, ValueError) as error:  # no connection, no permission, no such project
        raise UserError(
            f"wandb: {' '.join(str(error).split())}; check --entity, --project and `wandb login`, or write a page: "
            "WANDB_MODE=offline pompc dashboard"
        ) from error
    return Published(workspace.url, report.url)
