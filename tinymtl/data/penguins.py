"""Penguins of the Palmer Archipelago, K = 5: species, sex, body mass and two isotope ratios."""

from __future__ import annotations

import numpy as np

from tinymtl.backend import Array
from tinymtl.checks import whole_number
from tinymtl.data.multitask import MultiTaskData, Split, TaskSpec
from tinymtl.data.scale import Scale
from tinymtl.data.shipped import read_arrays

CITATION = (
    "K. B. Gorman, T. D. Williams, W. R. Fraser: Ecological sexual dimorphism and environmental variability "
    "within a community of Antarctic penguins (genus Pygoscelis). PLoS ONE 9(3): e90081, 2014, "
    "doi:10.1371/journal.pone.0090081 (CC0)"
)

#: What the whole numbers in the file stand for.
SPECIES = ("Adélie", "Chinstrap", "Gentoo")
ISLANDS = ("Biscoe", "Dream", "Torgersen")
YEARS = (2007, 2008, 2009)
FEMALE, MALE, UNKNOWN = 0, 1, 255

#: The columns of the measurements: three are features, three are targets.
LENGTHS = ("culmen length", "culmen depth", "flipper length")  # mm
TARGETS = {"mass": "g", "delta_15n": "‰", "delta_13c": "‰"}

BIRDS = 344


def penguins(seed: int = 0) -> MultiTaskData:
    """Species, sex, body mass and two isotope ratios of a penguin, K = 5.

    The 10 features: length and depth of the culmen (the ridge of the bill) and length of the flipper, in mm;
    island (3 columns, one of them hot); year (likewise); and whether its clutch was complete. Two of the 344
    birds were not measured at all and are left out. Of the other 342, 9 have no known sex, 12 no nitrogen and
    11 no carbon ratio: they are not labelled for these tasks, and teach the others. Features and the three measured
    targets are standardised with the training part's mean and standard deviation (`data.feature_scale`,
    `task.scale`).

    Parameters
    ----------
    seed
        Seed of the split. In each species 60 % of the birds go to training, 20 % to validation and the
        rest to the test, at random; inside a part the file's order is kept. Mates from one nest may land
        in two parts (the file does not say which birds are mates).

    Returns
    -------
    MultiTaskData
        206, 67 and 69 rows. Tasks: species, 3 classes (`SPECIES`); sex, binary (1 is male); mass (g),
        delta_15n and delta_13c (‰), regression.

    Examples
    --------
    >>> penguins()
    MultiTaskData 'penguins': 5 tasks, inputs (10,)
      rows  206 train, 67 validation, 69 test
      task  species: 3 classes
      task  sex: binary, 202 of 206 labelled
      task  mass: regression, g
      task  delta_15n: regression, ‰, 203 of 206 labelled
      task  delta_13c: regression, ‰, 203 of 206 labelled
    """
    seed = whole_number("seed", seed, 0)
    columns = ("species", "island", "sex", "year", "clutch")
    arrays = read_arrays("penguins.npz", {"values": (BIRDS, 6), **{name: (BIRDS,) for name in columns}})
    usable = np.isfinite(arrays["values"][:, : len(LENGTHS)]).all(axis=1)
    values, species, island, sex, year, clutch = (arrays[name][usable] for name in ("values", *columns))

    x = np.concatenate([values[:, :3], np.eye(3)[island], np.eye(3)[year], clutch[:, None]], axis=1)
    names = [*LENGTHS, *ISLANDS, *map(str, YEARS), "clutch complete"]
    parts = _stratified(species, np.random.default_rng(seed))

    feature_scale = Scale.fit(x[parts["train"]])
    x = feature_scale.standardise(x)
    tasks = [TaskSpec("species", "classes", len(SPECIES)), TaskSpec("sex", "binary", 1, missing=UNKNOWN)]
    targets = {"species": species, "sex": sex}
    for column, (name, unit) in enumerate(TARGETS.items(), start=3):
        scale = Scale.fit(values[parts["train"], column], unit)
        tasks.append(TaskSpec(name, "regression", 1, scale))
        targets[name] = scale.standardise(values[:, column])

    splits = [
        Split(x[rows], {name: target[rows] for name, target in targets.items()}, tasks)
        for rows in parts.values()
    ]
    return MultiTaskData(
        "penguins", *splits, citation=CITATION, feature_names=names, feature_scale=feature_scale
    )


def _stratified(groups: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Row numbers of a random 60/20/20 split of every group, in ascending order."""
    parts: dict[str, list[Array]] = {"train": [], "validation": [], "test": []}
    for group in np.unique(groups):
        rows = rng.permutation(np.flatnonzero(groups == group))
        cuts = [round(0.6 * len(rows)), round(0.8 * len(rows))]
        for chosen, cut in zip(parts.values(), np.split(rows, cuts), strict=True):
            chosen.append(cut)
    return {part: np.sort(np.concatenate(chosen)) for part, chosen in parts.items()}
