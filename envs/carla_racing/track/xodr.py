"""OpenDRIVE files: their place, their text, and their elements, read with one-line errors."""

from __future__ import annotations

import codecs
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from pompc.errors import UserError

TRACKS = Path(__file__).with_name("circuits")
ENDING = ".xodr"
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as the next one does
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
"""How a file begins that is in a certain encoding, whatever its declaration says."""
WIDE = ("utf-16", "utf-32")
DECLARATION = r"""(<\?xml[^>]*?\sencoding\s*=\s*["'])([^"']*)"""


def locate(name_or_path: str | Path) -> Path:
    """Find the file of a shipped track by its name, or of any track by its path, which ends in ``.xodr``.

    Raises:
        UserError: no shipped track has that name.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix.lower() == ENDING:
        return path
    path = TRACKS / f"{name_or_path}{ENDING}"
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in TRACKS.glob(f"*{ENDING}")))
        raise UserError(f"no track '{name_or_path}': choose one of {shipped}, or give the path of a {ENDING} file")
    return path


def read_text(path: Path) -> str:
    """Read the text of a file, decoded by its byte order mark, else by its declaration, else as UTF-8.

    A declaration of another encoding becomes UTF-8, the encoding in which a server receives the text.

    Raises:
        UserError: the file cannot be read, or is not in its encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read the track: {error.strerror}: give env.track another path") from error
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except LookupError:
        raise UserError(f"{path}: its encoding '{encoding}' is unknown: save it as UTF-8 and declare that") from None
    except UnicodeError as error:
        raise UserError(f"{path}: is not in its encoding, {encoding} ({error}): save it as UTF-8") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    declared = re.match(DECLARATION, text)
    if declared and declared[2].lower() != "utf-8":
        text = f"{declared[1]}utf-8{text[declared.end() :]}"
    return text


def _encoding(data: bytes) -> str:
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return encoding
    declared = re.match(DECLARATION.encode(), data)
    if declared is None:
        return "utf-8"
    name = declared[2].decode("ascii", "replace")
    # A declaration of a wide encoding in single bytes is wrong: the text is UTF-8, or the decoder fails.
    return "utf-8" if name.lower().replace("_", "-").startswith(WIDE) else name


def parse(text: str, where: str) -> ET.Element:
    """Parse an OpenDRIVE text: its root element, with namespaces taken off all names.

    Raises:
        UserError: bad XML, or another document; ``where`` opens the message.
    """
    try:
        root = _local(ET.fromstring(text))
    except (ET.ParseError, ValueError) as error:
        raise UserError(f"{where}: not an XML file ({error}): give an OpenDRIVE {ENDING} file") from error
    if root.tag != "OpenDRIVE":
        raise UserError(f"{where}: the root element is <{root.tag}>: give an OpenDRIVE {ENDING} file")
    return root


def unprefixed(text: str) -> str:
    """Remove the prefixes of namespaces from a text: a CARLA server does not know them."""
    if not re.search(r"<[\w.-]+:OpenDRIVE\b", text):
        return text
    try:
        return ET.tostring(_local(ET.fromstring(text)), encoding="unicode")
    except ET.ParseError:
        return text  # the parser will say it better


def _local(root: ET.Element) -> ET.Element:
    """Take the namespaces off a tree."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


class Reader:
    """Read attributes and children of elements; an error is one line that begins with ``where``."""

    def __init__(self, where: str) -> None:
        self.where = where

    def error(self, message: str) -> UserError:
        """Make the error of that message; the caller raises it."""
        return UserError(f"{self.where}: {message}")

    def attribute(self, element: ET.Element, name: str) -> str:
        """Read a required attribute."""
        value = element.get(name)
        if value is None:
            raise self.error(f"<{element.tag}> has no attribute '{name}'")
        return value

    def number(self, element: ET.Element, name: str, default: float | None = None) -> float:
        """Read a finite number; a missing attribute has the ``default``, if one is given."""
        if default is not None and name not in element.attrib:
            return default
        text = self.attribute(element, name)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(f"<{element.tag}> {name}='{text}' is not a finite number")
        return value

    def child(self, element: ET.Element, path: str) -> ET.Element:
        """Find a required child."""
        found = element.find(path)
        if found is None:
            raise self.error(f"<{element.tag}> has no <{path}>")
        return found
