//! Arithmetic on float histograms: addition, scaling, compaction, resolution, reset detection.
