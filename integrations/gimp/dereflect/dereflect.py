#!/usr/bin/env python3
"""GIMP 3 plug-in: the selected layer's transmission and reflection as layers over it.

It runs the installed `dereflect` command. It needs nothing of Python but what comes with GIMP.
"""

import sys
from pathlib import Path

try:
    import gi

    gi.require_version("Gimp", "3.0")
    gi.require_version("GimpUi", "3.0")
except (ImportError, ValueError):  # in the folder of GIMP 2, or without GIMP's Python
    sys.exit("dereflect: this plug-in needs GIMP 3 (and its Python support); GIMP 2 cannot run it")
from command import LAYERS, Failed, Job, Stopped, find_command, working_folder
from gi.repository import Gimp, GimpUi, Gio, GLib, GObject

NAME = "plug-in-dereflect"
READWRITE = GObject.ParamFlags.READWRITE


class Dereflect(Gimp.PlugIn):
    """What GIMP asks a plug-in for."""

    def do_set_i18n(self, name):
        """No translations."""
        return False

    def do_query_procedures(self):
        """Names of the procedures."""
        return [NAME]

    def do_create_procedure(self, name):
        """The procedure, its menu entry and its arguments."""
        procedure = Gimp.ImageProcedure.new(self, name, Gimp.PDBProcType.PLUGIN, run, None)
        procedure.set_image_types("RGB*, GRAY*")
        procedure.set_sensitivity_mask(Gimp.ProcedureSensitivityMask.DRAWABLE)
        procedure.set_menu_label("Separate _Reflection...")
        procedure.add_menu_path("<Image>/Filters/Enhance")
        procedure.set_documentation(
            "Separate a photo taken through glass into the scene and its reflection",
            "Adds the scene behind the glass (transmission) and what the glass mirrors (reflection) as "
            "layers over the selected one. A selection becomes their mask.",
            name,
        )
        procedure.set_attribution("The dereflect authors", "The dereflect authors", "2026")
        _add_arguments(procedure)
        return procedure


def _add_arguments(procedure):
    procedure.add_string_argument(
        "model",
        "_Model",
        "A name from 'dereflect models', a model folder or a checkpoint file",
        "default",
        READWRITE,
    )
    procedure.add_double_argument(
        "strength",
        "_Strength",
        "How much of the reflection to take away: 1 all, 0 nothing; -1 shows only the reflection",
        -1.0,
        1.0,
        1.0,
        READWRITE,
    )
    quality = Gimp.Choice.new()
    quality.add("fast", 0, "Fast", "")
    quality.add("best", 1, "Best", "Averages mirrored and resized copies: three times the work")
    procedure.add_choice_argument("quality", "_Quality", "How much work to spend", quality, "fast", READWRITE)
    layers = Gimp.Choice.new()
    layers.add("both", 0, "Transmission and reflection", "")
    layers.add("transmission", 1, "Transmission (the scene)", "")
    layers.add("reflection", 2, "Reflection", "")
    procedure.add_choice_argument("layers", "La_yers", "Which layers to add", layers, "both", READWRITE)
    procedure.add_string_argument(
        "options",
        "_Further options",
        "Options of 'dereflect separate' as on the command line, e.g. --max-size 2000 --device cpu",
        "",
        READWRITE,
    )
    procedure.add_string_argument(
        "command",
        "C_ommand",
        "Path of the dereflect command; empty: the one that installed this plug-in, or that on PATH",
        "",
        READWRITE,
    )


def run(procedure, run_mode, image, drawables, config, data):
    """Ask in a dialog where there is one, separate, and say what went wrong in GIMP's own way."""
    status = Gimp.PDBStatusType
    layer = drawables[0] if len(drawables) == 1 else None
    if isinstance(layer, Gimp.LayerMask):
        layer = Gimp.Layer.from_mask(layer)
    if not isinstance(layer, Gimp.Layer):
        return procedure.new_return_values(status.CALLING_ERROR, GLib.Error("dereflect: select one layer"))
    if run_mode == Gimp.RunMode.INTERACTIVE and not _ask(procedure, config):
        return procedure.new_return_values(status.CANCEL, None)
    try:
        with working_folder() as folder:
            _separate(image, layer, config, folder)
    except Stopped:
        return procedure.new_return_values(status.CANCEL, None)
    except Failed as error:
        return procedure.new_return_values(status.EXECUTION_ERROR, GLib.Error(f"dereflect: {error}"))
    return procedure.new_return_values(status.SUCCESS, None)


