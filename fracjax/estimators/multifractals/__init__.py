"""Whether a series is rough in one way or in many: fluctuations, wavelet leaders."""
