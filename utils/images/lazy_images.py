"""Images and volumes on disk that are indexed like arrays: what is asked for is read, and kept in a bounded memory."""

import bisect
import copy
import itertools
import math
import threading
from collections import OrderedDict

import numpy as np

# Memory of what was read: enough for some hundred decoded images, and little beside Keras itself.
CACHE_BYTES = 256 * 2**20


class BlockCache:
    """What was read last, up to so many bytes; several threads may use it.

    Parameters
    ----------
    max_bytes : int
        Together the blocks take no more; a larger one is not kept. 0 keeps nothing.

    Raises
    ------
    ValueError
        If it is negative.

    Examples
    --------
    >>> cache = BlockCache(100)
    >>> cache.get("a", lambda: np.zeros(60, np.uint8)) is cache.get("a", lambda: None)
    True
    >>> _ = cache.get("b", lambda: np.ones(60, np.uint8))
    >>> cache.n_bytes
    60
    """

    def __init__(self, max_bytes=CACHE_BYTES):
        if max_bytes < 0:
            raise ValueError(f"cache_bytes is {max_bytes}; it must be at least 0, e.g. {CACHE_BYTES} for 256 MiB.")
        self.max_bytes, self.n_bytes = max_bytes, 0
        self._blocks, self._lock = OrderedDict(), threading.Lock()

    def get(self, key, read):
        """Return a block, read if it is not in memory.

        Parameters
        ----------
        key : hashable
            Which one.
        read : callable
            Returns it; called without holding up other threads, so that two may read the same at once.

        Returns
        -------
        numpy.ndarray
            Not to be written to.
        """
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
        block = read()
        with self._lock:
            if key not in self._blocks and block.nbytes <= self.max_bytes:
                self._blocks[key] = block
                self.n_bytes += block.nbytes
                while self.n_bytes > self.max_bytes:
                    self.n_bytes -= self._blocks.popitem(last=False)[1].nbytes
        return block


