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


class LazyImage:
    """An image ``(y, x, c)`` or volume ``(z, y, x, c)`` on disk, or a part of one.

    ``image[100:356, 40:296]`` reads that window, ``volume[7]`` is a slice of which nothing is read yet, and
    ``image[...]`` and ``numpy.asarray`` read everything. Other ways to index an array are not supported.

    Parameters
    ----------
    sources : list of Source
        What holds the pages, in the order of z; of one size.
    finish : callable
        Called with stored pixels ``(n, y, x, c)`` and the `Source` they were read from; returns them as they are used.
    channels : int
        Channels of what ``finish`` returns.
    dtype : numpy.dtype
        Of what ``finish`` returns.
    cache : BlockCache, optional
        Where the blocks that a window meets are kept. Without it exactly the window is read, each time anew.
    page : int, optional
        Only this page, as an image. Without it all of them are a volume.
    """

    __slots__ = ("_sources", "_starts", "_finish", "_cache", "_places", "_channels", "dtype")

    def __init__(self, sources, finish, *, channels, dtype, cache=None, page=None):
        self._sources, self._finish, self._cache = sources, finish, cache
        # The first page of each source, and the end.
        self._starts = (0, *itertools.accumulate(source.shape[0] for source in sources))
        # Which page, or range of pages, rows and columns stand here; an array of them where the image is padded.
        pages = range(self._starts[-1]) if page is None else page
        self._places = (pages, *map(range, sources[0].shape[1:3]))
        self._channels, self.dtype = channels, np.dtype(dtype)

    @property
    def shape(self):
        """``(y, x, c)`` or ``(z, y, x, c)``."""
        return *(len(places) for places in self._own_places()), self._channels

    @property
    def ndim(self):
        """Number of axes, channels included."""
        return len(self._own_places()) + 1

    @property
    def size(self):
        """Number of values."""
        return math.prod(self.shape)

    @property
    def block_shape(self):
        """What is read at once, ``(y, x)`` or ``(z, y, x)``; windows that follow it are read fastest."""
        return self._sources[0].block_shape[4 - self.ndim :]

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
        """Return a part of the image, unread.

        Parameters
        ----------
        corner : tuple of int
            First corner ``(y, x)`` or ``(z, y, x)``.
        shape : tuple of int
            Size of the part.

        Returns
        -------
        LazyImage
        """
        return self._moved_to(self._cut(tuple(slice(c, c + size) for c, size in zip(corner, shape, strict=False))))

    def padded_to(self, shape):
        """Return this image padded, still unread, as `utils.images.padding.pad_to` pads an array by mirroring.

        Parameters
        ----------
        shape : tuple of int
            Wanted size; axes that are large enough stay.

        Returns
        -------
        LazyImage
            The image itself when nothing is missing.
        """
        missing = [max(0, wanted - size) for wanted, size in zip(shape, self.shape[:-1], strict=True)]
        if not any(missing):
            return self
        padded = [
            np.pad(np.asarray(places), (more // 2, more - more // 2), "symmetric") if more else places
            for places, more in zip(self._own_places(), missing, strict=True)
        ]
        return self._moved_to((*self._places[: 3 - len(padded)], *padded))

    def _own_places(self):
        """Return the places along the axes of this image, which has none along z if it is a single page."""
        return self._places[1:] if isinstance(self._places[0], int) else self._places

    def _moved_to(self, places):
        moved = copy.copy(self)
        moved._places = places
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
        """Read what stands at places; mirrored ones are picked out of the window that holds them."""
        is_page = isinstance(places[0], int)
        places = [range(places[0], places[0] + 1), *places[1:]] if is_page else places
        window = [_bounds(at) for at in places]
        found = self._read_window(window)
        for axis, (at, part) in enumerate(zip(places, window, strict=True)):
            if isinstance(at, np.ndarray):
                found = found.take(at - part.start, axis)
        return found[0] if is_page else found

    def _read_window(self, window):
        """Read a window ``(n, y, x)`` of all sources one behind the other."""
        first, last = window[0].start, window[0].stop
        pieces, number = [], bisect.bisect_right(self._starts, first) - 1
        while number < len(self._sources) and self._starts[number] < last:
            start, source = self._starts[number], self._sources[number]
            along_n = slice(max(first - start, 0), min(last - start, source.shape[0]))
            read = self._read_directly if self._cache is None else self._read_blocks
            pieces.append(read(source, [along_n, *window[1:]]))
            number += 1
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _read_directly(self, source, window):
        return self._finish(source.read(window), source)

    def _read_blocks(self, source, window):
        """Put a window together from blocks; a view of the block where it is only one."""
        numbers = [
            range(wanted.start // step, (wanted.stop - 1) // step + 1)
            for wanted, step in zip(window, source.block_shape, strict=True)
        ]
        is_one = all(len(along) == 1 for along in numbers)
        shape = *(wanted.stop - wanted.start for wanted in window), self._channels
        found = None if is_one else np.empty(shape, self.dtype)
        for number in itertools.product(*numbers):
            inside = source.block_window(number)
            block = self._cache.get((source, number), lambda part=inside: self._read_directly(source, part))
            common = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(window, inside, strict=True)]
            piece = block[_seen_from(inside, common)]
            if is_one:
                return piece
            found[_seen_from(window, common)] = piece
        return found


def _bounds(places):
    """Return the slice that holds a range or array of places."""
    if isinstance(places, range):
        return slice(places.start, places.stop)
    return slice(int(places.min()), int(places.max()) + 1)


def _seen_from(reference, window):
    """Return a window as seen from the first corner of another."""
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(window, reference, strict=True))
