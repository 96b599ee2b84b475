# make demo: a small experiment from nothing to an overlay picture. make test: all tests.
# make docs: the site, in docs/_build. make bench: speed, as ratios.
# Each creates the environment .venv from env/ by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# Of make demo; fewer take less time and score lower.
EPOCHS ?= 55
# Its synthetic images, as data_sets.synthetic_em.write_demo_data takes them.
IMAGES ?= n_train=24, n_test=6, train_volumes=12, image_shape=(512, 512)
# Further arguments of its template, such as OPTIONS=--dry-run.
OPTIONS ?=
BENCHMARKS := $(addprefix benchmarks/,augmentation.py augmentation_transforms.py voxel_augmentation.py voxel_step.py training_step.py prediction.py flow_from_directory.py epoch_end.py \
  inference_speed.py memory.py volume_memory.py big_volume.py post_processing.py stochastic_downsampling.py)

.PHONY: demo test docs bench clean

$(VENV)/requirements.done: env/requirements.txt
	$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and 'Python 3.11 to 3.13 is needed; give it as PYTHON=...')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r env/requirements.txt
	touch $@

$(VENV)/requirements-docs.done: $(VENV)/requirements.done env/requirements-docs.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r env/requirements-docs.txt
	touch $@

$(VENV)/requirements-test.done: $(VENV)/requirements.done env/requirements-test.txt env/requirements-docs.txt env/requirements-big.txt env/requirements-formats.txt env/requirements-sharing.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r env/requirements-test.txt
	touch $@

$(DEMO)/data/test/y:
	PYTHONPATH=. $(PYTHON_RUN) -c "from data_sets.synthetic_em import write_demo_data; write_demo_data( \
	  '$(DEMO)/data', $(IMAGES), voxel_size_nm=(15.0, 8.0, 8.0))"

demo: PYTHON_RUN = $(BIN)/python
demo: $(VENV)/requirements.done $(DEMO)/data/test/y
	rm -rf $(DEMO)/results
	$(BIN)/python -u templates/U-Net_2D_template.py . $(DEMO)/data $(DEMO) --id demo --rid 0 --gpu -1 \
	  --set "DROP_VALUES=(0., 0., 0., 0., 0.)" --set LOSS=bce_dice \
	  --set OPTIMIZER=adamw --set LEARNING_RATE=0.001 --set SCHEDULE=one_cycle --set EPOCHS=$(EPOCHS) \
	  --set ROTATION90=True --set AUGMENTATION_PROBABILITY=0.5 --set "BRIGHTNESS_RANGE=(0.8, 1.2)" $(OPTIONS)

test: $(VENV)/requirements-test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n auto --dist worksteal

docs: $(VENV)/requirements-docs.done
	$(BIN)/python -m sphinx -W --keep-going docs docs/_build

bench: $(VENV)/requirements-test.done
	for script in $(BENCHMARKS); do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) $(DEMO) docs/_build docs/generated