class StoredImage:
    """An image ``(y, x, c)`` or volume ``(z, y, x, c)`` on disk.

    ``image[100:356, 40:296]`` reads that window, ``volume[7]`` is a slice of which nothing is read yet, and
    ``image[...]`` and ``numpy.asarray`` read everything. Other ways to index an array are not supported.

    Parameters
    ----------
    parts : list of StoredPages
        What holds the pages, in the order of z.
    finish : callable
        Called with each block that was read and its file; returns it as it shall be used.
    channels : int
        Channels of a finished block.
    dtype : numpy.dtype
        Of a finished block.
    cache : BlockCache
        Where blocks are kept.
    page : int, optional
        Only this page, as an image. Without it all of them are a volume.
    """

    __slots__ = ("_parts", "_starts", "_finish", "_cache", "_page", "_sources", "shape", "dtype")

    def __init__(self, parts, finish, *, channels, dtype, cache, page=None):
        self._parts, self._finish, self._cache, self._page = parts, finish, cache, page
        # The first page of each part, and the end.
        self._starts = (0, *itertools.accumulate(part.shape[0] for part in parts))
        sizes = parts[0].shape[1:3] if page is not None else (self._starts[-1], *parts[0].shape[1:3])
        self.shape, self.dtype = (*sizes, channels), np.dtype(dtype)
        self._sources = (None,) * len(sizes)

    @property
    def ndim(self):
        """Number of axes, channels included."""
        return len(self.shape)

    @property
    def size(self):
        """Number of values."""
        return math.prod(self.shape)

    @property
    def block_shape(self):
        """What is read at once, ``(y, x)`` or ``(z, y, x)``; windows that follow it are read fastest."""
        return self._parts[0].block_shape[4 - self.ndim :]

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        if self.ndim == 4 and isinstance(index, int | np.integer):
            return self._slice(range(len(self))[index])
        window = _window(index, self.shape[:-1])
        if not any(source is not None for source in self._sources):
            return self._read(window)
        # What was padded is found by which row, column or slice stands there.
        wanted = [
            np.arange(part.start, part.stop) if source is None else source[part]
            for part, source in zip(window, self._sources, strict=True)
        ]
        starts = [int(places.min()) for places in wanted]
        found = self._read([slice(start, int(p.max()) + 1) for start, p in zip(starts, wanted, strict=True)])
        return found[np.ix_(*(places - start for places, start in zip(wanted, starts, strict=True)))]

    def __array__(self, dtype=None, copy=None):
        whole = self[(slice(None),) * (self.ndim - 1)]
        return np.array(whole, dtype) if copy else np.asarray(whole, dtype)

    def padded_to(self, shape):
        """Return this image padded, still unread, as `utils.images.padding.pad_to` pads an array by mirroring.

        Parameters
        ----------
        shape : tuple of int
            Wanted size; axes that are large enough stay.

        Returns
        -------
        StoredImage
            The image itself when nothing is missing.
        """
        missing = [max(0, wanted - size) for wanted, size in zip(shape, self.shape[:-1], strict=True)]
        if not any(missing):
            return self
        padded = copy.copy(self)
        padded.shape = (*(size + more for size, more in zip(self.shape, missing, strict=False)), self.shape[-1])
        padded._sources = tuple(
            np.pad(np.arange(size), (more // 2, more - more // 2), "symmetric") if more else None
            for size, more in zip(self.shape, missing, strict=False)
        )
        return padded

    def _slice(self, number):
        """Return a slice of a volume as an image, unread."""
        along_z, *others = self._sources
        image = copy.copy(self)
        image._page = number if along_z is None else int(along_z[number])
        image.shape, image._sources = self.shape[1:], tuple(others)
        return image

    def _read(self, window):
        """Read a window ``(y, x)`` or ``(z, y, x)`` that lies inside."""
        if self._page is not None:
            window = [slice(self._page, self._page + 1), *window]
        first, last = window[0].start, window[0].stop
        pieces, number = [], bisect.bisect_right(self._starts, first) - 1
        while self._starts[number] < last:
            start, part = self._starts[number], self._parts[number]
            along_z = slice(max(first - start, 0), min(last - start, part.shape[0]))
            pieces.append(self._read_part(part, [along_z, *window[1:]]))
            number += 1
        found = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return found if self._page is None else found[0]

    def _read_part(self, part, window):
        """Put a window together from blocks; a view of the block where it is only one."""
        numbers = [
            range(wanted.start // step, (wanted.stop - 1) // step + 1)
            for wanted, step in zip(window, part.block_shape, strict=True)
        ]
        is_one = all(len(along) == 1 for along in numbers)
        shape = *(wanted.stop - wanted.start for wanted in window), self.shape[-1]
        found = None if is_one else np.empty(shape, self.dtype)
        for number in itertools.product(*numbers):
            block = self._cache.get((part, number), lambda n=number: self._finish(part.read_block(n), part.path))
            inside = part.block_window(number)
            common = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(window, inside, strict=True)]
            piece = block[_moved(common, inside)]
            if is_one:
                return piece
            found[_moved(common, window)] = piece
        return found


class StoredCrop:
    """A crop of an image or volume on disk, of which nothing is read yet; indexed as it.

    Parameters
    ----------
    image : StoredImage
        At least as large as the crop.
    corner : tuple of int
        First corner ``(y, x)`` or ``(z, y, x)``.
    shape : tuple of int
        Of the crop, without channels.
    """

    __slots__ = ("_image", "_corner", "shape")

    def __init__(self, image, corner, shape):
        self._image, self._corner, self.shape = image, corner, (*shape, image.shape[-1])

    @property
    def dtype(self):
        """Of what is read."""
        return self._image.dtype

    @property
    def ndim(self):
        """Number of axes, channels included."""
        return len(self.shape)

    @property
    def size(self):
        """Number of values."""
        return math.prod(self.shape)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        if self.ndim == 4 and isinstance(index, int | np.integer):
            image = self._image[self._corner[0] + range(len(self))[index]]
            return StoredCrop(image, self._corner[1:], self.shape[1:-1])
        window = _window(index, self.shape[:-1])
        return self._image[tuple(slice(c + w.start, c + w.stop) for c, w in zip(self._corner, window, strict=True))]

    def __array__(self, dtype=None, copy=None):
        return np.array(self[...], dtype) if copy else np.asarray(self[...], dtype)


def _window(index, sizes):
    """Return the slices, one for each axis of the given size, that an index asks for."""
    index = () if index is Ellipsis else index if isinstance(index, tuple) else (index,)
    if len(index) > len(sizes) or not all(isinstance(part, slice) and part.step in (None, 1) for part in index):
        raise IndexError(f"an image on disk is indexed by slices of its {len(sizes)} axes, not by {index}")
    whole = (slice(None),) * (len(sizes) - len(index))
    window = [slice(*part.indices(size)[:2]) for part, size in zip((*index, *whole), sizes, strict=True)]
    if any(part.start >= part.stop for part in window):
        raise IndexError(f"{index} of an image of {sizes} on disk is empty")
    return window


def _moved(window, reference):
    """Return a window as seen from the first corner of another."""
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(window, reference, strict=True))
