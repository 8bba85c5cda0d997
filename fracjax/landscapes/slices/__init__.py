"""Lines, planes and boxes of points: where a landscape is looked at."""
