"""Stochastic downsampling (Cheng and Varshney 2017), after S3Pool (Zhai et al. 2017, arXiv 1611.05138)."""

from numbers import Integral

import keras
from keras import layers, ops


class _StochasticDownsampling(layers.Layer):
    n_axes = None

    def __init__(self, t=4, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(t, Integral) or t < 2 or t % 2:
            raise ValueError(f"t is {t!r}; half of each group is kept, so it must be an even number such as 4.")
        self.t, self.seed = int(t), seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.input_spec = layers.InputSpec(ndim=self.n_axes + 2)

    def call(self, inputs, training=None):
        """Return ``(n, ..., c)`` of half the size, rounded up."""
        if not training:
            return ops.average_pool(inputs, 2, 2, padding="same", data_format="channels_last")
        n, *sizes, channels = ops.shape(inputs)
        # One gather from all pixels of the batch is faster than one along each axis, above all its gradient.
        kept = ops.arange(n)
        for size in sizes:
            kept = ops.expand_dims(kept * size, axis=-1) + self._draw(size)
        return ops.take(ops.reshape(inputs, (-1, channels)), kept, axis=0)

    def _draw(self, size):
        """Return the indices that are kept along an axis, ascending."""
        half = self.t // 2
        starts = ops.expand_dims(self.t * ops.arange((size + self.t - 1) // self.t), axis=-1)
        available = ops.minimum(size - starts, self.t)
        noise = keras.random.uniform((ops.shape(starts)[0], self.t), seed=self.seed_generator)
        noise = ops.where(ops.arange(self.t) < available, noise, 2.0)
        drawn = ops.argsort(noise, axis=-1)[:, :half]
        # The last group keeps half of its pixels, rounded up; sorting moves the rest of its row to the end.
        drawn = ops.sort(ops.where(ops.arange(half) < (available + 1) // 2, drawn, self.t), axis=-1)
        return ops.reshape(starts + drawn, (-1,))[: (size + 1) // 2]

    def compute_output_shape(self, input_shape):
        """Return the input's shape with its spatial axes halved, rounded up; None stays None."""
        n, *sizes, channels = input_shape
        return (n, *(None if size is None else -(-size // 2) for size in sizes), channels)

    def get_config(self):
        """Return the arguments of the constructor."""
        return {**super().get_config(), "t": self.t, "seed": self.seed}


@keras.saving.register_keras_serializable("em_image_segmentation")
class StochasticDownsampling2D(_StochasticDownsampling):
    """Halve images by keeping random rows and columns in training, and by averages otherwise.

    Training splits each axis into groups of ``t`` and keeps ``t / 2`` different rows or columns of each, in order. This
    distorts the structures in a feature map a little, as an augmentation of features. Each call draws a new pattern for
    the whole batch; samples and channels do not mix. A last group of r < t keeps r / 2, rounded up, so any size n
    becomes n / 2, rounded up.

    Inference takes the mean of 2 x 2 pixels (at an odd border, of those that exist), as S3Pool does. It is
    deterministic, and lies where the drawn pixels lie on average. A strided slice would be off by half a pixel, always
    to the same side, and these shifts would add up.

    The published layer returned channel 0 of the first sample for all samples and channels, drew in inference too,
    and was not used in 2D, where sizes were unknown.

    Parameters
    ----------
    t : int
        Pixels of a group, even; the larger, the stronger the distortion. 2 keeps one of each pair.
    seed : int, optional
        Of the patterns; the same sequence of calls draws the same patterns.

    Raises
    ------
    ValueError
        If ``t`` is not an even number of at least 2.

    Examples
    --------
    >>> layer, image = StochasticDownsampling2D(seed=0), ops.reshape(ops.arange(64.0), (1, 8, 8, 1))
    >>> tuple(layer(image, training=True).shape)
    (1, 4, 4, 1)
    >>> float(layer(image)[0, 0, 0, 0]), (0 + 1 + 8 + 9) / 4
    (4.5, 4.5)
    """

    n_axes = 2


@keras.saving.register_keras_serializable("em_image_segmentation")
class StochasticDownsampling3D(_StochasticDownsampling):
    """Halve volumes as `StochasticDownsampling2D` halves images, with z as a third axis.

    Parameters
    ----------
    t, seed
        As `StochasticDownsampling2D`.

    Examples
    --------
    >>> tuple(StochasticDownsampling3D()(ops.ones((1, 4, 9, 10, 2)), training=True).shape)
    (1, 2, 5, 5, 2)
    """

    n_axes = 3
