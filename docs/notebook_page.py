"""The notebook of docs/make_notebook.py from top to bottom: text, code, and where the cells of the template stand."""

REPOSITORY = "danifranco/EM_Image_Segmentation"
COLAB_URL = f"https://colab.research.google.com/github/{REPOSITORY}/blob/main/templates/U-Net_2D_workflow.ipynb"
BADGE = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({COLAB_URL})"

# ("text", Markdown), ("code", Python), ("parameters", Python) and ("template", title of a cell of the template).
PAGE = (
    (
        "text",
        f"""\
# A 2D U-Net finds mitochondria

{BADGE}

This notebook goes from images to scores. It gets the code and the data, shows the data, trains a network, shows curves
and predictions, and scores them. *Run all* does all of it on synthetic images, without any change. Then take the
public EPFL hippocampus, or your own images.

In Colab, choose a GPU first: *Runtime > Change runtime type*.

Each code cell that starts with a title, such as `# Training`, is a cell of `templates/U-Net_2D_template.py`, line by
line. Whatever you change here, you can change there, and then run the template from the command line. `python
docs/make_notebook.py` writes this notebook.""",
    ),
    (
        "text",
        """\
## The code

In Colab, the notebook downloads a copy of the repository. If you open the notebook within the repository, it uses that
one.""",
    ),
    (
        "code",
        f"""\
import sys
from pathlib import Path

repository = "https://github.com/{REPOSITORY}"

here = Path.cwd()
places = [here / "EM_Image_Segmentation", here, *here.parents]
code_dir = next((place for place in places if (place / "docs" / "make_notebook.py").exists()), None)
if code_dir is None:
    code_dir = places[0]
    !git clone --quiet --depth 1 {{repository}} "{{code_dir}}"
    if not (code_dir / "docs" / "make_notebook.py").exists():
        raise RuntimeError(
            f"{{code_dir}} holds no copy of the repository with this notebook: remove that folder and run this cell "
            f"again, or, where {{repository}} holds other code, put a copy of yours there."
        )
sys.path.insert(0, str(code_dir))
print(f"The code is in {{code_dir}}")""",
    ),
    (
        "text",
        """\
Colab has nearly all packages, with a TensorFlow that fits its GPU. The next cell installs the missing ones. Elsewhere,
start the notebook in the environment of `env/requirements.txt`.""",
    ),
    (
        "code",
        """\
import re

if "google.colab" in sys.modules:
    pins = (code_dir / "env" / "requirements.txt").read_text()
    packages = " ".join(re.findall(r"^([\\w-]+)==", pins, flags=re.MULTILINE)).replace("tensorflow-cpu", "tensorflow")
    %pip install --quiet {packages}""",
    ),
    (
        "text",
        """\
## The data

`DATA` is one of

- `demo`: synthetic images of brain tissue. The notebook makes them itself and downloads nothing. 24 slices to train, 6
  to test.
- `lucchi`: hippocampus of a mouse, FIB-SEM, from EPFL. Half a gigabyte; 165 slices to train, 165 to test. Please cite
  [Lucchi et al. 2013](https://www.epfl.ch/labs/cvlab/data/data-em/). `lucchi++` and `kasthuri++` work too.
- your own images: the whole path of a folder with `train/x`, `train/y`, `test/x` and, if there is truth, `test/y`. The
  images are png, jpg, bmp, tif, npy, hdf5 or zarr.

The notebook writes everything into `FOLDER`. Colab deletes its files when it disconnects. To keep them, mount Google
Drive and name a folder there, such as `/content/drive/MyDrive/em`.""",
    ),
    (
        "parameters",
        """\
DATA = "demo"  # @param ["demo", "lucchi", "lucchi++", "kasthuri++"] {allow-input: true}
FOLDER = "em_workflow"  # @param {type: "string"}
# A run never overwrites a finished one: count up to run again with other variables
RUN_ID = 0  # @param {type: "integer"}""",
    ),
    (
        "code",
        """\
from data_sets.data_preparation import prepare_data
from data_sets.data_survey import survey_data, survey_table
from data_sets.synthetic_em import write_demo_data
from utils.data.survey import survey_notes
from utils.files import atomic_folder

data_dir = Path(FOLDER) / "data" / DATA  # just DATA, if that is the whole path of a folder
if DATA == "demo" and not data_dir.exists():
    shape = {"image_shape": (512, 512), "voxel_size_nm": (15.0, 8.0, 8.0)}
    with atomic_folder(data_dir) as folder:
        write_demo_data(folder, n_train=24, n_test=6, train_volumes=12, **shape)
elif not data_dir.exists():
    print(prepare_data(DATA, data_dir))
surveys = survey_data(data_dir)
print(survey_table(surveys), *survey_notes(surveys), sep="\\n")""",
    ),
    (
        "text",
        """\
## The command line

You start a template from a shell: `python templates/U-Net_2D_template.py code_dir data_dir job_dir --id ...`. A
notebook has no command line, so the next cell writes down the same words. Without a GPU, `--gpu 0` takes the CPU and
says so. To resume an interrupted training, add `"--resume"`. The seed of the run is `SEED` + `RUN_ID`.""",
    ),
    (
        "code",
        """\
__file__ = str(code_dir / "templates" / "U-Net_2D_template.py")
sys.argv = [__file__, str(code_dir), str(data_dir), FOLDER, "--id", "workflow", "--rid", str(RUN_ID), "--gpu", "0"]""",
    ),
    ("template", "Command line"),
    (
        "text",
        """\
## The variables of the experiment

Here is everything that you may want to change. Some values make the training short; the note behind them gives the
value of the published training, which takes 360 epochs. For `lucchi`, `EPOCHS = 28` is enough. 5 epochs already show
whether the training works.""",
    ),
    ("template", "Experiment variables"),
    ("template", "Imports"),
    (
        "text",
        """\
## Look at the data

The next cell reads the images, checks them and cuts them into crops. Then you see four images to train on and four to
test on, each with the outlines of its mask.""",
    ),
    ("template", "Checks and data"),
    (
        "code",
        """\
from IPython.display import FileLink, Image, display

from data_sets.data_survey import draw_data

draw_data(run.checks / "data.png", data.train, data.test, intensity_range=INTENSITY_RANGE)
display(Image(run.checks / "data.png"))""",
    ),
    (
        "text",
        """\
Augmentation rotates, mirrors and brightens the crops, differently in every epoch. The mask gets the same rotation as
its image. The picture shows crops as the network sees them. If an outline does not follow its object here, stop.""",
    ),
    ("template", "Data augmentation"),
    ("code", 'display(Image(run.checks / "augmented_pairs.png"))'),
    ("text", "## The network"),
    ("template", "Network"),
    (
        "text",
        """\
## Training

The run keeps the weights of the best epoch. While it trains, it also redraws the curves in `charts/history.png` in the
folder of the run.""",
    ),
    ("template", "Training"),
    ("code", 'display(Image(run.charts / "history.png"))'),
    (
        "text",
        """\
If the validation curve moves away from the training curve, the network learns its images by heart. Then train on more
images, or augment more. If both curves still improve at the end, train for longer.

## Predictions and scores

The network predicts the test images in several ways, called protocols: crop by crop, crops merged into complete
images, crops that overlap by half, and complete images at once. Some predictions are improved further: crops are
blended, eight orientations are averaged (ensemble), or a median is taken along z. Foreground IoU is the overlap of
prediction and truth divided by their union: 1 is perfect.""",
    ),
    ("template", "Evaluation: per crop"),
    ("template", "Evaluation: merged into complete images"),
    ("template", "Evaluation: 50 % overlap"),
    ("template", "Evaluation: full image"),
    (
        "text",
        """\
The next cell shows three test images, their predictions and, if there is one, the truth. The predictions are those of
complete images as an ensemble, or without `ENSEMBLE` those of merged crops.""",
    ),
    (
        "code",
        """\
import matplotlib.pyplot as plt

from utils.images.intensity import to_unit_range
from utils.metrics.pixels import probability_to_mask

highest_class = max(1, N_CLASSES - 1)
shown, stage = (ensemble, "full_image/ensemble") if ENSEMBLE else (merged, "per_image/none")
for number in sorted({0, len(test) // 2, len(test) - 1}):
    pictures = {f"{test.names[number]}": to_unit_range(test.x[number], INTENSITY_RANGE)}
    pictures["probability"] = shown[number]
    pictures["prediction"] = probability_to_mask(shown[number]) / highest_class
    if test.y is not None:
        pictures["truth"] = test.y[number] / highest_class
    figure, panels = plt.subplots(1, len(pictures), figsize=(4 * len(pictures), 4), layout="constrained")
    for panel, (title, picture) in zip(panels, pictures.items(), strict=True):
        panel.imshow(picture[..., -1], cmap="gray", vmin=0, vmax=1)
        panel.set_title(title)
        panel.axis("off")
    plt.show()""",
    ),
    ("text", "The next picture shows the prediction over the images: right in green, false in red, missed in blue."),
    ("code", 'display(Image(run.images / stage / "overlay.png"))'),
    ("text", "The last cell of the template prints all scores."),
    ("template", "Results"),
    (
        "text",
        """\
## What the run leaves

`report.html` has all of this on one page: pictures, curves, scores of every protocol, variables and versions. Colab
downloads it; elsewhere, follow the link. The folder of the run also has the predictions of every protocol as tif, the
scores as csv, and the weights.""",
    ),
    (
        "code",
        """\
if "google.colab" in sys.modules:
    from google.colab import files

    files.download(str(run.folder / "report.html"))
else:
    display(FileLink(run.folder / "report.html"))""",
    ),
    (
        "text",
        """\
## What next?

- To try other variables or another data set, change them, count `RUN_ID` up, and *Run all*.
- To segment new images, use `load_predictor(run.folder).segment(image)`, from `utils.prediction.predictor`. It returns
  the mask of an array `(y, x, 1)`. `templates/predict_template.py` takes whole folders.
- The other files in `templates/` have other networks, three dimensions and other losses.""",
    ),
)
