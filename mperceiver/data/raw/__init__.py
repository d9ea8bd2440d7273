"""Raw data: downloading the files of a dataset, and checking that its sources still offer them."""
