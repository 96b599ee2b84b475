"""The public data sets of the published study: where to get them, what they hold, what to cite."""

from typing import NamedTuple

EPFL_FILES = "https://documents.epfl.ch/groups/c/cv/cvlab-unit/www/data/%20ElectronMicroscopy_Hippocampus"
CASSER_FILES = "http://www.casser.io/files"

CITE_LUCCHI = r"""@inproceedings{lucchi2013learning,
  title={Learning for structured prediction using approximate subgradient descent with working sets},
  author={Lucchi, Aur{\'e}lien and Li, Yunpeng and Fua, Pascal},
  booktitle={IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages={1987--1994},
  year={2013}
}"""
CITE_CASSER = """@inproceedings{casser2020fast,
  title={Fast mitochondria detection for connectomics},
  author={Casser, Vincent and Kang, Kai and Pfister, Hanspeter and Haehn, Daniel},
  booktitle={Medical Imaging with Deep Learning (MIDL)},
  series={Proceedings of Machine Learning Research},
  volume={121},
  pages={111--120},
  year={2020}
}"""
CITE_KASTHURI = """@article{kasthuri2015saturated,
  title={Saturated reconstruction of a volume of neocortex},
  author={Kasthuri, Narayanan and Hayworth, Kenneth Jeffrey and Berger, Daniel Raimund and others},
  journal={Cell},
  volume={162},
  number={3},
  pages={648--661},
  year={2015}
}"""
NO_LICENCE = "none stated: use it for research, cite it, and ask its authors before passing it on"


class File(NamedTuple):
    """A file to download, with its checksum and its size in bytes where these are on record."""

    url: str
    sha256: str | None = None
    size: int | None = None

    @property
    def name(self):
        """The name under which it is kept."""
        return self.url.rsplit("/", 1)[-1]


class Stack(NamedTuple):
    """Images or masks of one part of a data set.

    Attributes
    ----------
    folder : str
        Target: ``train/x``, ``train/y``, ``test/x`` or ``test/y``.
    name : str
        Of the multi-page file, without suffix, or of the folder of slices.
    shape : tuple of int
        ``(z, y, x)``.
    """

    folder: str
    name: str
    shape: tuple


class PublicData(NamedTuple):
    """A public data set: what its data card says, and the files and stacks it consists of.

    ``citations`` are BibTeX, ``voxel_size_nm`` is ``(z, y, x)``. ``padding_values`` are mask values beside 0 and 255
    that mark pixels outside of the tissue; they become background.
    """

    title: str
    description: str
    page: str
    licence: str
    citations: tuple
    voxel_size_nm: tuple
    files: tuple
    stacks: tuple
    padding_values: tuple = ()


def _stacks(names, train_shape, test_shape):
    folders = ("train/x", "train/y", "test/x", "test/y")
    shapes = (train_shape, train_shape, test_shape, test_shape)
    return tuple(Stack(*stack) for stack in zip(folders, names, shapes, strict=True))


LUCCHI_FILES = ("training", "training_groundtruth", "testing", "testing_groundtruth")
CASSER_FOLDERS = ("Train_In", "Train_Out", "Test_In", "Test_Out")
LUCCHI_SHAPE = (165, 768, 1024)

# The checksums of the zip files are those that the public library torch_em has on record; the tif files have none.
# Nobody has recorded sizes. casser.io is known by http only.
PUBLIC_DATA = {
    "lucchi": PublicData(
        title="Lucchi (EPFL hippocampus)",
        description="Mitochondria in the CA1 hippocampus, FIB-SEM: two sub-volumes of one volume.",
        page="https://www.epfl.ch/labs/cvlab/data/data-em/",
        licence=NO_LICENCE,
        citations=(CITE_LUCCHI,),
        voxel_size_nm=(5.0, 5.0, 5.0),
        files=tuple(File(f"{EPFL_FILES}/{name}.tif") for name in LUCCHI_FILES),
        stacks=_stacks(LUCCHI_FILES, LUCCHI_SHAPE, LUCCHI_SHAPE),
    ),
    "lucchi++": PublicData(
        title="Lucchi++",
        description="The volumes of Lucchi with mitochondria annotated anew by experts.",
        page="https://sites.google.com/view/connectomics/",
        licence=NO_LICENCE,
        citations=(CITE_CASSER, CITE_LUCCHI),
        voxel_size_nm=(5.0, 5.0, 5.0),
        files=(
            File(f"{CASSER_FILES}/lucchi_pp.zip", "770ce9e98fc6f29c1b1a250c637e6c5125f2b5f1260e5a7687b55a79e2e8844d"),
        ),
        stacks=_stacks(CASSER_FOLDERS, LUCCHI_SHAPE, LUCCHI_SHAPE),
    ),
    "kasthuri++": PublicData(
        title="Kasthuri++",
        description="Mitochondria in the mouse neocortex, serial sections, annotated anew by experts.",
        page="https://sites.google.com/view/connectomics/",
        licence=NO_LICENCE,
        citations=(CITE_CASSER, CITE_KASTHURI),
        voxel_size_nm=(30.0, 3.0, 3.0),
        files=(
            File(f"{CASSER_FILES}/kasthuri_pp.zip", "bbb78fd205ec9b57feb8f93ebbdf1666261cbc3e0305e7f11583ab5157a3d792"),
        ),
        stacks=_stacks(CASSER_FOLDERS, (85, 1613, 1463), (75, 1553, 1334)),
        padding_values=(2,),
    ),
}
