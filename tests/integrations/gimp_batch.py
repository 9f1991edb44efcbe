"""Run within GIMP by test_gimp.py: uses the plug-in as a script would, and writes down what came of it.

GIMP's console has no arguments for scripts, so the folder comes by the environment.
"""

import json
import os
from pathlib import Path

import gi

gi.require_version("Gimp", "3.0")
from gi.repository import Gimp, Gio  # noqa: E402

FOLDER = Path(os.environ["DEREFLECT_TEST_FOLDER"])
ALONE = Gimp.RunMode.NONINTERACTIVE


def load(name):
    return Gimp.file_load(ALONE, Gio.File.new_for_path(str(FOLDER / name)))


def plug_in(image, drawables, **options):
    procedure = Gimp.get_pdb().lookup_procedure("plug-in-dereflect")
    config = procedure.create_config()
    config.set_property("run-mode", ALONE)
    config.set_property("image", image)
    config.set_core_object_array("drawables", drawables)
    for name, value in options.items():
        config.set_property(name, value)
    result = procedure.run(config)
    return {"status": result.index(0).value_nick, "error": Gimp.get_pdb().get_last_error()}


def save_layer(image, layer, name):
    """Write one layer alone, at the image's precision."""
    alone = Gimp.Image.new_with_precision(
        layer.get_width(), layer.get_height(), image.get_base_type(), image.get_precision()
    )
    copy = Gimp.Layer.new_from_drawable(layer, alone)
    alone.insert_layer(copy, None, 0)
    if copy.get_mask() is not None:
        copy.remove_mask(Gimp.MaskApplyMode.DISCARD)
    copy.set_offsets(0, 0)
    copy.set_visible(True)
    Gimp.file_save(ALONE, alone, Gio.File.new_for_path(str(FOLDER / name)), None)
    alone.delete()


def describe(image):
    return {
        "precision": image.get_precision().value_nick,
        "layers": [
            {
                "name": layer.get_name(),
                "visible": layer.get_visible(),
                "place": list(layer.get_offsets())[1:],
                "size": [layer.get_width(), layer.get_height()],
                "masked": layer.get_mask() is not None,
            }
            for layer in image.get_layers()
        ],
        "selected": [layer.get_name() for layer in image.get_selected_layers()],
        "images": len(Gimp.get_images()),
    }


def photo():
    image = load("photo.png")
    layer = image.get_layers()[0]
    layer.set_name("window")
    said = plug_in(image, [layer]) | describe(image)
    for index, name in enumerate(("reflection", "transmission")):
        save_layer(image, image.get_layers()[index], f"gimp_{name}.png")
    image.delete()
    return said


def deep():
    """16 bits, one layer of two, which lies beside the corner, with a selection."""
    image = load("photo.png")
    image.convert_precision(Gimp.Precision.U16_NON_LINEAR)
    below = image.get_layers()[0]
    layer = Gimp.Layer.new_from_drawable(below, image)
    image.insert_layer(layer, None, 0)
    layer.set_name("above")
    layer.scale(101, 67, False)
    layer.set_offsets(7, -5)
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 10, 10, 30, 20)
    save_layer(image, layer, "deep.png")
    said = plug_in(image, [layer], layers="transmission") | describe(image)
    save_layer(image, image.get_layers()[0], "gimp_deep.png")
    image.delete()
    return said


def masked():
    """A layer within a group, whose mask is selected."""
    image = load("photo.png")
    layer = image.get_layers()[0]
    layer.set_name("inner")
    group = Gimp.GroupLayer.new(image, "set")
    image.insert_layer(group, None, 0)
    image.reorder_item(layer, group, 0)
    layer.add_mask(layer.create_mask(Gimp.AddMaskType.WHITE))
    mask = layer.get_mask()
    said = plug_in(image, [mask], layers="reflection")
    said["inside"] = [child.get_name() for child in group.get_children()]
    image.delete()
    return said


def faults():
    image = load("photo.png")
    layers = image.get_layers()
    said = [
        plug_in(image, layers, command="/nowhere/dereflect"),
        plug_in(image, layers, model="nosuchmodel"),
        plug_in(image, layers, options="--max-pixels 10"),
    ]
    said.append(describe(image))
    image.delete()
    return said


found = {case.__name__: case() for case in (photo, deep, masked, faults)}
(FOLDER / "found.json").write_text(json.dumps(found))
