"""The U shape (Ronneberger, Fischer and Brox 2015, figure 1), which the U-Nets of the study fill with their blocks."""

from numbers import Integral

import keras
from keras import layers

from networks.blocks import CropTo, classifier, max_pooling, n_spatial, up_convolution


def u_shape(
    name,
    image_shape,
    block,
    *,
    feature_maps,
    drop_values,
    strides,
    n_classes,
    first_block=None,
    bottleneck=None,
    gate=None,
    output_activation=None,
):
    """Build a U-Net: blocks and poolings down, transposed convolutions, concatenated skips and blocks up.

    Parameters
    ----------
    name : str
        Name of the model.
    image_shape : tuple of int or None
        ``(y, x, c)`` or ``(z, y, x, c)``.
    block : callable
        ``block(x, filters, dropout_rate=rate)`` builds a level.
    feature_maps, drop_values : sequence of int, of float
        Filters and dropout of each level, the bottleneck last.
    strides : sequence of tuple of int
        Factor per axis of each pooling.
    n_classes : int
        1: sigmoid; more: softmax over the classes, background included.
    first_block, bottleneck : callable, optional
        Another block at the very beginning, and at the bottom.
    gate : callable, optional
        ``gate(skip, x, filters)`` is concatenated with the upsampled ``x`` instead of the skip.
    output_activation : str, optional
        As `classifier`.

    Returns
    -------
    keras.Model
        Not compiled.
    """
    inputs = x = keras.Input(image_shape, name="image")
    skips = []
    for filters, rate, stride in zip(feature_maps[:-1], drop_values[:-1], strides, strict=True):
        level = block if skips or first_block is None else first_block
        x = level(x, filters, dropout_rate=rate)
        skips.append((x, filters, rate, stride))
        x = max_pooling(x, stride)
    x = (bottleneck or block)(x, feature_maps[-1], dropout_rate=drop_values[-1])
    for skip, filters, rate, stride in reversed(skips):
        x = up_convolution(x, filters, stride)
        if n_spatial(x) == 3:
            x = CropTo()([x, skip])
        joined = layers.Concatenate()([x, skip if gate is None else gate(skip, x, filters)])
        x = block(joined, filters, dropout_rate=rate)
    return keras.Model(inputs, classifier(x, n_classes, activation=output_activation), name=name)


def strides_with_z(depth, z_down):
    """Return the factors ``(z, y, x)`` of each pooling in 3D; y and x are halved.

    Parameters
    ----------
    depth : int
        Number of poolings.
    z_down : int or sequence of int
        Factor along z, for all poolings or one each.

    Returns
    -------
    list of tuple of int

    Raises
    ------
    ValueError
        If there is not one factor, or one for each pooling, of 1 or 2.

    Examples
    --------
    >>> strides_with_z(2, 1), strides_with_z(2, (1, 2))
    ([(1, 2, 2), (1, 2, 2)], [(1, 2, 2), (2, 2, 2)])
    """
    steps = tuple(z_down) if hasattr(z_down, "__len__") else (z_down,) * depth
    # The kernels of the transposed convolutions are 2 wide.
    if len(steps) != depth or not all(isinstance(step, Integral) and step in (1, 2) for step in steps):
        raise ValueError(f"Z_DOWN is {z_down}; wanted 1 or 2 for all {depth} poolings, or one of them for each.")
    return [(step, 2, 2) for step in steps]


def check_image_shape(image_shape, axes):
    """Check that a shape has these axes followed by channels.

    Parameters
    ----------
    image_shape : tuple of int or None
        The argument of a builder.
    axes : str
        ``yx`` or ``zyx``.

    Raises
    ------
    ValueError
        If it has another number of values, or one that is no size; only the axes may be None, not the channels.
    """
    wanted = f"wanted ({', '.join(axes)}, channels), whole numbers above 0, {', '.join(axes)} may be None"
    if not hasattr(image_shape, "__len__") or len(image_shape) != len(axes) + 1:
        raise ValueError(f"image_shape is {image_shape}; {wanted}.")
    *sides, channels = image_shape
    if not all(isinstance(size, Integral) and size > 0 for size in (channels, *[s for s in sides if s is not None])):
        raise ValueError(f"image_shape is {image_shape}; {wanted}.")


def check_levels(image_shape, depth, axes="yx", **per_level):
    """Check the shape of images, that there is a value for each level, and that poolings divide images (2D only).

    Parameters
    ----------
    image_shape : tuple of int or None
        ``(y, x, c)`` or ``(z, y, x, c)``; 3D networks take any size.
    depth : int
        Number of poolings.
    axes : str
        ``yx`` or ``zyx``, as `check_image_shape`.
    **per_level : sequence
        By name of the template's variable: must hold ``depth + 1`` values.

    Raises
    ------
    ValueError
        As `check_image_shape`; if the depth is no whole number above 0, a sequence has another length, or a given side
        of a 2D image is not divisible by ``2 ** depth``.
    """
    check_image_shape(image_shape, axes)
    if not isinstance(depth, Integral) or depth < 1:
        raise ValueError(f"DEPTH is {depth}; wanted a whole number of at least 1.")
    for name, values in per_level.items():
        check_count(name, values, depth + 1, needed_by=f"DEPTH {depth}")
    for size in image_shape[:-1] if axes == "yx" else ():
        if size is not None and size % 2**depth:
            raise ValueError(
                f"image_shape {tuple(image_shape)}: {size} is not divisible by {2**depth} ({depth} poolings)."
            )


def check_count(name, values, count, *, needed_by):
    """Check that a sequence holds as many values as it should.

    Parameters
    ----------
    name : str
        Of the template's variable.
    values : sequence
        The argument of a builder.
    count : int
        Wanted number of values.
    needed_by : str
        Who needs them, for the message.

    Raises
    ------
    ValueError
        If it is no sequence, or has another length.
    """
    if not hasattr(values, "__len__"):
        raise ValueError(f"{name} is {values}; {needed_by} needs {count} values.")
    if len(values) != count:
        raise ValueError(f"{name} holds {len(values)} values {tuple(values)}; {needed_by} needs {count}.")
