"""The words that host and containers share: pure data, no input or output, no imports of ours."""
