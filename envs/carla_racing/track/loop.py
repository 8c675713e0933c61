"""The order of a circuit's roads: by their links, or without links by the places at which roads meet."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import numpy as np

from pompc.errors import UserError

from .plan_view import Piece
from .xodr import Reader

if TYPE_CHECKING:
    from .opendrive import Road


def link(reader: Reader, road: ET.Element, tag: str, contact: str) -> str | None:
    """Read the id of the road that a link names; ``None`` without such a link.

    Args:
        reader: for the errors.
        road: the <road>.
        tag: ``predecessor`` or ``successor``.
        contact: the end of the other road at which it must meet this one.

    Raises:
        UserError: it leads to a junction, or to the other end of a road.
    """
    target = road.find(f"link/{tag}")
    if target is None:
        return None
    if target.get("elementType", "road") != "road" or target.get("contactPoint", contact) != contact:
        raise reader.error(
            f"<{tag}> must have elementType='road' and contactPoint='{contact}': "
            "only circuits driven from each road's start to its end are read"
        )
    return target.get("elementId")


def misfit(before: Piece, after: Piece) -> tuple[float, float]:
    """Gap [m] and kink [rad] between the end of a piece and the start of another."""
    x, y, heading, _ = before.at(before.end)
    gap = float(np.hypot(x - after.x, y - after.y))
    return gap, abs(float(np.angle(np.exp(1j * (heading - after.heading)))))


def require_joint(before: Piece, after: Piece, where: str, tolerance: float) -> None:
    """Make sure that two pieces meet within the ``tolerance`` [m and rad].

    Raises:
        UserError: they do not.
    """
    gap, kink = misfit(before, after)
    if not (gap <= tolerance and kink <= tolerance):  # nan does not meet either
        raise UserError(
            f"{where}: open loop: the end misses the next start by {gap:.3f} m and {kink:.3f} rad, more than "
            f"env.joint_tolerance={tolerance:g}"
        )


def close(roads: list[Road], where: str, tolerance: float) -> list[Road]:
    """Sort ``roads`` in driving order from the first.

    Raises:
        UserError: they are not one closed loop whose ends meet.
    """
    by_name = {road.name: road for road in roads}
    if len(by_name) < len(roads):
        names = [road.name for road in roads]
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{where}: two roads have the id {twice}")
    following = _followers(roads, where, tolerance)
    order = [roads[0]]
    while (name := following[order[-1].name]) != roads[0].name:
        last = order[-1]
        if name not in by_name:
            raise UserError(f"{where}: road {last.name}: its successor, road {name}, is not in the file")
        if by_name[name] in order:
            raise UserError(f"{where}: road {last.name}: links back to road {name}, not to the first road")
        order.append(by_name[name])
    if len(order) < len(roads):
        spare = next(road.name for road in roads if road not in order)
        raise UserError(f"{where}: road {spare}: is not on the loop that starts at road {roads[0].name}")
    for road, after in zip(order, order[1:] + order[:1], strict=True):
        joint = f"{where}: road {road.name} to road {after.name}"
        require_joint(road.pieces[-1], after.pieces[0], joint, tolerance)
    return order


def _followers(roads: list[Road], where: str, tolerance: float) -> dict[str, str]:
    """Find the road after each: its successor, or the road whose predecessor it is, or the road that starts at its end."""
    found = {road.name: road.successor for road in roads if road.successor is not None}
    for road in roads:
        if road.predecessor is not None and road.name not in found.values():
            found.setdefault(road.predecessor, road.name)
    for road in roads:
        if road.name not in found:
            free = [other for other in roads if other.name not in found.values()]
            found[road.name] = _meeting(road, free, f"{where}: road {road.name}", tolerance)
    return found


def _meeting(road: Road, others: list[Road], where: str, tolerance: float) -> str:
    """Find the one of ``others`` that starts at the end of ``road``."""
    misfits = {other.name: misfit(road.pieces[-1], other.pieces[0]) for other in others}
    near = [name for name, miss in misfits.items() if max(miss) <= tolerance]
    if len(near) == 1:
        return near[0]
    if near:
        raise UserError(f"{where}: roads {', '.join(near)} start where it ends: give it a <successor>")
    if not misfits:
        raise UserError(f"{where}: has no <successor>, and every road follows another")
    name, (gap, kink) = min(misfits.items(), key=lambda item: item[1][0])
    raise UserError(
        f"{where}: has no <successor>, and no road starts where it ends: road {name} misses it by {gap:.3f} m and "
        f"{kink:.3f} rad, more than env.joint_tolerance={tolerance:g}"
    )
