"""What is printed: tables, figures, the report site, and the trace of a number down to its bytes.

``tables`` (HTML, CSV, LaTeX), ``figures`` (comparisons, curves, bars), ``pages`` (one static site that opens from disk) and
``trace`` (a cell's chain of cards). All of them read `config/`, `results/` and `data/`, and none decides a number: numbers
come from the score cards.
"""
