"""The report: tables, figures, a static site, and the chain of files below a number. No number is computed here but means.

From below: ``grid`` (a table as data), ``scores`` (score cards and CSVs), ``overlap`` (test pictures that were trained on),
``columns`` (kinds of columns), ``tables`` (filled and printed), ``figures``, ``pending`` (what has not been run), ``trace``,
``site``.
"""
