"""Tomorrow's weather in Seattle, K = 6: four measurements, rain or not, and the kind of weather."""

from __future__ import annotations

import numpy as np

from tinymtl.backend import Array
from tinymtl.data.multitask import MultiTaskData, Split, TaskSpec
from tinymtl.data.scale import Scale
from tinymtl.data.shipped import read_arrays

CITATION = (
    "NOAA National Centers for Environmental Information: daily weather of Seattle, 2012 to 2015, as "
    "prepared for the Vega example data sets (public domain)"
)

#: The columns of the measurements, and their units.
MEASUREMENTS = {"precipitation": "mm", "temp_max": "°C", "temp_min": "°C", "wind": "m/s"}

#: The kinds of weather; a label is a place in this list.
KINDS_OF_WEATHER = ("drizzle", "fog", "rain", "snow", "sun")

DAYS = 1461

#: First forecast day of the validation and of the test part.
VALIDATION_FROM, TEST_FROM = 20140701, 20150101


def weather() -> MultiTaskData:
    """Tomorrow's weather from today's and yesterday's, K = 6.

    A row is a forecast, and belongs to the part that its *forecast day* (tomorrow) lies in: training up to 30
    June 2014, validation 1 July to 31 December 2014 (the end of the years 2012–2014, from the hottest to
    the coldest season), test 2015. What a row knows ends the day before its forecast day.

    The 17 features: today's precipitation, highest and lowest temperature and wind; today's kind of weather
    (5 columns, one of them hot); the season as sine and cosine of the day of the year, with a period of a
    year and of half a year; and yesterday's four measurements. All features, and the four measured targets,
    are standardised with the training part's mean and standard deviation (`data.feature_scale`,
    `task.scale`).

    Returns
    -------
    MultiTaskData
        910, 184 and 365 rows. Tasks: precipitation (mm), temp_max (°C), temp_min (°C) and wind (m/s),
        regression; rain, binary: is there any precipitation (> 0 mm)?; weather, 5 classes
        (`KINDS_OF_WEATHER`). How the kind was noted seems to have changed over the years: 2012 has
        31 days of drizzle and 21 of snow, 2014 none of either. Expect the last task to be hard on 2015.

    Examples
    --------
    >>> data = weather()
    >>> data
    MultiTaskData 'weather': 6 tasks, inputs (17,)
      rows  910 train, 184 validation, 365 test
      task  precipitation: regression, mm
      task  temp_max: regression, °C
      task  temp_min: regression, °C
      task  wind: regression, m/s
      task  rain: binary
      task  weather: 5 classes
    >>> warmest = data.test.targets["temp_max"].max()
    >>> round(float(data.tasks[1].scale.restore(warmest)), 1)
    35.0
    """
    arrays = read_arrays("weather.npz", {"date": (DAYS,), "values": (DAYS, 4), "weather": (DAYS,)})
    date, values, kind = arrays["date"], arrays["values"], arrays["weather"]

    tomorrow = np.arange(2, DAYS)  # the first two days only serve as yesterday and today
    today, yesterday = tomorrow - 1, tomorrow - 2
    one_hot = np.eye(len(KINDS_OF_WEATHER))[kind]
    x = np.concatenate([values[today], one_hot[today], _season(date)[today], values[yesterday]], axis=1)
    names = [
        *(f"{name} today" for name in MEASUREMENTS),
        *(f"{name} today" for name in KINDS_OF_WEATHER),
        *("sin year", "cos year", "sin half year", "cos half year"),
        *(f"{name} yesterday" for name in MEASUREMENTS),
    ]

    day = date[tomorrow]
    parts = {
        "train": day < VALIDATION_FROM,
        "validation": (day >= VALIDATION_FROM) & (day < TEST_FROM),
        "test": day >= TEST_FROM,
    }
    feature_scale = Scale.fit(x[parts["train"]])
    x = feature_scale.standardise(x)
    tasks, targets = [], {}
    for column, (name, unit) in enumerate(MEASUREMENTS.items()):
        measured = values[tomorrow, column]
        scale = Scale.fit(measured[parts["train"]], unit)
        tasks.append(TaskSpec(name, "regression", 1, scale))
        targets[name] = scale.standardise(measured)
    tasks += [TaskSpec("rain", "binary", 1), TaskSpec("weather", "classes", len(KINDS_OF_WEATHER))]
    targets["rain"] = values[tomorrow, 0] > 0
    targets["weather"] = kind[tomorrow]

    splits = [
        Split(x[rows], {name: target[rows] for name, target in targets.items()}, tasks)
        for rows in parts.values()
    ]
    return MultiTaskData(
        "weather", *splits, citation=CITATION, feature_names=names, feature_scale=feature_scale
    )


def _season(date: Array) -> Array:
    """(N, 4): sine and cosine of the day of the year, with a period of a year and of half a year."""
    iso = [f"{d // 10000}-{d // 100 % 100:02}-{d % 100:02}" for d in date.tolist()]
    days = np.array(iso, dtype="datetime64[D]")
    day_of_year = (days - days.astype("datetime64[Y]")).astype(np.int64)  # 0 on 1 January
    angle = 2 * np.pi * day_of_year / 365.25
    return np.stack([np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)], axis=1)
