"""Raw data: downloading the files of a dataset, and asking whether its sources answer."""
