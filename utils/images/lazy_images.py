"""Images and volumes on disk that are indexed like arrays: the indexed part is read, a bounded cache keeps it."""

import bisect
import copy
import itertools
import math
import threading
from collections import OrderedDict

import numpy as np

# Enough for some hundred decoded images, and little beside Keras itself.
CACHE_BYTES = 256 * 2**20


class BlockCache:
    """A cache of the blocks that were read last; threads may share it.

    Parameters
    ----------
    max_bytes : int
        The blocks together take no more; a larger block is not kept. 0 keeps nothing.

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
        """Return the block of a key, calling ``read`` if it is not in memory; do not write to the block.

        Other threads are not held up meanwhile, so two may read the same block at once.
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


class LazyImage:
    """An image ``(y, x, c)`` or volume ``(z, y, x, c)`` on disk, or a part of one.

    ``image[100:356, 40:296]`` reads that window, ``volume[7]`` is a slice that is still unread, and ``image[...]`` and
    ``numpy.asarray`` read everything. An array can be indexed in other ways, this cannot.

    Parameters
    ----------
    sources : list of Source
        The pages in the order of z, all of one size.
    finish : callable
        Takes stored pixels ``(n, y, x, c)`` and their `Source`, and returns the pixels as they are used.
    channels : int
        Channels that ``finish`` returns.
    dtype : numpy.dtype
        Dtype that ``finish`` returns.
    cache : BlockCache, optional
        Keeps the blocks that a window touches. Without it exactly the window is read, each time anew.
    page : int, optional
        Only this page, as an image. Without it all pages are a volume.

    Attributes
    ----------
    shape : tuple of int
        ``(y, x, c)`` or ``(z, y, x, c)``.
    dtype : numpy.dtype
        Of what is read.
    """

    __slots__ = ("_sources", "_starts", "_finish", "_cache", "_places", "_channels", "dtype", "shape")

    def __init__(self, sources, finish, *, channels, dtype, cache=None, page=None):
        self._sources, self._finish, self._cache = sources, finish, cache
        # The first page of each source, and the end.
        self._starts = (0, *itertools.accumulate(source.shape[0] for source in sources))
        # The page, or range of pages, and the rows and columns of this image; arrays of them where it is padded.
        pages = range(self._starts[-1]) if page is None else page
        self._places = (pages, *map(range, sources[0].shape[1:3]))
        self._channels, self.dtype = channels, np.dtype(dtype)
        self.shape = (*map(len, self._own_places()), channels)

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
            return self._moved_to((int(self._places[0][index]), *self._places[1:]))
        return self._read(self._cut(index))

    def __array__(self, dtype=None, copy=None):
        whole = self._read(self._places)
        return np.array(whole, dtype) if copy else np.asarray(whole, dtype)

    def crop(self, corner, shape):
        """Return the part of a size that begins at a corner, unread."""
        return self._moved_to(self._cut(tuple(slice(c, c + size) for c, size in zip(corner, shape, strict=False))))

    def padded_to(self, shape):
        """Return this image padded, still unread, as `utils.images.padding.pad_to` pads an array by mirroring."""
        missing = [max(0, wanted - size) for wanted, size in zip(shape, self.shape[:-1], strict=True)]
        if not any(missing):
            return self
        padded = [
            np.pad(np.asarray(places), (more // 2, more - more // 2), "symmetric") if more else places
            for places, more in zip(self._own_places(), missing, strict=True)
        ]
        return self._moved_to((*self._places[: 3 - len(padded)], *padded))

    def _own_places(self):
        """Return the places along the axes of this image; a single page has none along z."""
        return self._places[1:] if isinstance(self._places[0], int) else self._places

    def _moved_to(self, places):
        moved = copy.copy(self)
        moved._places = places
        moved.shape = (*map(len, moved._own_places()), self._channels)
        return moved

    def _cut(self, index):
        """Return the places that an index of slices asks for."""
        index = () if index is Ellipsis else index if isinstance(index, tuple) else (index,)
        own = self._own_places()
        if len(index) > len(own) or not all(isinstance(part, slice) and part.step in (None, 1) for part in index):
            raise IndexError(f"an image on disk is indexed by slices of its {len(own)} axes, not by {index}")
        cut = [places[part] for places, part in itertools.zip_longest(own, index, fillvalue=slice(None))]
        if not all(len(places) for places in cut):
            raise IndexError(f"{index} of an image of {self.shape[:-1]} on disk is empty")
        return (*self._places[: 3 - len(own)], *cut)

    def _read(self, places):
        """Read the pixels at places; mirrored ones are picked out of the window that holds them."""
        is_page = isinstance(places[0], int)
        places = [range(places[0], places[0] + 1), *places[1:]] if is_page else places
        window = [_bounds(at) for at in places]
        found = self._read_window(window)
        for axis, (at, part) in enumerate(zip(places, window, strict=True)):
            if isinstance(at, np.ndarray):
                found = found.take(at - part.start, axis)
        return found[0] if is_page else found

    def _read_window(self, window):
        """Read a window ``(n, y, x)`` of all sources, one behind the other."""
        first, last = window[0].start, window[0].stop
        read = self._read_directly if self._cache is None else self._read_blocks
        if len(self._sources) == 1:
            return read(self._sources[0], window)
        pieces, number = [], bisect.bisect_right(self._starts, first) - 1
        while number < len(self._sources) and self._starts[number] < last:
            start, source = self._starts[number], self._sources[number]
            along_n = slice(max(first - start, 0), min(last - start, source.shape[0]))
            pieces.append(read(source, [along_n, *window[1:]]))
            number += 1
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _read_directly(self, source, window):
        return self._finish(source.read(window), source)

    def _read_blocks(self, source, window):
        """Assemble a window from blocks; a window within one block is a view of it."""
        steps = source.block_shape
        first = tuple(wanted.start // step for wanted, step in zip(window, steps, strict=True))
        last = tuple((wanted.stop - 1) // step for wanted, step in zip(window, steps, strict=True))
        if first == last:
            corners = zip(window, first, steps, strict=True)
            return self._block(source, first)[
                tuple(slice(wanted.start - n * step, wanted.stop - n * step) for wanted, n, step in corners)
            ]
        found = np.empty((*(wanted.stop - wanted.start for wanted in window), self._channels), self.dtype)
        for number in itertools.product(*(range(a, b + 1) for a, b in zip(first, last, strict=True))):
            inside = source.block_window(number)
            common = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(window, inside, strict=True)]
            found[_seen_from(window, common)] = self._block(source, number)[_seen_from(inside, common)]
        return found

    def _block(self, source, number):
        return self._cache.get((source, number), lambda: self._read_directly(source, source.block_window(number)))


def _bounds(places):
    """Return the slice that holds a range or an array of places."""
    if isinstance(places, range):
        return slice(places.start, places.stop)
    return slice(int(places.min()), int(places.max()) + 1)


def _seen_from(reference, window):
    """Return a window relative to the first corner of another."""
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(window, reference, strict=True))
