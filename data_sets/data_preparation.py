"""Turn the files of a public data set into a data folder: find, check, write slices and a data card."""

import shutil
from collections import Counter
from datetime import date
from math import prod
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from data_sets.data_survey import draw_data, survey_data, survey_table
from data_sets.downloads import check_file, download, sha256_of
from data_sets.public_data import PUBLIC_DATA
from data_sets.unpacking import unpack
from utils.data.data_folder import load_image_sets
from utils.data.pairing import pair_by_name
from utils.errors import check_choice, raise_problems
from utils.files import atomic_folder, check_free, why_not_there, write_text
from utils.images.image_files import IMAGE_SUFFIXES, list_images, stem_of, suffix_of
from utils.images.reading import read_images

CARD_NAME, PICTURE_NAME = "DATA_CARD.md", "overview.png"
# Share of mask pixels that may have unexpected values, e.g. of smoothed borders.
MAX_ODD_SHARE = 0.01
# Mitochondria take 4 to 8 % of these volumes; an inverted mask takes more than 90 %.
FOREGROUND_SHARES = (0.01, 0.2)
# Bytes a pixel and beside them that the images of a data set may take when they are unpacked: RGB and its headers.
BYTES_PER_PIXEL, HEADER_BYTES = 4, 1 << 20


def prepare_data(name, data_dir, *, files=None, command=""):
    """Make a data folder of a public data set: ``train/x train/y test/x test/y``, a data card and a picture.

    Slices are written as png, masks with 0 and 255. The folder appears complete and checked, or not at all.

    Parameters
    ----------
    name : str
        One of `data_sets.public_data.PUBLIC_DATA`.
    data_dir : str or Path
        The folder to make.
    files : str or Path, optional
        Folder with the files, downloaded before: the tifs or zips, or folders of slices under the same names. Without
        it they are downloaded into ``<data_dir>_downloads``, where they stay.
    command : str
        What was called, for the data card.

    Returns
    -------
    str
        The data card.

    Raises
    ------
    ValueError
        If the name is unknown, or with all problems: ``data_dir`` holds something, files are missing, damaged, or not
        what the data set is known to hold.
    ConnectionError
        As `data_sets.downloads.download`.
    """
    check_choice("the data set", name, tuple(PUBLIC_DATA))
    data_set, data_dir = PUBLIC_DATA[name], Path(data_dir)
    check_free(data_dir)
    if files is None:
        files = data_dir.with_name(f"{data_dir.name}_downloads")
        for file in data_set.files:
            download(file.url, files / file.name, sha256=file.sha256, size=file.size)
    with atomic_folder(data_dir) as folder:
        unpacked = folder / "unpacked"
        stacks, inputs = _find_stacks(files, data_set, unpacked)
        notes = _convert_stacks(stacks, folder, data_set)
        shutil.rmtree(unpacked, ignore_errors=True)
        train, test = load_image_sets(folder)
        surveys = survey_data(folder)
        draw_data(folder / PICTURE_NAME, train, test)
        card = _data_card(data_set, survey_table(surveys), inputs, notes, command)
        write_text(folder / CARD_NAME, card)
    return card


def _find_stacks(files, data_set, unpacked):
    """Find the images and masks of a data set in a folder and in its zip files, however deep; unpack these.

    Returns a multi-page file or a folder of slices for each stack, and the names and SHA-256 checksums of the files
    that they come from.
    """
    files = Path(files)
    if not files.is_dir():
        raise ValueError(f"--files {why_not_there(files)}, and a folder is needed.")
    archives = _unpack(files, data_set, unpacked)
    stacks, problems = {}, []
    elsewhere = [path for path in files.rglob("*") if unpacked not in path.absolute().parents]
    places = sorted([*elsewhere, *unpacked.rglob("*")])
    for stack in data_set.stacks:
        found = [path for path in places if stem_of(path).lower() == stack.name.lower() and _is_stack(path)]
        if len(found) == 1:
            stacks[stack] = found[0]
        elif found:
            problems.append(f"{stack.name} is there {len(found)} times, leave one: {', '.join(map(str, found))}")
        else:
            problems.append(f"{stack.name} ({stack.folder}) is missing: no tif and no folder of slices has that name")
    if problems:
        urls = ", ".join(file.url for file in data_set.files)
        problems[-1] += f". The files of {data_set.title} are {urls}; see {data_set.page}"
    raise_problems(str(files), problems)
    used = [path for path in (*archives, *stacks.values()) if path.is_file()]
    inputs = [(path.name, _sha256_as_on_record(path, data_set)) for path in used]
    return stacks, inputs or [(str(files), "a folder of slices")]


def _sha256_as_on_record(path, data_set):
    """Return the checksum of a file, or raise if it has the name of a file of the data set and is not that."""
    record = next((file for file in data_set.files if file.name == path.name), None)
    return sha256_of(path) if record is None else check_file(path, record.url, sha256=record.sha256, size=record.size)


def _is_stack(path):
    if path.name.startswith((".", "~")) or "__MACOSX" in path.parts:
        return False
    return bool(list_images(path)) if path.is_dir() else suffix_of(path) in IMAGE_SUFFIXES


