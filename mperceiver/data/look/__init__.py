"""Looking at a prepared dataset: contact sheets, plain folders, and rendering a degraded picture again."""