def _ask(procedure, config):
    """Show the dialog; whether the user wants to go on."""
    GimpUi.init(NAME)
    dialog = GimpUi.ProcedureDialog.new(procedure, config, "Separate Reflection")
    dialog.get_scale_entry("strength", 1.0)
    dialog.fill(["model", "strength", "quality", "layers", "options", "command"])
    wanted = dialog.run()
    dialog.destroy()
    return wanted


def _separate(image, layer, config, folder):
    """Write the layer to a file, run the command on it, and bring in what it wrote."""
    command = find_command(config.get_property("command"), Path(__file__).parent)
    Gimp.progress_init(f"Separating {layer.get_name()}")
    photo = folder / "photo.png"
    _write(image, layer, photo)
    words = ["--model", config.get_property("model"), "--strength", repr(config.get_property("strength"))]
    words += ["--quality", config.get_property("quality"), "--layers", config.get_property("layers")]
    job = Job(command, photo, folder / "out", words, config.get_property("options"))
    for share in job.run(layer.get_name()):
        Gimp.progress_update(share) if share else Gimp.progress_pulse()
    _add_layers(image, layer, job.outputs)


def _write(image, layer, photo):
    """Write what one layer shows, at the image's precision and with its colour profile."""
    width, height = layer.get_width(), layer.get_height()
    alone = Gimp.Image.new_with_precision(width, height, image.get_base_type(), image.get_precision())
    try:
        profile = image.get_color_profile()
        if profile is not None:
            alone.set_color_profile(profile)
        copy = Gimp.Layer.new_from_drawable(layer, alone)
        alone.insert_layer(copy, None, 0)
        copy.merge_filters()
        if copy.get_mask() is not None:
            copy.remove_mask(Gimp.MaskApplyMode.APPLY)
        copy.set_offsets(0, 0)
        copy.set_opacity(100.0)
        copy.set_mode(Gimp.LayerMode.NORMAL)
        copy.set_visible(True)
        export = Gimp.get_pdb().lookup_procedure("file-png-export")
        options = export.create_config()
        options.set_property("run-mode", Gimp.RunMode.NONINTERACTIVE)
        options.set_property("image", alone)
        options.set_property("file", Gio.File.new_for_path(str(photo)))
        options.set_property("compression", 1)
        options.set_property("include-color-profile", True)
        done = export.run(options)
        if done.index(0) != Gimp.PDBStatusType.SUCCESS:
            raise Failed(f"the layer could not be written ({Gimp.get_pdb().get_last_error()})")
    finally:
        alone.delete()


def _add_layers(image, layer, outputs):
    """Insert what was written above the layer: the reflection hidden, the transmission seen."""
    place = image.get_item_position(layer)
    _, left, top = layer.get_offsets()
    selected = not Gimp.Selection.is_empty(image)
    new = []
    for name in reversed(LAYERS):  # from the top down
        if name in outputs:
            try:
                new.append((name, _read(image, outputs[name])))
            except GLib.Error as error:
                raise Failed(f"{name}: {error.message}") from error
    image.undo_group_start()
    try:
        for index, (name, added) in enumerate(new):
            added.set_name(f"{layer.get_name()} {name}")
            image.insert_layer(added, layer.get_parent(), place + index)
            added.set_offsets(left, top)
            added.set_visible(name == "transmission" or len(new) == 1)
            if selected:
                added.add_mask(added.create_mask(Gimp.AddMaskType.SELECTION))
        image.set_selected_layers([new[-1][1]])
    finally:
        image.undo_group_end()
    Gimp.displays_flush()


def _read(image, path):
    return Gimp.file_load_layer(Gimp.RunMode.NONINTERACTIVE, image, Gio.File.new_for_path(str(path)))


Gimp.main(Dereflect.__gtype__, sys.argv)