def _unpack(files, data_set, unpacked):
    """Unpack what belongs to the data set; return the zip files that held it: its own, or those of no data set."""
    names = {stack.name.lower() for stack in data_set.stacks}
    most_bytes = BYTES_PER_PIXEL * sum(prod(stack.shape) for stack in data_set.stacks) + HEADER_BYTES

    def wanted(member):
        named = names & {member.parent.name.lower(), stem_of(member).lower()}
        return named and suffix_of(member) in IMAGE_SUFFIXES and "__MACOSX" not in member.parts

    archives = []
    zips = [path for path in files.rglob("*.zip") if path.is_file() and unpacked not in path.absolute().parents]
    own = [path for path in zips if path.name in {file.name for file in data_set.files}]
    of_others = {file.name for other in PUBLIC_DATA.values() for file in other.files}
    for archive in sorted(own or [path for path in zips if path.name not in of_others]):
        _sha256_as_on_record(archive, data_set)
        archives += [archive] * unpack(archive, unpacked, wanted=wanted, most_bytes=most_bytes)
    return archives


def _convert_stacks(stacks, folder, data_set):
    """Write all slices and return notes for the data card, or raise what is not as it should be."""
    notes, problems = [], []
    for stack, path in stacks.items():
        values, shapes = Counter(), Counter()
        (folder / stack.folder).mkdir(parents=True)
        wanted = "x".join(map(str, stack.shape[1:])) + "x1 uint8"
        bar = tqdm(_pages(path), desc=stack.folder, total=stack.shape[0], unit="slice", disable=None)
        for number, page in enumerate(bar):
            shapes["x".join(map(str, page.shape)) + f" {page.dtype}"] += 1
            if wanted not in shapes or len(shapes) > 1:
                continue  # reported below
            if stack.folder.endswith("y"):
                values.update(dict(zip(*map(np.ndarray.tolist, np.unique(page, return_counts=True)), strict=True)))
                page = np.where(page > 127, np.uint8(255), np.uint8(0))
            Image.fromarray(page[..., 0]).save(folder / stack.folder / f"{stack.folder[-1]}_{number:04d}.png")
        if shapes != {wanted: stack.shape[0]}:
            found = ", ".join(f"{count} of {shape}" for shape, count in shapes.items())
            problems.append(f"{path.name} holds {found} (y, x, channels), expected {stack.shape[0]} of {wanted}")
        elif values:
            wrong, odd = _judge_mask_values(values, data_set.padding_values)
            problems += [f"{path.name} {clause}" for clause in wrong]
            notes += [f"{path.name} {clause}" for clause in odd]
    raise_problems(f"{data_set.title} is not what it should be", problems)
    for x, y in zip(*[iter(data_set.stacks)] * 2, strict=True):
        if stacks[x].is_dir() and stacks[y].is_dir():
            images, masks = list_images(stacks[x]), list_images(stacks[y])
            if pair_by_name(images, masks)[1]:
                notes.append(
                    f"names of {x.name} and {y.name} do not agree; the first image has the first mask, and so on"
                )
    return notes


def _pages(path):
    """Yield the slices of a multi-page file or a folder, each ``(y, x, c)``."""
    for file in list_images(path) if path.is_dir() else [path]:
        yield from read_images(file)


def _judge_mask_values(values, padding_values):
    """Say what is wrong with the values of a mask, and what is odd."""
    total = values.total()
    odd = {value: count for value, count in values.items() if value not in (0, 255, *padding_values)}
    shown = " ".join(f"{value:g}" for value in sorted(odd)[:8])
    if sum(odd.values()) > MAX_ODD_SHARE * total:
        return [f"holds the values {shown} in {sum(odd.values()) / total:.1%} of its pixels, expected 0 and 255"], []
    foreground = sum(count for value, count in values.items() if value > 127) / total
    if not FOREGROUND_SHARES[0] < foreground < FOREGROUND_SHARES[1]:
        low, high = FOREGROUND_SHARES
        return [f"has {foreground:.1%} foreground, expected {low:.0%} to {high:.0%}"], []
    notes = [f"holds the value {value} outside of the tissue: background" for value in padding_values if values[value]]
    if odd:
        notes.append(f"holds the values {shown} in {sum(odd.values()):,} pixels: foreground from 128 on")
    return [], notes


def _data_card(data_set, table, inputs, notes, command):
    """Return the data card of a prepared data set, in Markdown."""
    known = {file.name: file.sha256 for file in data_set.files}
    lines = []
    for name, sha256 in inputs:
        expected = known.get(name)
        lines.append(f"- {name}: {sha256} ({'no checksum on record' if expected is None else 'as on record'})")
    size = " x ".join(f"{length:g}" for length in data_set.voxel_size_nm)
    parts = [
        f"# {data_set.title}",
        data_set.description,
        f"- authors' page: {data_set.page}\n- files: {', '.join(file.url for file in data_set.files)}\n"
        f"- voxel size (z, y, x): {size} nm\n- licence: {data_set.licence}",
        table,
        "Masks: 0 background, 255 mitochondria. A picture: " + PICTURE_NAME,
        "SHA-256 of the files it was made from:",
        "\n".join(lines),
        "\n".join(f"- Note: {note}." for note in notes),
        f"Prepared {date.today().isoformat()}" + f" with `{command}`" * bool(command) + ".",
        "Please cite:",
        "\n\n".join(f"```bibtex\n{citation}\n```" for citation in data_set.citations),
    ]
    card = "\n\n".join(part for part in parts if part) + "\n"
    return card.encode("utf-8", "backslashreplace").decode("utf-8")  # of names of folders that are no UTF-8
