"""Looking at a prepared dataset: contact sheets, plain folders, and rendering a degradation again."""
