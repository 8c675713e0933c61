"""Describe the workspace and the report that compare runs, in the objects of wandb-workspaces."""

# wandb-workspaces is an extra, and does not list what it exports.
# pyright: reportMissingImports=false, reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from pompc.report.dashboard.panels import LEARNING, sections
from pompc.report.dashboard.subject import Subject
from pompc.training.metric_names import STEP

COLUMNS = ("final/reward", "best/reward", "final/success", "final/env_step", "final/wall_s")
"""Entries of the summary that stand beside the runs."""
LONGEST_TITLE = 128
WIDTH = 24  # columns of a report
PANEL = (8, 6)


def make_workspace(subject: Subject, entity: str) -> ws.Workspace:
    """Describe a workspace: a section per aspect, runs by environment, algorithm and configuration."""
    return ws.Workspace(
        entity=entity,
        project=subject.project,
        name=subject.title,
        sections=[
            ws.Section(name=title, panels=panels, is_open=True, panel_settings=ws.SectionPanelSettings(x_axis=STEP))
            for title, panels in sections(subject.names).items()
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=_of_groups(subject.all_groups),
            groupby=[ws.Config("environment"), ws.Config("algorithm"), ws.Metric("Group")],
            pinned_columns=[f"summary:{name}" for name in COLUMNS],
        ),
    )


def make_report(subject: Subject, entity: str, question: str, workspace: str) -> wr.Report:
    """Describe a report: the question, and for every environment the curves, the runs and what differs between them.

    Args:
        subject: what to compare.
        entity: user or team.
        question: what the report asks.
        workspace: address of the workspace.
    """
    blocks: list[Any] = [
        wr.TableOfContents(),
        wr.H1("The question"),
        wr.P(question),
        wr.P(
            [
                "Runs are grouped by algorithm and configuration; seeds are the runs of a group. A curve is the mean of a "
                "group over environment steps, its band the range. More panels: ",
                wr.Link("the workspace", workspace),
            ]
        ),
    ]
    for env, groups in subject.groups.items():
        blocks += _environment(subject, entity, env, groups)
    return wr.Report(
        entity=entity,
        project=subject.project,
        title=subject.title[:LONGEST_TITLE],
        description=question,
        blocks=blocks,
        width="fluid",
    )


def _environment(subject: Subject, entity: str, env: str, groups: Sequence[str]) -> list[Any]:
    runs = wr.Runset(
        entity=entity,
        project=subject.project,
        name=env,
        filters=_of_groups(groups),
        groupby=["config.algorithm", "group"],
        pinned_columns=[f"summary:{name}" for name in COLUMNS],
    )
    blocks: list[Any] = [wr.H1(env)]
    for title, panels in sections(subject.names).items():
        differences = [wr.RunComparer(diff_only="split")] if title == LEARNING else []
        blocks += [wr.H2(title), wr.PanelGrid(runsets=[runs], panels=_laid_out([*panels, *differences]))]
    return blocks


def _laid_out(panels: Sequence[Any]) -> list[Any]:
    """Place panels in rows."""
    width, height = PANEL
    per_row = WIDTH // width
    for index, panel in enumerate(panels):
        panel.layout = wr.Layout(x=index % per_row * width, y=index // per_row * height, w=width, h=height)
    return list(panels)


def _of_groups(groups: Sequence[str]) -> str:
    """Write the filter for the runs of wandb groups."""
    return f"Metric('Group') in {list(groups)!r}"
