"""The order of files by the numbers in their names, and gaps in the numbering."""

import re

# Behind these a hyphen is a sign.
BEFORE_SIGN = ("_", " ", "=", "(")


def in_order(paths):
    """Sort files by the numbers in their names, negative and decimal ones too, and by the text between them.

    A hyphen is the sign of a number at the start of a name or behind ``_``, a space, ``=`` or ``(``, and where other
    names have the same text without it: ``z-1`` beside ``z1``. It joins two parts elsewhere: ``testing-0007``. Two
    numbers joined by a point are a decimal number, unless the second has other lengths and ends with 0: ``1.9``,
    ``1.10``.

    Parameters
    ----------
    paths : list of Path
        Files of one folder.

    Returns
    -------
    list of Path

    Examples
    --------
    >>> from pathlib import Path
    >>> [path.name for path in in_order(map(Path, ["z10.tif", "z-2.tif", "z1.5.tif", "z1.tif", "z-10.tif"]))]
    ['z-10.tif', 'z-2.tif', 'z1.tif', 'z1.5.tif', 'z10.tif']
    """
    paths = list(paths)
    parts = dict(zip(paths, _parts([path.stem.lower() for path in paths]), strict=True))
    return sorted(paths, key=lambda path: ([_key(part) for part in parts[path]], path.name))


def numbering_gap(paths):
    """Say where the numbering of files has a gap.

    Parameters
    ----------
    paths : list of Path
        Files of one folder, in order.

    Returns
    -------
    str or None
        A sentence if the names differ in one number only and its steps differ; 0, 5, 10 has no gap.

    Examples
    --------
    >>> from pathlib import Path
    >>> numbering_gap([Path(f"im_{number:03d}.tif") for number in (1, 2, 3, 5, 6)])
    'the numbers in the names have a gap: im_005.tif follows im_003.tif.'
    """
    found = _parts([path.stem.lower() for path in paths])
    if len(found) < 3 or len({len(parts) for parts in found}) > 1:
        return None
    differing = [place for place, column in enumerate(zip(*found, strict=True)) if len(set(column)) > 1]
    if len(differing) != 1 or any(isinstance(parts[differing[0]], str) for parts in found):
        return None
    numbers = [parts[differing[0]] for parts in found]
    steps = [b - a for a, b in zip(numbers, numbers[1:], strict=False)]
    usual = min(steps)
    gaps = [n for n, step in enumerate(steps) if step > usual * 1.001]
    if not gaps:
        return None
    first, then = paths[gaps[0]].name, paths[gaps[0] + 1].name
    count = "a gap" if len(gaps) == 1 else f"{len(gaps)} gaps, the first"
    return f"the numbers in the names have {count}: {then} follows {first}."


def _parts(stems):
    """Return text and numbers in turn for each name, as its whole folder reads them."""
    decimal = _has_decimals(stems)
    number = r"\d+(?:\.\d+)?" if decimal else r"\d+"
    plain = [re.split(f"({number})", stem) for stem in stems]
    # The texts before each number.
    unsigned = {tuple(texts[:place]) for texts in map(_texts, plain) for place in range(1, len(texts))}
    return [_signed(parts, unsigned) for parts in plain]


def _has_decimals(stems):
    """Tell whether numbers with a point are decimal: otherwise some end with 0 although they differ in length."""
    fractions = [found for stem in stems for found in re.findall(r"\d+\.(\d+)", stem)]
    ends_with_zero = any(len(fraction) > 1 and fraction.endswith("0") for fraction in fractions)
    return len({len(fraction) for fraction in fractions}) <= 1 or not ends_with_zero


def _texts(parts):
    return parts[::2]


def _signed(parts, unsigned):
    """Turn the numbers of a name into floats; a hyphen before one becomes its sign where it is one."""
    found, texts = [], _texts(parts)
    for place, part in enumerate(parts):
        if place % 2 == 0:
            found.append(part)
            continue
        before = found[-1]
        text, is_sign = before.removesuffix("-"), before.endswith("-")
        if is_sign and not text.endswith(BEFORE_SIGN) and (text or place > 1):
            # Between two numbers or after a word it joins, unless other names have no hyphen here.
            is_sign = bool(text) and (*texts[: place // 2], text) in unsigned
        if is_sign:
            found[-1] = text
        found.append(-float(part) if is_sign else float(part))
    return found


def _key(part):
    return (0, part, "") if isinstance(part, float) else (1, 0.0, part)
