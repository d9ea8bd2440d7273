"""Whether the degradation predictor's probabilities are calibrated: accuracy against confidence."""

from mperceiver import config
from mperceiver.config.figures import Figure
from mperceiver.report import predictions
from mperceiver.report.figures.common import DASHES, PALETTE, FigureError
from mperceiver.report.figures.predicted import inputs_of, pictures_of

OF_PICTURES = False


def describe(figure: Figure) -> str:
    """What the lines are."""
    labels = ", ".join(column.label for column in figure.columns)
    return f"Accuracy of the predictor against its confidence, for {labels}; method {', '.join(figure.methods)}."


def draw(name: str, figure: Figure):
    """A line for each of `columns`: a point for each tenth of confidence that has pictures, larger for more pictures."""
    import matplotlib.pyplot as plt

    method = figure.methods[0]
    drawing, axis = plt.subplots(figsize=(4.2, 3.6), layout="constrained")
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=(0, (1, 2)))
    results = {}
    for k, column in enumerate(figure.columns):
        predicted = predictions.predictions(pictures_of(method, column))
        if predicted is None:
            raise FigureError(
                f"{config.path_of('figures', name)}: no picture of {column.label} is of a class of the predictor"
            )
        bins, error = predicted.bins(), predicted.calibration_error()
        confidence, accuracy, counts = zip(*bins, strict=True)
        colour = PALETTE[k % len(PALETTE)]
        label = f"{column.label}: {100 * predicted.accuracy():.1f} % right, calibration error {error:.3f}"
        axis.plot(confidence, accuracy, color=colour, linestyle=DASHES[k % len(DASHES)], linewidth=1.1, label=label)
        axis.scatter(confidence, accuracy, s=[6 + 90 * n / sum(counts) for n in counts], color=colour, zorder=3)
        results[column.label] = {
            "accuracy": round(predicted.accuracy(), 4),
            "calibration_error": round(error, 4),
            "bins": [[round(x, 4), round(y, 4), n] for x, y, n in bins],
        }
    axis.set(
        xlim=(0, 1.02), ylim=(0, 1.02), xlabel="probability of the most probable class", ylabel="share that is right"
    )
    axis.set_aspect("equal")
    drawing.legend(loc="outside upper center", fontsize=8)
    return drawing, inputs_of(figure), results
