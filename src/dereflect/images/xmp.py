"""XMP: mark the orientation as applied, and take out what speaks of data that the results do not carry."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any
from xml.dom import Node, expatbuilder, minidom
from xml.parsers.expat import ExpatError

_TIFF, _EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
_NOTE, _BASIC = "http://ns.adobe.com/xmp/note/", "http://ns.adobe.com/xap/1.0/"
_CAMERA = "http://ns.google.com/photos/1.0/camera/"
_DEPTH = "depth map"
_WHOLE_NAMESPACES = {
    "http://ns.adobe.com/hdr-gain-map/1.0/": "gain map",
    "http://ns.apple.com/HDRGainMap/1.0/": "gain map",
    "http://ns.apple.com/pixeldatainfo/1.0/": "gain map",
    "http://ns.google.com/photos/1.0/container/": "",
    "http://ns.google.com/photos/1.0/container/item/": "",
    "http://ns.google.com/photos/1.0/depthmap/": _DEPTH,
    "http://ns.google.com/photos/1.0/image/": "second picture",
    "http://ns.google.com/photos/1.0/audio/": "sound",
    "http://ns.google.com/photos/dd/1.0/device/": _DEPTH,
}
_PREFIXES = {
    "tiff": _TIFF,
    "exif": _EXIF,
    "GCamera": _CAMERA,
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
}
_SIZES = ((_TIFF, "ImageWidth", "ImageLength"), (_EXIF, "PixelXDimension", "PixelYDimension"))

_UNREADABLE = (ExpatError, ValueError, UnicodeDecodeError, RecursionError)
"""Of a packet that is not well-formed, or nested without sense."""

_Property = minidom.Attr | minidom.Element


def orientation_of(xmp: bytes) -> int:
    """The orientation that XMP states, 1 to 8; 1 where it states none."""
    found = re.search(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])\s*[\"'<]", xmp)
    return int(found[1]) if found else 1


def settle(xmp: bytes, swapped: bool = False) -> tuple[bytes, list[str]]:
    """XMP that is true of an upright picture which stands alone in its file.

    Args:
        xmp: the packet. One that cannot be read as XML only has its orientation marked.
        swapped: whether width and height change places.

    Returns:
        The packet, byte for byte as it was where nothing had to change, and the names of the gone things
        that it spoke of, e.g. ``gain map``.
    """
    try:
        return _settled(xmp, swapped)
    except _UNREADABLE:
        return _mark_upright(xmp), []


def _settled(xmp: bytes, swapped: bool) -> tuple[bytes, list[str]]:
    document: Any = expatbuilder.parseString(xmp.strip(b"\0"), namespaces=False)
    gone: list[str] = []
    properties = list(_properties(document.documentElement, _PREFIXES))
    changed = False
    for (namespace, name), item, owner in properties:
        if (namespace, name) == (_TIFF, "Orientation"):
            changed |= _set_text(item, "1")
        elif (what := _what_is_gone(namespace, name, item)) is not None:
            gone += [what] if what else []
            _remove(item, owner)
            changed = True
    if swapped:
        changed |= _swap_sizes({key: item for key, item, _ in properties})
    if not changed:
        return _mark_upright(xmp), []
    return _serialised(document), list(dict.fromkeys(gone))


def without(xmp: bytes, namespaces: Collection[str]) -> bytes:
    """XMP without the properties of some namespaces; empty where it cannot be read as XML."""
    try:
        document: Any = expatbuilder.parseString(xmp.strip(b"\0"), namespaces=False)
        found = [
            (item, owner)
            for (namespace, _), item, owner in _properties(document.documentElement, _PREFIXES)
            if namespace in namespaces
        ]
        for item, owner in found:
            _remove(item, owner)
        return _serialised(document) if found else xmp
    except _UNREADABLE:
        return b""


def _mark_upright(xmp: bytes) -> bytes:
    xmp = re.sub(rb'(tiff:Orientation\s*=\s*["\'])\s*[1-8]\s*(["\'])', rb"\g<1>1\g<2>", xmp)
    return re.sub(rb"(<tiff:Orientation>)\s*[1-8]\s*(</tiff:Orientation>)", rb"\g<1>1\g<2>", xmp)


def _properties(
    element: Any, scope: dict[str, str]
) -> Iterator[tuple[tuple[str, str], _Property, minidom.Element | None]]:
    """Every attribute and element as ((namespace, local name), node, the element that an attribute is of)."""
    attributes = [element.attributes.item(index) for index in range(element.attributes.length)]
    scope = scope | {
        attribute.name.removeprefix("xmlns:"): attribute.value
        for attribute in attributes
        if attribute.name.startswith("xmlns:")
    }
    for attribute in attributes:
        if not attribute.name.startswith("xmlns"):
            yield _name(attribute.name, scope), attribute, element
    yield _name(element.tagName, scope), element, None
    for child in list(element.childNodes):
        if child.nodeType == Node.ELEMENT_NODE:
            yield from _properties(child, scope)


def _name(qualified: str, scope: dict[str, str]) -> tuple[str, str]:
    prefix, _, local = qualified.rpartition(":")
    return scope.get(prefix, ""), local


def _what_is_gone(namespace: str, name: str, item: _Property) -> str | None:
    """What a property speaks of that is gone, "" where others say it better; None where it may stay."""
    if namespace == "http://ns.google.com/photos/1.0/container/item/" and name == "Semantic":
        semantic = _text(item)
        return {"GainMap": "gain map", "MotionPhoto": "motion clip", "Depth": _DEPTH}.get(semantic, "")
    if namespace in _WHOLE_NAMESPACES:
        return _WHOLE_NAMESPACES[namespace]
    if name.startswith(("MicroVideo", "MotionPhoto")) or (
        name == "VideoLength" and "camera" in namespace.lower()
    ):
        return "motion clip"
    if namespace == _NOTE and name == "HasExtendedXMP":
        return ""
    return "" if namespace == _BASIC and name == "Thumbnails" else None  # they show the old picture


def _text(item: _Property) -> str:
    if isinstance(item, minidom.Attr):
        return str(item.value)
    return "".join(child.data for child in item.childNodes if child.nodeType == Node.TEXT_NODE).strip()


def _set_text(item: _Property, value: str) -> bool:
    if _text(item) == value:
        return False
    if isinstance(item, minidom.Attr):
        item.value = value
    else:
        for child in list(item.childNodes):
            item.removeChild(child)
        item.appendChild(minidom.Document().createTextNode(value))
    return True


def _remove(item: _Property, owner: minidom.Element | None) -> None:
    if isinstance(item, minidom.Attr):
        if owner is not None and owner.hasAttribute(item.name):
            owner.removeAttribute(item.name)
    elif item.parentNode is not None:
        item.parentNode.removeChild(item)


def _swap_sizes(items: dict[tuple[str, str], _Property]) -> bool:
    changed = False
    for namespace, width, height in _SIZES:
        a, b = items.get((namespace, width)), items.get((namespace, height))
        if a is not None and b is not None and _text(a) != _text(b):
            text = _text(a)
            changed |= _set_text(a, _text(b)) | _set_text(b, text)
    return changed


def _serialised(document: minidom.Document) -> bytes:
    """Without an XML declaration, which XMP packets do not begin with."""
    return "\n".join(node.toxml() for node in document.childNodes).encode("utf-8")
